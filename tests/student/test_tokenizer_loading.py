"""A trimmed tokenizer is the same one in every way that people load it, or the way that is not is named."""

import json

import pytest
from tokenizer_kinds import KINDS, train_byte_level_bpe, train_unigram, train_wordpiece
from tokenizers import normalizers, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizer, DebertaV2Tokenizer, PreTrainedTokenizerFast

from bistill_hub.errors import InputError
from bistill_hub.student.token_counts import count_tokens
from bistill_hub.student.tokenizer_loading import check_ways_of_loading, classes_that_rebuild
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer

BACKBONES = {
    "wordpiece": ("bert", "BertTokenizer"),
    "uncased wordpiece": ("bert", "BertTokenizer"),
    "unigram": ("xlm-roberta", "XLMRobertaTokenizer"),
    "deberta unigram": ("deberta-v2", "DebertaV2Tokenizer"),
    "byte-level bpe": ("modernbert", None),
    "newer byte-level bpe": ("modernbert", None),
    "byte-fallback bpe": ("modernbert", None),
}
"""For each kind a backbone that reads it, and the class named after it; ModernBERT has none."""


@pytest.fixture
def save(tmp_path, text):
    """A function that trims a teacher's tokenizer and saves it beside a backbone's config.json."""

    def save_trimmed(teacher, **config):
        counts = {language: count_tokens(teacher, text[language]) for language in ("en", "sw")}
        trim_tokenizer(teacher, select_tokens(teacher, counts)).save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return tmp_path

    return save_trimmed


@pytest.fixture
def all_lines(text):
    return [line for lines in text.values() for line in lines]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_same_in_every_way(save, all_lines, kind):
    model_type, own_class = BACKBONES[kind]
    folder = save(KINDS[kind](all_lines, 500), model_type="bistill", backbone_type=model_type)
    ways = check_ways_of_loading(folder, all_lines[::4])
    loaders = ["AutoTokenizer", *([own_class] if own_class else []), "PreTrainedTokenizerFast"]
    again = [f"{loader} after {loader}.save_pretrained" for loader in loaders]
    by_auto = [f"AutoTokenizer after {loader}.save_pretrained" for loader in loaders]
    assert set(ways) == {*loaders, *again, *by_auto}
    assert len(ways) == 3 * len(loaders) - 1


def test_distilbert_has_a_class_of_its_own_beside_berts(save, all_lines):
    ways = check_ways_of_loading(save(train_wordpiece(all_lines, 400), model_type="distilbert"))
    assert {"BertTokenizer", "DistilBertTokenizer"} <= set(ways)


def test_distilberts_tokenizer_is_told_what_the_model_reads(text, tmp_path, all_lines):
    teacher = train_wordpiece(all_lines, 400)
    assert "token_type_ids" in teacher("a")
    token_map = select_tokens(teacher, {"en": count_tokens(teacher, text["en"])})
    trimmed = trim_tokenizer(teacher, token_map, model_input_names=["input_ids", "attention_mask"])
    trimmed.save_pretrained(tmp_path)
    for tokenizer in (trimmed, AutoTokenizer.from_pretrained(tmp_path), BertTokenizer.from_pretrained(tmp_path)):
        assert set(tokenizer("a", "b")) == {"input_ids", "attention_mask"}
    check_ways_of_loading(tmp_path, model_type="distilbert")


def test_a_backbone_that_reads_anothers_pieces_is_loaded_by_the_class_of_these(save, all_lines):
    folder = save(train_unigram(all_lines, 400), model_type="bert")  # as multilingual MiniLM
    assert not any("Bert" in way or "XLM" in way for way in check_ways_of_loading(folder))
    assert "XLMRobertaTokenizer" in check_ways_of_loading(folder, own_class="XLMRobertaTokenizer")
    with pytest.raises(InputError, match="no tokenizer class"):
        check_ways_of_loading(folder, own_class="NoSuchTokenizer")


def test_debertas_own_class_finds_the_unknown_piece(save, all_lines):
    folder = save(KINDS["deberta unigram"](all_lines, 400), model_type="deberta-v2")
    unknown = DebertaV2Tokenizer.from_pretrained(folder)("☃", add_special_tokens=False)
    assert unknown.tokens()[-1] == "☃"
    assert unknown["input_ids"][-1] == json.loads((folder / "tokenizer.json").read_text())["model"]["unk_id"]


def test_a_normalizer_that_the_own_class_drops_is_named_with_a_text_that_shows_it(save, all_lines):
    teacher = train_unigram(all_lines, 400)
    teacher.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    with pytest.raises(InputError) as caught:
        check_ways_of_loading(save(teacher, model_type="xlm-roberta"))
    said = str(caught.value)
    assert "XLMRobertaTokenizer splits it into" in said
    assert "normalizer [NFKC, Lowercase], of which it makes none" in said
    assert "WALITEMBEA" in said
    assert caught.value.field == "text"
    assert caught.value.file.endswith("tokenizer.json")


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_of_its_backbones_class_is_rebuilt_by_none(all_lines, kind):
    assert classes_that_rebuild(KINDS[kind](all_lines, 400), BACKBONES[kind][0]) == {}


def test_a_class_that_rebuilds_a_generic_tokenizer_is_told_with_a_text_that_shows_it(all_lines):
    pipeline = train_unigram(all_lines, 400).backend_tokenizer
    pipeline.normalizer = normalizers.Lowercase()
    roles = {"unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    generic = PreTrainedTokenizerFast(tokenizer_object=pipeline, **roles)
    found = classes_that_rebuild(generic, "xlm-roberta")
    assert list(found) == ["XLMRobertaTokenizer"]
    assert found["XLMRobertaTokenizer"].startswith('XLMRobertaTokenizer, given "Watoto WALITEMBEA ')
    assert "normalizer Lowercase, of which it makes none" in found["XLMRobertaTokenizer"]
    assert classes_that_rebuild(generic, "xlm-roberta", without=["XLMRobertaTokenizer"]) == {}
    assert classes_that_rebuild(generic, "bert") == {}, "BertTokenizer reads no such pieces"


def test_a_text_can_show_what_the_sample_texts_do_not(all_lines):
    pipeline = train_unigram(all_lines, 400).backend_tokenizer
    pipeline.normalizer = normalizers.Replace("qqq", "a")
    generic = PreTrainedTokenizerFast(
        tokenizer_object=pipeline, unk_token="<unk>", cls_token="<s>", sep_token="</s>", pad_token="<pad>"
    )
    samples_alone = classes_that_rebuild(generic, "xlm-roberta")
    with_text = classes_that_rebuild(generic, "xlm-roberta", ["a qqq"])
    assert (list(samples_alone), list(with_text)) == ([], ["XLMRobertaTokenizer"])
    assert "given 'a qqq'" in with_text["XLMRobertaTokenizer"]


def test_a_cased_model_that_would_be_lower_cased_is_refused(save, all_lines):
    folder = save(train_wordpiece(all_lines, 400), model_type="bert")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["do_lower_case"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"BertTokenizer .*lowercase=False\), of which it makes .*lowercase=True"):
        check_ways_of_loading(folder)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda settings: settings.update(tokenizer_class="RobertaTokenizer"), "AutoTokenizer"),
    ],
)
def test_settings_that_one_way_reads_otherwise_are_refused(save, all_lines, spoil, says):
    folder = save(train_byte_level_bpe(all_lines, 500), model_type="bert")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    spoil(settings)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=says):
        check_ways_of_loading(folder)


def test_token_types_that_one_way_leaves_out_are_refused(save, all_lines):
    folder = save(train_wordpiece(all_lines, 400), model_type="bert")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["model_input_names"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"BertTokenizer gives the inputs .*token_type_ids"):
        check_ways_of_loading(folder)


def test_a_class_that_cannot_load_it_is_refused(save, all_lines):
    teacher = train_unigram(all_lines, 400)
    teacher.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    folder = save(teacher, model_type="xlm-roberta")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["_spm_precompiled_charsmap"] = "not tables"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="XLMRobertaTokenizer"):
        check_ways_of_loading(folder)
