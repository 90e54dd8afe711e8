"""Tokenizers trained here, on text written here, and tiny random teachers that read them."""

from __future__ import annotations

import json

import pytest
from tiny_models import SPECIAL_IDS, tiny_model
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, XLMRobertaTokenizer

TEXT = {
    "en": [
        "The children walked to the river in the morning and came back before noon.",
        "She said that the new school would open next year, if the rains allowed it.",
        "Farmers in the village are planting maize, beans and cassava this season.",
        "It's a pity: the doctor's car broke down 12 km from the hospital!",
        "Our grandmother told us stories about lions, hares and clever tortoises.",
        "Water is life; keep the well clean and cover it at night.",
        "He bought 3 books, 2 pens and a map of East Africa for 450 shillings.",
        "The government announced a new plan for roads and bridges.",
    ],
    "sw": [
        "Watoto walitembea hadi mtoni asubuhi na kurudi kabla ya saa sita mchana.",
        "Alisema kwamba shule mpya itafunguliwa mwaka ujao, mvua ikiruhusu.",
        "Wakulima kijijini wanapanda mahindi, maharagwe na mihogo msimu huu.",
        "Ni huzuni: gari la daktari liliharibika kilomita 12 kutoka hospitalini!",
        "Bibi yetu alitusimulia hadithi za simba, sungura na kobe werevu.",
        "Maji ni uhai; tunza kisima kiwe safi na ukifunike usiku.",
        "Alinunua vitabu 3, kalamu 2 na ramani ya Afrika Mashariki kwa shilingi 450.",
        "Serikali ilitangaza mpango mpya wa barabara na madaraja.",
    ],
    "other": [
        "Die Kinder gingen früh am Morgen zum Fluß und kehrten vor Mittag zurück.",
        "Les élèves écoutaient la maîtresse, malgré le bruit de la rue où passaient des camions.",
        "Дети утром пошли к реке и вернулись до полудня.",
        "孩子们早上走到河边，中午之前回来。",
        "Çocuklar sabah nehre yürüdüler ve öğleden önce döndüler.",
        "El niño pequeño soñaba con montañas, años y señales.",
    ],
}
"""A few lines each; "other" is what the teacher knows and the pair does without."""


@pytest.fixture(scope="session")
def text():
    return {language: list(lines) for language, lines in TEXT.items()}


@pytest.fixture(scope="session")
def train_wordpiece():
    """A function that trains a cased WordPiece model on lines and gives a BertTokenizer."""

    def train(lines, vocab_size):
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            special_tokens=["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            show_progress=False,
        )
        tokenizer.train_from_iterator(lines, trainer)
        return BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=False, model_max_length=128)

    return train


@pytest.fixture(scope="session")
def train_unigram():
    """A function that trains a Unigram model on lines and gives an XLMRobertaTokenizer."""

    def train(lines, vocab_size):
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        )
        trainer = trainers.UnigramTrainer(
            vocab_size=vocab_size - 1,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            unk_token="<unk>",
            # One pass of EM between prunings, which is three times as fast and as good for a test.
            n_sub_iterations=1,
            shrinking_factor=0.5,
            max_piece_length=12,
            show_progress=False,
        )
        tokenizer.train_from_iterator(lines, trainer)
        # Rounded, because the library reads longer numbers from JSON up to a unit in the last place off.
        pieces = [(piece, round(score, 10)) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
        rebuilt = XLMRobertaTokenizer(vocab=[*pieces, ("<mask>", 0.0)], model_max_length=128)
        rebuilt.backend_tokenizer.normalizer = normalizers.NFKC()  # the class has one only with SentencePiece's tables
        return rebuilt

    return train


@pytest.fixture(scope="session")
def wordpiece(train_wordpiece, text):
    return train_wordpiece([line for lines in text.values() for line in lines], 500)


@pytest.fixture(scope="session")
def unigram(train_unigram, text):
    return train_unigram([line for lines in text.values() for line in lines], 400)


@pytest.fixture(params=["wordpiece", "unigram"])
def tokenizer(request):
    """Each test that takes this runs for both kinds of tokenizers; the tokenizers are shared, so leave them as is."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def make_teacher():
    """A function that gives a tiny random model, in eval mode, for a class of any supported architecture."""

    def make(model_class, tokenizer, num_layers=4, extra_rows=0, seed=0, **options):
        special = {name: getattr(tokenizer, name) for name in SPECIAL_IDS}
        return tiny_model(model_class, len(tokenizer) + extra_rows, num_layers, seed, special, **options)

    return make
