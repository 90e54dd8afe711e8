"""The teacher wears one language's delta at a time, and under any order of swaps it is bit for bit itself again."""

import random
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, BertConfig, BertModel

from bistill_hub import SparseDelta
from bistill_hub.distillation.language_teacher import LanguageTeacher
from bistill_hub.model.sparse_delta import SparseUpdate
from bistill_hub.teacher import load_delta

LEGACY = Path(__file__).parent.parent / "reference" / "legacy_sft"

CHANGED = (
    "embeddings.word_embeddings.weight",
    "encoder.layer.0.attention.self.query.weight",
    "encoder.layer.0.attention.output.dense.bias",
    "encoder.layer.1.intermediate.dense.weight",
    "encoder.layer.1.output.dense.weight",
)


def random_delta(model, seed, *, prefix="", share=0.2):
    """A delta of some parameters; two seeds overlap in many entries and differ in others."""
    generator = torch.Generator().manual_seed(seed)
    sparse = {}
    for name, parameter in model.named_parameters():
        if name not in CHANGED:
            continue
        indices = (torch.rand(parameter.numel(), generator=generator) < share).nonzero().flatten()
        values = torch.randn(len(indices), generator=generator)
        sparse[prefix + name] = SparseUpdate(tuple(parameter.shape), indices, values)
    return SparseDelta(sparse)


def bits(model):
    return {name: parameter.detach().clone().view(torch.uint8) for name, parameter in model.named_parameters()}


def assert_same_bits(model, expected):
    assert all(torch.equal(expected[name], found) for name, found in bits(model).items())


def added(start, delta):
    """The weights with a delta on them, one entry after the other."""
    expected = {name: tensor.clone() for name, tensor in start.items()}
    for name, update in delta.sparse.items():
        flat = expected[name].view(-1)
        for position, value in zip(update.indices.tolist(), update.values, strict=True):
            flat[position] = (flat[position].float() + value).to(flat.dtype)
    return expected


@pytest.fixture
def teacher(tiny_model):
    return tiny_model(layers=2, seed=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_ten_thousand_swaps_in_any_order_leave_the_base_bit_for_bit(teacher, dtype):
    teacher.to(dtype)
    deltas = {"en": random_delta(teacher, 1), "sw": random_delta(teacher, 2)}
    shared = [torch.isin(deltas["en"].sparse[n].indices, deltas["sw"].sparse[n].indices).any() for n in CHANGED]
    assert sum(shared) >= 4
    start = {name: parameter.detach().clone() for name, parameter in teacher.named_parameters()}
    base = bits(teacher)
    voice = LanguageTeacher(teacher, deltas, languages=("en", "sw"))
    order = random.Random(7)
    swaps, spoken = 0, None
    while swaps < 10_000:
        language = order.choice((None, "en", "sw", "fr"))
        swaps += (language if language in deltas else None) != (spoken if spoken in deltas else None)
        spoken = language
        voice.speak(language)
    for language, delta in deltas.items():
        worn = dict(voice.speak(language).named_parameters())
        expected = added(start, delta)
        assert all(torch.equal(worn[name], expected[name]) for name in expected)
    voice.speak(None)
    assert_same_bits(teacher, base)


@pytest.mark.parametrize("moment", ["bare", "worn"])
def test_a_teacher_that_is_cast_after_it_has_spoken_is_the_cast_base_again(teacher, moment):
    deltas = {"en": random_delta(teacher, 1), "sw": random_delta(teacher, 2)}
    voice = LanguageTeacher(teacher, deltas)
    start = {name: parameter.detach().to(torch.bfloat16) for name, parameter in teacher.named_parameters()}
    voice.speak("en")
    if moment == "bare":
        voice.speak(None)
    teacher.to(torch.bfloat16)
    for language in ("sw", "en", "sw"):
        worn = dict(voice.speak(language).named_parameters())
        expected = added(start, deltas[language])
        assert all(torch.equal(worn[name], expected[name]) for name in expected)
    bare = dict(voice.speak(None).named_parameters())
    assert all(torch.equal(bare[name], start[name]) for name in start)


def test_a_task_teacher_speaks_with_a_delta_of_the_headless_encoder_and_the_other_way_round(tiny_model):
    encoder, tuned = tiny_model(layers=2, seed=0), tiny_model(layers=2, seed=0, labels=("O", "B-PER", "I-PER"))
    of_encoder = random_delta(encoder, 1)
    of_language_model = random_delta(encoder, 1, prefix="bert.")
    of_language_model.sparse["cls.predictions.bias"] = SparseUpdate((60,), torch.tensor([3]), torch.tensor([1.0]))
    for model, delta, prefix in ((tuned, of_encoder, "bert."), (encoder, of_language_model, "")):
        start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        voice = LanguageTeacher(model, {"en": delta})
        worn = dict(voice.speak("en").named_parameters())
        changed = {name for name in start if not torch.equal(start[name], worn[name])}
        assert changed == {prefix + name for name in CHANGED}
        voice.speak(None)
        assert all(torch.equal(start[name], parameter) for name, parameter in model.named_parameters())


def test_parameters_that_a_delta_replaces_as_a_whole_come_back(teacher):
    bias = "encoder.layer.0.attention.output.dense.bias"
    delta = SparseDelta({}, {bias: torch.arange(16.0)})
    base = bits(teacher)
    voice = LanguageTeacher(teacher, {"en": delta, "sw": random_delta(teacher, 2)})
    assert torch.equal(dict(voice.speak("en").named_parameters())[bias], torch.arange(16.0))
    voice.speak("sw")
    voice.speak(None)
    assert_same_bits(teacher, base)


def test_a_delta_that_does_not_fit_leaves_the_teacher_bare(teacher):
    wrong = random_delta(teacher, 2)
    wrong.sparse["embeddings.LayerNorm.weight"] = SparseUpdate((17,), torch.tensor([0]), torch.tensor([1.0]))
    base = bits(teacher)
    voice = LanguageTeacher(teacher, {"en": random_delta(teacher, 1), "sw": wrong})
    voice.speak("en")
    with pytest.raises(ValueError, match=r"LayerNorm.weight: the teacher's shape is \(16,\), the delta's \(17,\)"):
        voice.speak("sw")
    assert_same_bits(teacher, base)
    with pytest.raises(ValueError, match="not in memory"):
        LanguageTeacher(teacher.to("meta"), {"en": random_delta(teacher, 1)}).speak("en")


def batch_of(*numbers):
    return {"input_ids": torch.full((len(numbers), 3), 5), "language": torch.tensor(numbers)}


def test_numbers_of_languages_that_were_not_named_are_refused(teacher):
    deltas = {"en": random_delta(teacher, 1), "sw": random_delta(teacher, 2)}
    base = bits(teacher)
    for languages, numbers, shown in (((), (0, 0), "[0]"), (("en",), (1, 1), "[1]"), ((), (0, 1), "[0, 1]")):
        with pytest.raises(ValueError, match=re.escape(f"language {shown}") + r".*languages="):
            LanguageTeacher(teacher, deltas, languages=languages).for_batch(batch_of(*numbers))
    with pytest.raises(ValueError, match=r"one language, not of \['en', 'sw'\]"):
        LanguageTeacher(teacher, deltas, languages=("en", "sw")).for_batch(batch_of(0, 1))
    assert_same_bits(teacher, base)
    assert LanguageTeacher(teacher).for_batch(batch_of(0, 1)) is teacher, "without deltas nobody asks"


def test_a_batch_that_does_not_say_its_language_is_taught_as_speak_was_last_asked(teacher):
    deltas = {"en": random_delta(teacher, 1), "sw": random_delta(teacher, 2)}
    voice = LanguageTeacher(teacher, deltas, languages=("en", "sw"))
    silent, base = {"input_ids": torch.full((1, 3), 5)}, bits(teacher)
    for asked in (None, "en", "sw", "fr", "sw", None):
        spoken = bits(voice.speak(asked))
        assert all(torch.equal(spoken[name], base[name]) for name in base) is (asked not in deltas)
        for before in (silent, batch_of(0), batch_of(1)):
            voice.for_batch(before)
            assert_same_bits(voice.for_batch(silent), spoken)


def test_a_delta_that_does_not_fit_is_told_at_each_batch_instead_of_teaching_bare(teacher):
    wrong = SparseDelta({"embeddings.LayerNorm.weight": SparseUpdate((17,), torch.tensor([0]), torch.tensor([1.0]))})
    voice = LanguageTeacher(teacher, {"en": wrong})
    for call in (lambda: voice.speak("en"), lambda: voice.for_batch({})):
        with pytest.raises(ValueError, match=r"LayerNorm\.weight: the teacher's shape"):
            call()


EMBEDDINGS, DECODER = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"


def test_tied_embeddings_and_decoder_may_both_be_named_by_equal_updates(tiny_model):
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(tiny_model(layers=2).config)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    shape = tuple(model.get_input_embeddings().weight.shape)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    def update(*values):
        return SparseUpdate(shape, torch.tensor([1, 7]), torch.tensor(values))

    rows_replaced = torch.arange(shape[0] * shape[1]).float().view(shape)
    for both in (
        SparseDelta({EMBEDDINGS: update(0.5, -1.0), DECODER: update(0.5, -1.0)}),
        SparseDelta({}, {EMBEDDINGS: rows_replaced, DECODER: rows_replaced.clone()}),
    ):
        once = SparseDelta(
            {name: each for name, each in both.sparse.items() if name != DECODER},
            {name: each for name, each in both.dense.items() if name != DECODER},
        )
        voice = LanguageTeacher(model, {"both": both, "once": once})
        worn = {name: p.detach().clone() for name, p in voice.speak("both").named_parameters()}
        assert all(torch.equal(worn[name], p) for name, p in voice.speak("once").named_parameters())
        assert not torch.equal(worn[EMBEDDINGS], start[EMBEDDINGS])
        voice.speak(None)
        assert all(torch.equal(start[name], p) for name, p in model.named_parameters())
    elsewhere = SparseUpdate(shape, torch.tensor([1, 8]), torch.tensor([0.5, -1.0]))
    for other in (
        SparseDelta({EMBEDDINGS: update(0.5, -1.0), DECODER: update(0.5, 1.0)}),
        SparseDelta({EMBEDDINGS: update(0.5, -1.0), DECODER: elsewhere}),
        SparseDelta({}, {EMBEDDINGS: rows_replaced, DECODER: -rows_replaced}),
        SparseDelta({DECODER: update(0.5, -1.0)}, {EMBEDDINGS: rows_replaced}),
    ):
        with pytest.raises(ValueError, match=f"{EMBEDDINGS} and {DECODER} are one parameter.*changed differently"):
            LanguageTeacher(model, {"en": other}).speak("en")
        assert all(torch.equal(start[name], p) for name, p in model.named_parameters())


def test_a_published_legacy_file_is_worn_as_a_language_delta():
    config = BertConfig(
        vocab_size=211, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40
    )
    torch.manual_seed(0)
    model = BertModel(config)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    expected = load_file(LEGACY / "expected_dense.safetensors")
    voice = LanguageTeacher(model, {"sw": load_delta(f"legacy:{LEGACY}")})
    worn = dict(voice.speak("sw").named_parameters())
    for name in start:
        assert torch.equal(worn[name], start[name] + expected.get(f"diff.bert.{name}", 0.0)), name
    assert sum(not torch.equal(worn[name], start[name]) for name in start) == 3
    voice.speak(None)
    assert all(torch.equal(start[name], parameter) for name, parameter in model.named_parameters())
