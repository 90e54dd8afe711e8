"""Recipes that learn from one source text tokenise it once; what they learn from is what each would make by itself."""

import json
import shutil

import pytest
from datasets import Dataset
from safetensors.torch import load_file
from test_several import FIRST, SECOND, Watched, kept, two_recipes

from bistill_hub import corpora, run, tokenised_text
from bistill_hub.corpora import write_blocks
from bistill_hub.pipeline import phase_1, shared
from bistill_hub.pipeline.counted_text import CountedText, read_text
from bistill_hub.pipeline.several import run_several
from bistill_hub.pipeline.shared import SharingRun
from bistill_hub.student.token_counts import encode_in_batches
from bistill_hub.teacher import load_tokenizer
from bistill_hub.tokenised_text import TOKENS_FILE

DROPPING = {"student": {"min_token_probability": 0.002}}
"""Students that lack pieces of their own text."""


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    return two_recipes(tmp_path_factory.mktemp("pairs"), **DROPPING)


@pytest.fixture
def watched(monkeypatch):
    return Watched(monkeypatch)


class Packing:
    """Notes the blocks of each text that phase 1 packs, and which lines are tokenised for them."""

    def __init__(self, monkeypatch):
        self.blocks = {}
        self.lines = {}
        self._now = []
        monkeypatch.setattr(phase_1, "write_blocks", self.write)
        for module in (corpora, tokenised_text):
            monkeypatch.setattr(module, "encode_in_batches", self.encode)

    def encode(self, backend, lines, batch_size):
        for batch, encodings in encode_in_batches(backend, lines, batch_size):
            self._now += batch
            yield batch, encodings

    def write(self, lines, tokenizer, folder, **kwargs):
        self._now = []
        blocks = write_blocks(lines, tokenizer, folder, **kwargs)
        name = folder.parts[-4], folder.name
        self.lines[name], self.blocks[name] = self._now, (folder / "blocks.arrow").read_bytes()
        return blocks


def go(recipes, folder, **kwargs):
    outcomes = list(run_several(recipes, folder, **{"until": "phase-1", "progress": False, **kwargs}))
    assert [outcome.error for outcome in outcomes] == [None] * len(recipes)


def tokens(folder):
    return kept(folder)["en-tokens"] / TOKENS_FILE


@pytest.fixture(scope="module")
def done(recipes, tmp_path_factory):
    """Both recipes to the end of phase 1, and what was packed."""
    folder = tmp_path_factory.mktemp("several") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        packing = Packing(patch)
        go(recipes, folder)
        return folder, packing


def must_be_tokenised(recipe, folder):
    """The lines of the source text with pieces that the student has not, or with what the teacher does not know."""
    teacher = load_tokenizer(recipe.teacher.model)
    token_map = load_file(folder / recipe.name / "student/token_map.safetensors")["token_map"]
    missing = (set(range(len(teacher))) - set(token_map.tolist())) | {teacher.unk_token_id}
    return [
        line for line in recipe.source.text if not missing.isdisjoint(teacher(line, add_special_tokens=False).input_ids)
    ]


def test_only_lines_with_dropped_tokens_are_tokenised_for_each_student(recipes, done):
    folder, packing = done
    for recipe in recipes:
        expected = must_be_tokenised(recipe, folder)
        assert packing.lines[recipe.name, "blocks_en"] == expected
        assert 0 < len(expected) < len(list(recipe.source.text)) / 2
        target = f"blocks_{recipe.target.code}"
        assert packing.lines[recipe.name, target] == list(recipe.target.text)


def test_what_phase_1_learns_from_is_that_of_a_run_by_itself_byte_for_byte(recipes, done, tmp_path, monkeypatch):
    folder, packing = done
    alone = Packing(monkeypatch)
    run(recipes[1], tmp_path / SECOND, until="phase-1", progress=False)
    assert set(alone.blocks) == {(SECOND, "blocks_en"), (SECOND, "blocks_rw")}
    assert len(Dataset.from_buffer(memoryview(alone.blocks[SECOND, "blocks_en"]))) > 5
    for name, blocks in alone.blocks.items():
        assert packing.blocks[name] == blocks
        assert alone.lines[name] == list(recipes[1].source.text if "en" in name[1] else recipes[1].target.text)
    for stage in ("student", "phase-1"):
        manifests = [json.loads((at / SECOND / stage / "manifest.json").read_text()) for at in (tmp_path, folder)]
        assert manifests[0]["fingerprint"] == manifests[1]["fingerprint"]
        assert manifests[0]["outputs"] == manifests[1]["outputs"]


def test_the_counts_are_those_of_the_lines_that_are_not_held_out(recipes, done):
    language = recipes[0].source
    alone = read_text(load_tokenizer(recipes[0].teacher.model), language, progress=False)
    together = CountedText.load(kept(done[0])["en-tokens"])
    assert together.counts.counts.tolist() == alone.counts.counts.tolist()
    assert together.counts.characters == alone.counts.characters
    assert together.counts.lines == alone.counts.lines == len(list(language.text)) - len(alone.held_out)
    assert together.held_out == alone.held_out != []


def test_a_recipe_that_nobody_shares_the_text_with_keeps_no_tokens(recipes, tmp_path, watched):
    go(recipes[:1], tmp_path)
    assert not tokens(tmp_path).exists()
    run(recipes[1], tmp_path / SECOND, until="student", progress=False)
    watched.take()
    # Only one of the two has yet to learn from the text.
    go(recipes, tmp_path)
    assert not tokens(tmp_path).exists()
    assert watched.take() == [(SECOND, "phase 1")]


@pytest.mark.parametrize("change", [{"until": "student"}, {"steps": 0}])
def test_recipes_that_do_not_learn_from_the_text_keep_no_tokens(recipes, tmp_path, change):
    changed = [recipe.replace({"bilingual.steps": change.get("steps", 1)}) for recipe in recipes]
    go(changed, tmp_path, until=change.get("until", "phase-1"))
    assert (tokens(tmp_path).parent / "counts.npy").is_file()
    assert not tokens(tmp_path).exists()


def test_where_only_the_counts_are_there_the_tokens_are_made_by_counting_again(recipes, tmp_path, watched):
    go(recipes[:1], tmp_path, until="student")
    other = recipes[0].replace({"name": "third", "student.min_token_probability": 0.001})
    watched.take()
    go([other, recipes[1]], tmp_path, until="phase-1")
    assert tokens(tmp_path).is_file()
    done = watched.take()
    assert [name for _, name in done] == ["student", "en tokens", "phase 1", "student", "phase 1"]
    go([recipes[0], other], tmp_path)
    assert watched.take() == [(FIRST, "phase 1")]


def test_tokens_that_somebody_has_changed_or_removed_are_not_taken(recipes, done, tmp_path):
    folder = shutil.copytree(done[0], tmp_path / "runs")
    sharing = SharingRun(shared.Shared(folder / "shared"), recipes[0], folder / FIRST)
    assert sharing.tokens_of(recipes[0].source) == tokens(folder)
    assert sharing.tokens_of(recipes[0].target) is None
    tokens(folder).write_bytes(tokens(folder).read_bytes()[:-100])
    assert sharing.tokens_of(recipes[0].source) is None
    tokens(folder).unlink()
    assert sharing.tokens_of(recipes[0].source) is None
    assert phase_1._known(recipes[0], recipes[0].source, folder, None, sharing.tokens_of) is None


def test_an_interruption_while_the_text_is_tokenised_leaves_nothing_that_is_taken_for_it(
    recipes, tmp_path, monkeypatch
):
    def interrupted(tokenizer, language, *, progress, keep=None):
        def keep_some(*batch):
            keep(*batch)
            assert list(tmp_path.glob(f"shared/en-tokens-*/{TOKENS_FILE}.unfinished"))
            raise KeyboardInterrupt

        return read_text(tokenizer, language, progress=progress, keep=keep_some)

    with monkeypatch.context() as patch:
        patch.setattr(shared, "read_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(run_several(recipes, tmp_path, until="phase-1", progress=False))
    assert [file.name for file in kept(tmp_path)["en-tokens"].iterdir()] == ["started.json"]
    # A process that is killed cannot even remove what it has begun.
    (kept(tmp_path)["en-tokens"] / f"{TOKENS_FILE}.unfinished").write_bytes(b"half")
    packing = Packing(monkeypatch)
    go(recipes, tmp_path)
    assert packing.lines[SECOND, "blocks_en"] == must_be_tokenised(recipes[1], tmp_path)
    assert sorted(file.name for file in kept(tmp_path)["en-tokens"].iterdir()) == [
        "counts.npy",
        "manifest.json",
        "text.json",
        TOKENS_FILE,
    ]


def test_phase_1_goes_on_with_the_blocks_that_it_has_and_asks_for_no_tokens(recipes, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(phase_1, "BilingualDistillationTrainer", stopped)
        with pytest.raises(KeyboardInterrupt):
            list(run_several(recipes, tmp_path, until="phase-1", progress=False))
    asked = []
    monkeypatch.setattr(phase_1, "_known", lambda recipe, language, *_: asked.append((recipe.name, language.code)))
    go(recipes, tmp_path)
    assert asked == [(SECOND, "en"), (SECOND, "rw")]
