"""What an inspection tells is what a cut gives, without any weights being read."""

import json
import math
from collections import Counter

import pytest
from transformers import BertForMaskedLM, BertModel, XLMRobertaForMaskedLM, XLMRobertaModel

from bistill_hub.errors import InputError
from bistill_hub.student.build import build_student
from bistill_hub.student.held_out import HeldOut
from bistill_hub.student.inspection import SWEPT_THRESHOLDS, inspect_cut
from bistill_hub.teacher import load_encoder, load_tokenizer

CLASSES = {
    "bert": (BertModel, BertForMaskedLM, "wordpiece"),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaForMaskedLM, "unigram"),
}
PAIR = ("en", "sw")


@pytest.fixture
def corpora(text):
    return {language: text[language] for language in PAIR}


@pytest.fixture(params=CLASSES)
def save(request, make_teacher, tmp_path):
    """A function that saves a teacher of four layers, bare or with its language-modelling head, and its tokenizer."""
    bare, with_head, name = CLASSES[request.param]
    tokenizer = request.getfixturevalue(name)

    def saved(*, head=False, weights=True, **options):
        model = make_teacher(with_head if head else bare, tokenizer, **options)
        folder = tmp_path / "teacher"
        if weights:
            model.save_pretrained(folder)
        else:
            model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return saved


def what_is_counted(corpora):
    """What of a text the vocabulary is chosen by."""
    return {language: list(HeldOut(lines, language)) for language, lines in corpora.items()}


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("head", [False, True], ids=["bare", "with head"])
@pytest.mark.parametrize("threshold", [0.0, 5e-3])
def test_sizes_are_those_of_a_student_that_is_really_cut(save, corpora, head, threshold):
    folder = save(head=head, extra_rows=3)
    report = inspect_cut(folder, corpora, layer_reduction_factors=(4, 1, 2), min_token_probability=threshold)
    teacher, tokenizer = load_encoder(str(folder)), load_tokenizer(str(folder))
    assert report.teacher_size.parameters == parameters(teacher)
    assert report.teacher_size.tokens == teacher.config.vocab_size
    assert list(report.cuts) == [1, 2, 4]
    for factor, size in report.cuts.items():
        cut = build_student(
            teacher,
            tokenizer,
            what_is_counted(corpora),
            layer_reduction_factor=factor,
            min_token_probability=threshold,
        )
        assert size.parameters == parameters(cut.model)
        assert size.layers == cut.model.config.num_hidden_layers == 4 // factor
        assert size.tokens == len(cut.tokenizer) == report.vocabulary.tokens_after
        assert size.embedding_parameters == cut.model.get_input_embeddings().weight.numel()
        assert size.megabytes == pytest.approx(4 * parameters(cut.model) / 10**6)
        assert size.share_of(report.teacher_size) == pytest.approx(parameters(cut.model) / parameters(teacher))


def test_no_weights_are_needed(save, corpora):
    folder = save(weights=False)
    assert not list(folder.glob("*.safetensors"))
    assert inspect_cut(folder, corpora).cuts[2].layers == 2


def test_factors_that_do_not_divide_the_layers_are_left_out_where_none_are_named(save, corpora):
    assert list(inspect_cut(save(), corpora).cuts) == [1, 2]
    assert list(inspect_cut(save(num_layers=6), corpora).cuts) == [1, 2, 3]


def test_tokens_and_coverage_at_each_threshold_are_counted_by_hand(save, corpora):
    folder = save()
    report = inspect_cut(folder, corpora, min_token_probability=2e-2)
    tokenizer = load_tokenizer(str(folder))
    counts = {
        language: Counter(piece for line in lines for piece in tokenizer.tokenize(line))
        for language, lines in what_is_counted(corpora).items()
    }
    swept = [threshold.min_token_probability for threshold in report.thresholds]
    assert swept == sorted({*SWEPT_THRESHOLDS, 2e-2}, reverse=True)
    tokens = [threshold.tokens for threshold in report.thresholds]
    assert tokens == sorted(tokens)
    for threshold in report.thresholds:
        kept = {
            piece
            for counted in counts.values()
            for piece, count in counted.items()
            if count / counted.total() >= threshold.min_token_probability
            or len(piece.removeprefix("##").removeprefix("▁")) <= 1
            or piece in tokenizer.all_special_tokens
        }
        for language, counted in counts.items():
            expected = sum(counted[piece] for piece in kept) / counted.total()
            assert threshold.coverage[language] == pytest.approx(expected)
    chosen = report.thresholds[0]
    assert chosen.tokens == report.vocabulary.tokens_after
    for language, told in report.vocabulary.languages.items():
        assert told.corpus_tokens_kept == pytest.approx(chosen.coverage[language])
        assert told.corpus_tokens_kept < 1
        assert (told.lines, told.lines_with_dropped_pieces) == (1, 1)
        assert told.corpus_tokens == counts[language].total()


def test_a_text_is_read_once(save, corpora):
    folder = save()
    once = {language: iter(lines) for language, lines in corpora.items()}
    assert inspect_cut(folder, once) == inspect_cut(folder, corpora)


def test_the_report_as_json_holds_its_numbers(save, corpora):
    report = inspect_cut(save(), corpora)
    written = json.loads(json.dumps(report.to_dict()))
    assert written["teacher_size"]["parameters"] == report.teacher_size.parameters
    assert [cut["layer_reduction_factor"] for cut in written["cuts"]] == [1, 2]
    assert written["cuts"][1]["megabytes"] == report.cuts[2].megabytes
    assert written["cuts"][1]["share_of_teacher"] == report.cuts[2].share_of(report.teacher_size)
    assert set(written["vocabulary"]["languages"]) == set(PAIR)
    assert written["thresholds"][0]["coverage"] == report.thresholds[0].coverage


@pytest.mark.parametrize("threshold", [-0.1, 1.5, math.nan])
def test_what_is_no_probability_is_refused_before_the_teacher_is_looked_for(corpora, threshold):
    with pytest.raises(InputError, match=r"min_token_probability = .*: not a probability"):
        inspect_cut("/nowhere", corpora, min_token_probability=threshold)


def test_an_inspection_without_text_is_refused():
    with pytest.raises(InputError, match="there is no corpus"):
        inspect_cut("/nowhere", {})


def test_a_factor_that_does_not_divide_the_layers_is_refused_before_any_text_is_read(save):
    def unread():
        raise AssertionError("the text was read")
        yield

    with pytest.raises(InputError, match=r"layer_reduction_factor = 3: .* 4 layers. Choose one of \[1, 2, 4\]"):
        inspect_cut(save(), {"en": unread(), "sw": unread()}, layer_reduction_factors=(3,))


def test_a_text_without_tokens_is_refused(save, corpora):
    with pytest.raises(InputError, match="the corpus of sw holds no token"):
        inspect_cut(save(), {**corpora, "sw": []})


def test_one_string_is_no_text(save, corpora):
    with pytest.raises(InputError, match="a corpus is a sequence of lines"):
        inspect_cut(save(), {**corpora, "sw": "Habari"})


def test_a_tokenizer_of_another_teacher_is_refused(save, corpora):
    folder = save(extra_rows=-5)
    with pytest.raises(InputError, match=r"vocab_size = .*: the tokenizer has ids up to"):
        inspect_cut(folder, corpora)
