"""The demo's teacher is small, loads without a network, knows the world's words, and can be built anew."""

from __future__ import annotations

import functools
import json

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from bistill_hub.demo import teacher as building
from bistill_hub.demo.demo import TASKS, demo_recipe
from bistill_hub.demo.grammar import GRAMMARS
from bistill_hub.demo.lexicon import LANGUAGES
from bistill_hub.demo.teacher import TEACHER_DIR, build_teacher
from bistill_hub.demo.world import Sizes, World, text, write_world


@pytest.fixture(scope="module")
def shipped():
    return AutoModelForMaskedLM.from_pretrained(TEACHER_DIR), AutoTokenizer.from_pretrained(TEACHER_DIR)


def test_the_shipped_teacher_is_small_and_deep_enough():
    assert (TEACHER_DIR / "model.safetensors").stat().st_size <= 5_000_000
    assert sum(file.stat().st_size for file in TEACHER_DIR.iterdir()) <= 6_000_000
    config = json.loads((TEACHER_DIR / "config.json").read_text(encoding="utf-8"))
    assert config["num_hidden_layers"] >= 6
    assert config["num_hidden_layers"] % 2 == 0


def test_it_computes_in_float32_from_whatever_is_stored(shipped):
    model, tokenizer = shipped
    assert {parameter.dtype for parameter in model.float().parameters()} == {torch.float32}
    assert model.config.vocab_size == len(tokenizer)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_of_the_world_is_unknown_to_it(shipped, language):
    _, tokenizer = shipped
    world = World("unknown", "test")
    for _ in range(100):
        assert tokenizer.unk_token not in tokenizer.tokenize(text(world.passage(), language))


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The teacher bought a book yesterday. Who bought a book? The [MASK] bought a book.", "teacher"),
        ("Mwalimu alinunua kitabu jana. Nani alinunua kitabu? [MASK] alinunua kitabu.", "Mwalimu"),
    ],
)
def test_it_fills_a_gap_with_what_the_context_says(shipped, sentence, expected):
    model, tokenizer = shipped
    inputs = tokenizer(sentence, return_tensors="pt")
    with torch.no_grad():
        logits = model.float().eval()(**inputs).logits[0]
    position = inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    assert tokenizer.convert_ids_to_tokens(int(logits[position].argmax())) == expected


def test_building_gives_the_same_bytes_again_and_learns(tmp_path, capsys, monkeypatch):
    first, second = (
        build_teacher(tmp_path / name, seed=3, steps=2, passages=250, progress=False) for name in ("one", "two")
    )
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    small = functools.partial(build_teacher, steps=1, passages=200, progress=False)
    monkeypatch.setattr(building, "build_teacher", small)
    building.main([str(tmp_path / "three")])
    assert "minutes" in capsys.readouterr().out
    AutoModelForMaskedLM.from_pretrained(tmp_path / "three")


def test_the_command_wants_one_folder():
    with pytest.raises(SystemExit, match="usage"):
        building.main([])


@pytest.fixture(scope="module")
def readings():
    return list(building._readings(0, 1500))


def test_a_good_part_of_what_is_read_is_translations_side_by_side():
    # Drawn one at a time, so that what a reading is made of can be watched.
    sides = sum(reading.answer is None and len(reading.parts) == 2 for reading in building._readings(1, 1000))
    assert 150 < sides < 500


def test_answers_are_marked_where_they_stand(readings):
    answered = [reading for reading in readings if reading.answer]
    assert len(answered) > 400
    replies = {word for grammar in GRAMMARS.values() for word in (*grammar.replies, *grammar.right)}
    found = set()
    for parts, (part, start, end), _ in answered:
        answer = parts[part][start:end]
        assert answer
        assert answer == answer.strip(" .,?")
        assert "?" in parts[part][:start], "it follows a question"
        if answer.lower() in replies:
            found.add(answer.lower())
    assert found == replies


def test_the_place_that_an_answer_repeats_has_the_same_words(readings):
    repeating = [reading for reading in readings if reading.source]
    assert len(repeating) > 200
    first = 0
    for parts, answer, source in repeating:
        written = [parts[where.part][where.start : where.end].lower() for where in (answer, source)]
        assert written[0] == written[1]
        assert answer != source
        first += answer < source
    assert 0.2 < first / len(repeating) < 0.8


def test_pointing_at_the_right_place_costs_nothing_and_elsewhere_much(readings, shipped):
    _, tokenizer = shipped
    batch = building._padded([building._row(reading, tokenizer) for reading in readings[:64]])
    source = batch["source"]
    first = torch.nn.functional.one_hot(source.argmax(1), source.shape[1])
    last = torch.nn.functional.one_hot(source.shape[1] - 1 - source.flip(1).argmax(1), source.shape[1])
    right = torch.stack([first, last], dim=-1) * 50.0
    asked = torch.ones(64, dtype=torch.bool)
    assert building._pointing_loss(right, batch, asked) < 1e-6
    assert building._pointing_loss(right.roll(1, dims=0), batch, asked) > 10
    assert building._pointing_loss(right.roll(1, dims=0), batch, ~source.any(dim=1)) == 0


def test_whole_answers_are_hidden_and_nothing_is_guessed_outside_the_text(readings, shipped):
    _, tokenizer = shipped
    batch = building._padded([building._row(reading, tokenizer) for reading in readings[:64]])
    chosen, shown, asked = building._mask(batch, tokenizer, torch.Generator().manual_seed(0))
    assert not (chosen & batch["special_tokens_mask"].bool()).any()
    assert torch.equal(shown[~chosen], batch["input_ids"][~chosen])
    answers = batch["answer"].bool()
    hidden = [
        bool((shown[row][answers[row]] == tokenizer.mask_token_id).all()) for row in range(64) if answers[row].any()
    ]
    assert 0.3 < sum(hidden) / len(hidden) < 0.95
    assert sum(hidden) >= asked.sum() > 0
    assert 0.05 < chosen.sum() / batch["attention_mask"].sum() < 0.3


def test_an_answer_counts_once_however_long_it_is():
    chosen = torch.tensor([[1, 1, 1, 0, 1], [1, 0, 0, 1, 0], [0, 1, 0, 0, 0]], dtype=torch.bool)
    hidden = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    losses = torch.tensor([1.0, 2.0, 6.0, 10.0, 20.0, 5.0, 30.0])  # row by row
    answers, others = building._split(losses, chosen, hidden)
    assert answers == pytest.approx((3.0 + 5.0) / 2)
    assert others == pytest.approx((10.0 + 20.0 + 30.0) / 3)
    none = torch.zeros_like(hidden)
    assert [float(part) for part in building._split(losses, chosen, none)] == pytest.approx([0.0, 74 / 7])


def test_sentences_mix_languages(readings):
    english, swahili = ({word for c in "abc" for word in _words(language, c)} for language in ("en", "sw"))
    both = [
        reading
        for reading in readings
        if any({*sentence.split()} & english and {*sentence.split()} & swahili for sentence in reading.parts)
    ]
    assert len(both) > 150


def _words(language, seed):
    """Common words that are of this language alone."""
    seen = {
        code: {word for _ in range(80) for word in text(World(f"{seed}{_}").passage(), code).split() if word.islower()}
        for code in LANGUAGES
    }
    others = set().union(*(words for code, words in seen.items() if code != language))
    return seen[language] - others


def test_the_recipe_names_the_files_that_the_world_writes(tmp_path):
    files = write_world(tmp_path, sizes=Sizes(text=10, train=tuple((task, 5) for task in TASKS), validation=5, test=5))
    recipe = demo_recipe(tmp_path)
    named = {recipe.source.text.file, recipe.target.text.file}
    for task in recipe.tasks:
        named |= {source.file for source in task.sources.values()}
    assert named == set(files.values())
