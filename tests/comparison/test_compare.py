"""A comparison does what is missing once, tells it beforehand, and ends in one table, however often it was stopped."""

import csv
import json
import lzma
import re
import shutil
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import tiny_tasks
from compared import bytes_of, small_pair
from safetensors.torch import load_file, save_file
from studies import load_script

from bistill_hub import InputError, Recipe
from bistill_hub.comparison.compare import compare, find
from bistill_hub.comparison.contenders import CONTENDERS, own_recipe
from bistill_hub.comparison.cost import cost_of
from bistill_hub.comparison.findings import verdict
from bistill_hub.comparison.memory import remember
from bistill_hub.comparison.report import FINDINGS, findings_table
from bistill_hub.comparison.rows import Asked
from bistill_hub.evaluation.bootstrap import bootstrap_scores, interval
from bistill_hub.evaluation.kept import read_predictions
from bistill_hub.evaluation.results import read_results
from bistill_hub.pipeline import executor, order
from bistill_hub.pipeline.preflight import read_task
from bistill_hub.tasks import get_task

AGAINST = ["trimmed_teacher", "no_phase_1"]
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return small_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def told_before(pair, tmp_path_factory):
    """The cost of the comparison, and the folder that it was told for."""
    folder = tmp_path_factory.mktemp("compared") / "out"
    return cost_of(pair, AGAINST, folder, seeds=SEEDS, progress=False), folder, folder.exists()


@pytest.fixture(scope="module")
def compared(pair, told_before):
    """The comparison and its folder. Do not write into it."""
    _, folder, _ = told_before
    return compare(pair, AGAINST, folder, seeds=SEEDS, progress=False), folder


@pytest.fixture
def copied(compared, tmp_path):
    return shutil.copytree(compared[1], tmp_path / "out")


def folders_of(folder):
    """Names of the stages' folders without their hashes."""
    return sorted(place.name.rpartition("-")[0] for place in (folder / "stages").iterdir())


def watched(monkeypatch, stop_before=None):
    """Note which stages are really worked on; interrupt before one of them."""
    done, real = [], executor.complete

    def complete(name, folder, inputs, work, **kwargs):
        def noted(place):
            if len(done) == stop_before:
                raise KeyboardInterrupt
            done.append(name)
            return work(place)

        return real(name, folder, inputs, noted, **kwargs)

    monkeypatch.setattr(executor, "complete", complete)
    return done


def test_what_contenders_share_is_done_once(compared):
    assert folders_of(compared[1]) == sorted(
        2 * ["student", "ner-teacher"] + 4 * ["phase-1", "ner-phase-2"] + 8 * ["ner-scores"]
    )


def test_a_stages_folder_is_called_by_the_hash_of_what_went_in(compared):
    for place in (compared[1] / "stages").iterdir():
        manifest = json.loads((place / "manifest.json").read_text())
        assert place.name == f"{manifest['stage'].replace(' ', '-')}-{manifest['fingerprint'][:16]}"


def test_the_cost_counts_the_stages_that_are_done_afterwards(pair, told_before, compared):
    cost, folder, was_there = told_before
    assert not was_there
    assert cost.to_do == len(folders_of(folder))
    assert sum(each.rows for each in cost.contenders) == 8
    assert {each.contender: each.shared for each in cost.contenders} == {
        "teacher": 0,
        "trimmed_teacher": 2,  # the teacher of either seed
        "student": 4,  # that, and its own vocabulary
        "no_phase_1": 4,
    }
    assert cost.seconds > 0
    assert cost.disk_megabytes > 0
    assert not any(each.unknown for each in cost.contenders)
    after = cost_of(pair, AGAINST, folder, seeds=SEEDS, progress=False)
    assert (after.to_do, after.seconds, after.device) == (0, 0, None)


def test_a_score_is_the_mean_of_what_the_stages_scored(compared):
    found, folder = compared
    assert [(score.contender, score.role) for score in found.scores] == [
        (name, role)
        for name in ("teacher", "trimmed_teacher", "student", "no_phase_1")
        for role in ("source", "target")
    ]
    for scored in ("teacher", "trimmed_teacher"):
        results = [each for file in (folder / "stages").glob("*/results.json") for each in read_results(file)]
        for score in found.scores:
            if score.contender == scored:
                of_seed = {r.seed: r.score for r in results if (r.model, r.role) == (scored, score.role)}
                assert dict(zip(score.seeds, score.by_seed, strict=True)) == pytest.approx(of_seed)
                assert score.score == pytest.approx(fmean(of_seed.values()))
    assert max(score.score for score in found.scores if score.contender == "teacher") > 0


def test_intervals_come_from_kept_predictions_with_the_same_draws_for_all_seeds(pair, compared):
    found, folder = compared
    task = get_task("ner")
    dataset = task.read(pair.tasks[0].test_source)
    drawn = {"teacher": [], "trimmed_teacher": []}
    for file in sorted((folder / "stages").glob("*/results.json")):
        if (result := read_results(file)[0]).model in drawn:
            counted = task.statistics(dataset, read_predictions(file.parent / "en.jsonl"))
            drawn[result.model].append(bootstrap_scores(counted, task.main_score))
    means = {name: np.mean(each, axis=0) for name, each in drawn.items()}
    trimmed = next(s for s in found.scores if (s.contender, s.role) == ("trimmed_teacher", "source"))
    assert (trimmed.low, trimmed.high) == pytest.approx(interval(means["trimmed_teacher"]))
    assert (trimmed.to_teacher.difference_low, trimmed.to_teacher.difference_high) == pytest.approx(
        interval(means["trimmed_teacher"] - means["teacher"])
    )


def test_the_files_say_the_same(compared):
    found, folder = compared
    pairs = list(csv.DictReader((folder / "beside.csv").open()))
    assert {(each["contender"], each["beside"]) for each in pairs} == {
        *((name, "teacher") for name in ("trimmed_teacher", "student", "no_phase_1")),
        *((name, "trimmed_teacher") for name in ("student", "no_phase_1")),
        ("no_phase_1", "student"),
    }
    for each in pairs:
        by_name = {score.contender: score.score for score in found.scores if score.role == each["role"]}
        difference = by_name[each["contender"]] - by_name[each["beside"]]
        assert float(each["difference"]) == pytest.approx(difference)
    content = json.loads((folder / "comparison.json").read_text())
    lines = list(csv.DictReader((folder / "comparison.csv").open()))
    assert [each["score"] for each in content["scores"]] == [score.score for score in found.scores]
    assert [float(line["score"]) for line in lines] == [score.score for score in found.scores]
    text = (folder / "comparison.md").read_text()
    for score in found.scores:
        assert f"{100 * score.score:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]" in text
    assert "Synthetic" in text
    assert content["synthetic"]
    assert {line["synthetic"] for line in lines} == {"True"}
    assert text.count("not run, unverified") == 4
    differs = {each["name"]: each["differs_from_student"] for each in content["contenders"]}
    assert differs == {"teacher": {}, "trimmed_teacher": {}, "student": {}, "no_phase_1": {"bilingual.steps": 0}}
    assert content["budget"]["bilingual"]["steps"] == 2
    assert content["budget"]["tasks"]["ner"]["distillation"]["sparse_epochs"] == 2
    assert "/" not in "".join(line for line in text.splitlines() if line.startswith("| `")), "no folder of this machine"
    assert (folder / "figures" / "ner.png").read_bytes().startswith(b"\x89PNG")
    assert [(each["kind"], each["contender"], each["verdict"]) for each in content["findings"]] == [
        (each.kind, each.contender, verdict(each)) for each in found.findings
    ]
    assert {each.kind for each in found.findings} == {"kept", "given_up"}
    assert f"{FINDINGS}\n\n{findings_table(found.findings)}\n" in text


def test_a_second_command_adds_to_the_table_of_the_first(pair, copied, monkeypatch):
    before, done = bytes_of(copied), watched(monkeypatch)
    compare(pair, [], copied, progress=False)
    assert (bytes_of(copied), done) == (before, [])
    found = compare(pair, ["student_fine_tuned"], copied, seeds=[1], progress=False)
    assert done == ["ner phase 2", "ner scores"]
    added = {score.contender: score.seeds for score in found.scores}
    assert added == {**dict.fromkeys(("teacher", "student", *AGAINST), SEEDS), "student_fine_tuned": (1,)}
    fine_tuned = [score for score in found.scores if score.contender == "student_fine_tuned"]
    teacher = [score for score in found.scores if score.contender == "teacher"]
    for ours, theirs in zip(fine_tuned, teacher, strict=True):
        assert ours.to_teacher.difference == pytest.approx(ours.score - theirs.by_seed[1]), "of the same seed"


def test_a_contender_can_be_done_alone_and_the_others_by_a_later_command(pair, tmp_path, monkeypatch):
    folder, done = tmp_path / "out", watched(monkeypatch)
    cost = cost_of(pair, ["no_phase_1"], folder, seeds=[0], alone=True, progress=False)
    found = compare(pair, ["no_phase_1"], folder, seeds=[0], alone=True, progress=False)
    assert done == ["student", "phase 1", "ner teacher", "ner phase 2", "ner scores"]
    assert (cost.to_do, [each.contender for each in cost.contenders]) == (len(done), ["no_phase_1"])
    assert {score.contender for score in found.scores} == {"no_phase_1"}
    assert {(score.to_teacher, score.to_student) for score in found.scores} == {(None, None)}
    assert (found.missing, found.findings) == ((), ())
    text = (folder / "comparison.md").read_text()
    assert "missing" not in text
    assert "| no phase 1 | Ansell et al. 2023 | `bilingual.steps` 0 |" in text, "what differs from the student's recipe"
    done.clear()
    found = compare(pair, [], folder, seeds=[0], progress=False)
    assert done == ["ner scores", "phase 1", "ner phase 2", "ner scores"]
    assert {score.contender for score in found.scores} == {"teacher", "student", "no_phase_1"}
    whole = tmp_path / "whole"
    compare(pair, ["no_phase_1"], whole, seeds=[0], progress=False)
    assert bytes_of(folder) == bytes_of(whole)


def test_a_stopped_comparison_tells_what_there_is_and_goes_on_to_the_same_bytes(pair, copied, monkeypatch):
    whole = bytes_of(copied)
    for place in (copied / "stages").iterdir():
        inputs = json.loads((place / "manifest.json").read_text())["inputs"]
        if inputs["seed"] == 1:
            shutil.rmtree(place)
    with monkeypatch.context() as patch:
        done = watched(patch, stop_before=3)
        with pytest.raises(KeyboardInterrupt):
            compare(pair, AGAINST, copied, seeds=SEEDS, progress=False)
    assert done == ["ner teacher", "ner scores", "student"]
    stopped = json.loads((copied / "comparison.json").read_text())
    assert [(each["contender"], each["seed"]) for each in stopped["missing"]] == [
        ("trimmed_teacher", 1),
        ("student", 1),
        ("no_phase_1", 1),
    ]
    done = watched(monkeypatch)
    compare(pair, AGAINST, copied, seeds=SEEDS, progress=False)
    assert done == ["ner scores"] + 2 * ["phase 1", "ner phase 2", "ner scores"]
    assert bytes_of(copied) == whole


def test_a_contender_that_fails_stops_no_other_and_is_tried_again_by_the_next_command(pair, copied, monkeypatch):
    def failing(recipe, *_args, **_kwargs):
        raise RuntimeError("[/dev/shm] is out of\nmemory")

    tried = []
    with monkeypatch.context() as patch:
        patch.setattr(order, "distil_task", lambda *args, **kwargs: tried.append(1) or failing(*args))
        found = compare(pair, ["student_fine_tuned", *AGAINST], copied, progress=False)
    error = "ner-phase-2: RuntimeError: [/dev/shm] is out of"
    assert found.failed == {Asked("student_fine_tuned", 0, "ner"): error}
    assert len(tried) == 1
    assert not found.missing
    text = (copied / "comparison.md").read_text()
    assert "| student, fine-tuned |  |  |  |  |  | failed |" in text
    assert error in text
    assert not compare(pair, ["student_fine_tuned"], copied, progress=False).failed


def test_other_steps_make_another_comparison_in_the_same_folder(pair, copied):
    cost = cost_of(pair.replace({"bilingual.steps": 3}), AGAINST, copied, seeds=[0], progress=False)
    to_do = {each.contender: each.to_do for each in cost.contenders}
    assert to_do == {"teacher": 0, "trimmed_teacher": 0, "student": 3, "no_phase_1": 0}


@pytest.fixture
def without_models(copied):
    """The comparison after somebody has made room: of all stages but those that score, the records alone are left."""
    for place in (copied / "stages").iterdir():
        for file in place.rglob("*"):
            if "ner-scores" not in place.name and file.is_file() and file.name != "manifest.json":
                file.unlink()
    return copied


def test_scores_outlive_the_models(pair, without_models, monkeypatch):
    before, done = bytes_of(without_models), watched(monkeypatch)
    cost = cost_of(pair, AGAINST, without_models, seeds=SEEDS, progress=False)
    assert (cost.to_do, cost.seconds) == (0, 0)
    found = compare(pair, AGAINST, without_models, seeds=SEEDS, progress=False)
    assert (bytes_of(without_models), done, found.failed) == (before, [], {})


def test_a_model_that_was_scored_and_removed_is_not_trained_behind_its_scores(pair, without_models, monkeypatch):
    done = watched(monkeypatch)
    found = compare(pair, ["student_fine_tuned", *AGAINST], without_models, seeds=[0, 2], progress=False)
    (asked, error), *others = found.failed.items()
    assert (asked, others) == (Asked("student_fine_tuned", 0, "ner"), [])
    assert "bring them back" in error.lower()
    assert "ner-teacher-" in error or "student-" in error
    assert done.count("ner teacher") == 1, "of the seed that was never trained"
    assert {score.seeds for score in found.scores if score.contender == "student"} == {(0, 1, 2)}


def test_a_file_that_is_not_whole_fails_its_row_alone_and_is_named(pair, copied):
    before = compare(pair, AGAINST, copied, seeds=[0], progress=False)
    place = next(
        place
        for place in (copied / "stages").glob("ner-scores-*")
        if json.loads((place / "manifest.json").read_text())["inputs"]["scored"] == "trimmed_teacher"
        and read_results(place / "results.json")[0].seed == 0
    )
    (place / "sw.jsonl").write_bytes((place / "sw.jsonl").read_bytes()[:-1])
    found = compare(pair, AGAINST, copied, seeds=[0], progress=False)
    ((asked, error),) = found.failed.items()
    assert asked == Asked("trimmed_teacher", 0, "ner")
    for said in (place.name, "1 of its", "'sw.jsonl'", "not as they were"):
        assert said in error
    assert [score.contender for score in found.scores if score.seeds == (0, 1)] == [
        score.contender for score in before.scores if score.contender != "trimmed_teacher"
    ]


def test_rows_whose_text_is_not_to_be_found_any_more_count_as_missing(pair, copied, monkeypatch):
    several = pair.replace({"further_languages": [{"code": "fr", "name": "French", "text": "$FURTHER/fr.txt"}]})
    recipe = CONTENDERS["minilmv2_style"].recipe(several)
    remember(copied, several, {"minilmv2_style": recipe}, [0], {})
    monkeypatch.delenv("FURTHER", raising=False)
    found = compare(several, AGAINST, copied, seeds=SEEDS, progress=False)
    assert (found.missing, found.failed) == ((Asked("minilmv2_style", 0, "ner"),), {})
    assert "- minilmv2_style, ner, seed 0" in (copied / "comparison.md").read_text()


def test_a_contender_may_have_a_setting_of_its_own_and_the_table_tells_it(pair, copied, monkeypatch):
    own = {"no_phase_1": {"tasks.ner.distillation.learning_rate": 3e-3, "tasks.qa.distillation.learning_rate": 1.0}}
    done = watched(monkeypatch)
    cost = cost_of(pair, AGAINST, copied, seeds=[0], own=own, progress=False)
    assert {each.contender: each.to_do for each in cost.contenders if each.to_do} == {"no_phase_1": 2}
    compare(pair, AGAINST, copied, seeds=[0], own=own, progress=False)
    assert done == ["ner phase 2", "ner scores"]
    row = next(line for line in (copied / "comparison.md").read_text().splitlines() if "`bilingual.steps` 0" in line)
    assert "`tasks.ner.distillation.learning_rate` 0.003" in row


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"student": {"bilingual.steps": 3}}, "contenders.student"),
        ({"trimmed_teacher": {"seed": 3}}, "contenders.trimmed_teacher"),
        ({"ablations": {"seed": 3}}, "contenders = 'ablations'"),
        ({"no_phase_1": {"bilingual.stepps": 3}}, "contenders.no_phase_1"),
        ({"no_phase_1": {"tasks.nerr.max_length": 3}}, "contenders.no_phase_1"),
    ],
)
def test_a_setting_that_no_contender_can_have_is_refused_before_anything_is_made(pair, own, said, tmp_path):
    for refuse in (cost_of, compare):
        with pytest.raises(InputError) as caught:
            refuse(pair, AGAINST, tmp_path / "c", seeds=[0], own=own, progress=False)
        assert said in str(caught.value)
    assert not (tmp_path / "c" / "stages").exists()


@pytest.mark.parametrize(
    ("changes", "arguments", "field"),
    [
        ({}, {"against": ["tortoise"]}, "against"),
        ({}, {"against": ["lrf_3"]}, "layer_reduction_factor"),
        ({}, {"against": ["distilbert_style"]}, "further_languages"),
        ({}, {"alone": True}, "against"),
        ({}, {"seeds": []}, "seeds"),
        ({}, {"seeds": [-1]}, "seeds"),
        ({"tasks": ()}, {}, "tasks"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_made(pair, changes, arguments, field, tmp_path):
    other, given = pair.replace(changes), {"against": [], "seeds": [0], "progress": False, **arguments}
    for refuse in (cost_of, compare):
        with pytest.raises(InputError) as caught:
            refuse(other, output_dir=tmp_path / "c", **given)
        assert field in caught.value.field
    assert not (tmp_path / "c" / "stages").exists()


def test_a_tasks_data_that_are_gone_leave_the_other_tasks_their_table(tmp_path):
    pair = small_pair(tmp_path / "pair")
    (ner,) = pair.tasks
    both = pair.model_dump(mode="json")
    (tmp_path / "pos").mkdir()
    of_pos = tiny_tasks.write_tasks(tmp_path / "pos")["pos"]
    both["tasks"].append({**both["tasks"][0], "name": "pos", **of_pos})
    both = Recipe.make(both)
    folder = tmp_path / "out"
    folder.mkdir()
    remember(folder, both, {"student": own_recipe(both)}, (0,), {})
    data = {"pos": read_task(both.tasks[1], get_task("pos"))}
    assert [asked.task for asked in find(both, folder, data).missing] == ["ner", "pos"]
    Path(ner.test_target.path).unlink()
    found = find(both, folder, data)
    assert [asked.task for asked in found.missing] == ["ner", "pos"]
    assert found.scores == ()


@pytest.fixture(scope="module")
def pool():
    return load_script("pool")


def test_a_pool_of_what_was_predicted_gives_the_same_table_without_the_folder(pool, pair, compared, tmp_path):
    found, folder = compared
    kept = pool.keep(tmp_path / "pool", folder, pair, "today")
    assert sorted(file.name.partition(".")[0] for file in kept) == sorted(
        f"{name}-{seed}" for name in ("teacher", "trimmed_teacher", "student", "no_phase_1") for seed in SEEDS
    )
    made = pool.table(tmp_path / "pool", tmp_path / "table", pair, {})
    assert made.scores == found.scores
    assert bytes_of(tmp_path / "table") == bytes_of(folder)
    assert list((tmp_path / "table" / "figures").glob("*.png"))


def test_a_pool_grows_by_seeds_and_takes_no_row_of_another_recipe(pool, pair, compared, tmp_path):
    found, folder = compared
    for file in pool.keep(tmp_path / "pool", folder, pair, "today"):
        if file.name.startswith("student-1"):
            later = shutil.move(file, tmp_path / file.name)
    by_name = {score.contender: score for score in pool.table(tmp_path / "pool", tmp_path / "a", pair, {}).scores}
    assert (by_name["student"].seeds, by_name["teacher"].seeds) == ((0,), SEEDS)
    shutil.copy(later, tmp_path / "pool" / "ner")
    assert pool.table(tmp_path / "pool", tmp_path / "b", pair, {}).scores == found.scores
    with pytest.raises(InputError, match=r"-0\.json\.xz: bilingual = .*trained by another recipe"):
        pool.table(tmp_path / "pool", tmp_path / "c", pair.replace({"bilingual.steps": 7}), {})
    assert not (tmp_path / "c").exists()
    another = tmp_path / "another" / "teacher"
    shutil.copytree(pair.teacher.model, another)
    renamed = pair.replace({"teacher.model": str(another)})
    assert pool.table(tmp_path / "pool", tmp_path / "d", renamed, {}).scores == found.scores, "equal weights elsewhere"
    weights = load_file(another / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, another / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"-0\.json\.xz: weights = .*trained by another recipe"):
        pool.table(tmp_path / "pool", tmp_path / "e", renamed, {})
    with pytest.raises(InputError, match=r"no finished row of this recipe.*precision included"):
        pool.keep(tmp_path / "pool", folder, pair.replace({"bilingual.precision": "bf16"}), "today")


def test_a_pool_has_rows_of_either_precision_and_the_page_tells_which(pool, pair, compared, tmp_path):
    found, folder = compared
    for file in pool.keep(tmp_path / "pool", folder, pair, "today"):
        if file.name.startswith("student-1"):
            row = json.loads(lzma.decompress(file.read_bytes()))
            row["recipe"]["bilingual"]["precision"] = row["recipe"]["bilingual"]["teacher_precision"] = "bf16"
            (task,) = row["recipe"]["tasks"]
            task["distillation"]["teacher_precision"] = "bf16"
            file.write_bytes(lzma.compress(json.dumps(row).encode()))
    assert pool.table(tmp_path / "pool", tmp_path / "table", pair, {}).scores == found.scores
    page = tmp_path / "page.md"
    page.write_text(f"{pool.BEGIN}\n{pool.END}\n", encoding="utf-8")
    pool.onto_page(page, tmp_path / "table", tmp_path / "pool")
    text = page.read_text(encoding="utf-8")
    assert text.count(findings_table(found.findings)) == 1
    assert f"#{FINDINGS}" in text
    told = "fp32: ner (seeds 0, 1); in bf16: ner (seed 1); in fp32, teacher in bf16: ner (seed 1)"
    assert f"Phases trained in {told}.\n" in text
    assert re.search(r"\| phase 1 \| student, seed 1 \| bf16 \|", text)
    assert re.search(r"\| ner phase 2 \| student, seed 1 \| fp32, teacher in bf16 \|", text)
    assert re.search(r"\| phase 1 \| student, seed 0 \| fp32 \|", text)


def test_a_page_has_its_findings_where_it_wants_them(pool, pair, compared, tmp_path):
    found, folder = compared
    pool.keep(tmp_path / "pool", folder, pair, "today")
    pool.table(tmp_path / "pool", tmp_path / "table", pair, {})
    page = tmp_path / "page.md"
    page.write_text(f"{pool.BEGIN_FINDINGS}\n{pool.END_FINDINGS}\nWords.\n{pool.BEGIN}\n{pool.END}\n", encoding="utf-8")
    for _ in range(2):
        pool.onto_page(page, tmp_path / "table", tmp_path / "pool")
        first, words, rest = page.read_text(encoding="utf-8").partition("Words.\n")
        assert findings_table(found.findings) in first
        assert words
        assert FINDINGS not in first + rest
        assert findings_table(found.findings) not in rest
        assert "### ner, sw (target)" in rest
    page.write_text(page.read_text(encoding="utf-8").replace(pool.END_FINDINGS, ""), encoding="utf-8")
    with pytest.raises(InputError, match="lacks the marks"):
        pool.onto_page(page, tmp_path / "table", tmp_path / "pool")
