"""A check ties a card's facts to the files, and scores to what they were computed with beside the weights."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bistill_hub import InputError, SparseDelta
from bistill_hub.cards.card import rename_pair, rendered_card, write_card
from bistill_hub.cards.computed_with import configuration_sha256
from bistill_hub.cards.facts import read_facts, write_facts
from bistill_hub.hub.check import check_pair
from bistill_hub.model.configuration_bistill import BistillConfig
from bistill_hub.versioned import read_versioned

BASE, CONFIG, CARD, FACTS, RECIPE = "model.safetensors", "config.json", "README.md", "card.json", "recipe.json"
TOKENIZER_CONFIG, SIZE = "tokenizer_config.json", "size_and_speed.json"
DELTA, RESULTS = "tasks/ner/delta.safetensors", "tasks/ner/results.json"
POS = "tasks/pos/delta.safetensors"
HEAD = "token-classification"


@pytest.fixture
def copy(runs, tmp_path):
    return Path(shutil.copytree(runs["bert"].repository, tmp_path / "copy"))


@pytest.fixture
def two(copy):
    """The pair with a second task of the same head, without scores: `ner` is the default."""
    delta = SparseDelta.load(copy / DELTA)
    (copy / POS).parent.mkdir()
    SparseDelta(delta.sparse, delta.dense, {**delta.metadata, "task": "pos"}).save(copy / POS)

    def listed(config):
        config["tasks"]["pos"] = config["tasks"]["ner"]
        config["default_tasks"] = {HEAD: "ner"}

    edit(copy, CONFIG, listed)
    facts = read_facts(copy)
    write_card(copy, replace(facts, tasks={**facts.tasks, "pos": facts.tasks["ner"]}))
    return copy


def edit(folder, name, change):
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def set_in(folder, name, **fields):
    edit(folder, name, lambda content: content.update(fields))


def render(folder):
    (folder / CARD).write_text(rendered_card(folder))


def as_packaged_earlier(folder):
    edit(folder, FACTS, lambda facts: facts.pop("computed_with"))


def computed_again(folder):
    """What scores of the present files would tell."""
    facts = read_facts(folder)
    (folder / FACTS).unlink()
    write_facts(folder, facts)


def swap_labels(folder, *names):
    """Exchange two labels of `ner` in some of the files that list them."""
    delta = SparseDelta.load(folder / DELTA)
    labels = [*delta.metadata["labels"][:-2], *reversed(delta.metadata["labels"][-2:])]
    if DELTA in names:
        SparseDelta(delta.sparse, delta.dense, {**delta.metadata, "labels": labels}).save(folder / DELTA)
    for name in {*names} - {DELTA}:
        edit(folder, name, lambda content: content["tasks"]["ner"].update(labels=labels))
    render(folder)


def found(report):
    return {(finding.check, finding.file) for finding in report.findings}


def test_a_packaged_pair_says_what_its_scores_were_computed_with(runs):
    for run in runs.values():
        recorded = json.loads((run.repository / FACTS).read_text())["computed_with"]
        assert recorded["configuration"] == configuration_sha256(json.loads((run.repository / CONFIG).read_text()))
        assert set(recorded["labels"]) == {"ner"}
        report = check_pair(run.repository)
        assert (report.findings, report.notes) == ((), ())


def name_of(value):
    """A parameter's name, the same in all processes, which order sets each in their own way."""
    return str(sorted(value) if isinstance(value, set) else value)


@pytest.mark.parametrize(
    ("fields", "elsewhere"),
    [
        ({"num_attention_heads": 2}, set()),
        ({"hidden_act": "relu"}, set()),
        ({"layer_norm_eps": 0.1}, set()),
        ({"problem_type": "regression"}, set()),
        ({"num_hidden_layers": 2}, {("loading", CONFIG), ("loading", DELTA), ("results", RESULTS), ("card", FACTS)}),
    ],
    ids=name_of,
)
def test_another_configuration_than_the_scores_were_computed_with_is_found(copy, fields, elsewhere):
    set_in(copy, CONFIG, **fields)
    report = check_pair(copy)
    assert found(report) == {("results", CONFIG), *elsewhere}
    assert any("the scores were computed with" in finding.problem for finding in report.findings)


@pytest.mark.parametrize(
    ("fields", "expected", "said"),
    [
        ({"language_modelling_head": False}, {("loading", CONFIG), ("card", FACTS)}, "model.safetensors holds one"),
        ({"layer_map": [0, 1, 2]}, {("card", FACTS)}, "layer_map = [1, 3, 5]: config.json has [0, 1, 2]"),
        ({"layer_map": [1, 3]}, {("loading", CONFIG), ("card", FACTS)}, "model.safetensors has 3 layers"),
        ({"teacher_revision": "ab" * 20}, {("card", FACTS)}, "teacher_revision = None"),
    ],
    ids=name_of,
)
def test_a_configuration_that_is_not_of_these_weights_or_this_card_is_found(copy, fields, expected, said):
    set_in(copy, CONFIG, **fields)
    report = check_pair(copy)
    assert found(report) == expected
    assert any(said in finding.problem for finding in report.findings)


@pytest.mark.parametrize(
    ("default", "said"),
    [
        ({HEAD: "topics"}, "default_tasks.token-classification = 'topics': no such task is listed"),
        ({"sequence-classification": "ner"}, f"this task has the head {HEAD!r}"),
        ({"no-head": "ner"}, "default_tasks.no-head = 'ner'"),
        ({HEAD: ["ner"]}, "no such task is listed"),
    ],
    ids=name_of,
)
def test_a_default_task_that_is_missing_or_of_another_head_is_found(two, default, said):
    assert check_pair(two).findings == ()
    set_in(two, CONFIG, default_tasks=default)
    (finding,) = check_pair(two).findings
    assert (finding.check, finding.file) == ("loading", CONFIG)
    assert said in finding.problem


def test_each_head_is_loaded_without_a_task_s_name(two, monkeypatch):
    from bistill_hub.model import modeling_bistill

    real = modeling_bistill._BistillLoader._task_to_load.__func__

    def other(cls, config, task, where):
        unnamed = task == modeling_bistill._ANY_TASK and cls.head == HEAD
        return "topics" if unnamed else real(cls, config, task, where)

    monkeypatch.setattr(modeling_bistill._BistillLoader, "_task_to_load", classmethod(other))
    (finding,) = check_pair(two).findings
    assert (finding.check, finding.file) == ("loading", CONFIG)
    assert "AutoModelForTokenClassification does not load without a task's name" in finding.problem


def test_several_tasks_of_a_head_need_no_default(two):
    set_in(two, CONFIG, default_tasks={})
    assert check_pair(two).findings == ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_max_length": 8}, "model_max_length = 8: less than the 128 tokens"),
        ({"padding_side": "left"}, "padding_side = 'left'"),
        ({"truncation_side": "left"}, "truncation_side = 'left'"),
        ({"split_special_tokens": True}, "the scores were computed with"),
    ],
    ids=name_of,
)
def test_other_settings_of_the_tokenizer_are_found(copy, fields, said):
    set_in(copy, TOKENIZER_CONFIG, **fields)
    report = check_pair(copy)
    assert found(report) == {("tokenizer", TOKENIZER_CONFIG)}
    assert any(said in finding.problem for finding in report.findings)
    as_packaged_earlier(copy)
    assert bool(check_pair(copy).findings) == ("computed" not in said)


def test_settings_of_a_teacher_that_cuts_early_are_those_that_were_scored(copy):
    set_in(copy, TOKENIZER_CONFIG, model_max_length=64)
    computed_again(copy)
    assert check_pair(copy).findings == ()


STATED = {
    "parameters": (lambda facts: facts["student_size"].update(parameters=1), {FACTS, SIZE}),
    "layers": (lambda facts: facts["student_size"].update(layers=99), {FACTS, SIZE}),
    "vocabulary": (lambda facts: facts["student_size"].update(vocabulary=5), {FACTS, SIZE}),
    "the teacher's size": (lambda facts: facts["teacher_size"].update(parameters=7 * 10**9), {SIZE}),
    "layer map": (lambda facts: facts.update(layer_map=[0, 1, 2]), {FACTS}),
    "language": (lambda facts: facts.update(source=["de", "German"]), {FACTS}),
    "a language's name": (lambda facts: facts.update(source=["en", "German"]), {FACTS}),
    "the model's head": (lambda facts: facts.update(language_modelling_head=False), {FACTS}),
    "teacher": (lambda facts: facts.update(teacher="some/teacher"), {FACTS}),
    "a task's head": (lambda facts: facts["tasks"]["ner"].update(head="sequence-classification"), {FACTS}),
    "density": (lambda facts: facts["tasks"]["ner"].update(density=0.9), {FACTS}),
    "seed": (lambda facts: facts.update(seed=7), {FACTS}),
    "synthetic": (lambda facts: facts.update(synthetic=True), {FACTS}),
    "taught": (lambda facts: facts.update(taught=False), {FACTS}),
    "drawn": (lambda facts: facts.update(drawn=True), {FACTS}),
    "licence": (lambda facts: facts.update(license="mit"), {FACTS}),
    "a task more": (lambda facts: facts["tasks"].update(pos=facts["tasks"]["ner"]), {FACTS}),
}


@pytest.mark.parametrize("what", STATED)
def test_what_a_card_states_and_the_files_do_not_is_found(copy, what):
    change, files = STATED[what]
    edit(copy, FACTS, change)
    render(copy)
    report = check_pair(copy)
    # A card without its section on a head, say, shows no picture less: what it is rendered from is wrong, not the card.
    assert {(check, name) for check, name in found(report) if name != CARD} == {("card", name) for name in files}
    for finding in report.findings:
        assert not finding.problem.startswith("it cannot be compared"), finding


def test_sizes_that_were_not_measured_on_this_student_are_found(copy):
    edit(copy, SIZE, lambda content: content["student"].update(parameters=7))
    render(copy)
    assert ("card", SIZE) in found(check_pair(copy))


def test_labels_in_another_order_than_they_were_scored_in_are_found_in_each_file(copy):
    swap_labels(copy, DELTA, CONFIG)
    report = check_pair(copy)
    assert found(report) == {("results", DELTA), ("results", CONFIG), ("card", FACTS)}
    swap_labels(copy, DELTA, CONFIG)  # back again
    assert check_pair(copy).findings == ()
    swap_labels(copy, DELTA, CONFIG, FACTS)
    assert found(check_pair(copy)) == {("results", DELTA), ("results", CONFIG), ("results", FACTS)}


def test_of_a_pair_that_was_packaged_earlier_is_said_what_could_not_be_compared(copy):
    as_packaged_earlier(copy)
    report = check_pair(copy)
    assert report.findings == ()
    (note,) = report.notes
    assert "as that of pairs packaged earlier does not: config.json, tokenizer_config.json and the order of" in note
    swap_labels(copy, DELTA, CONFIG)
    assert found(check_pair(copy)) == {("card", FACTS)}


def test_a_task_whose_labels_nobody_recorded_is_named_in_a_note(copy):
    edit(copy, FACTS, lambda facts: facts["computed_with"].update(labels={}))
    report = check_pair(copy)
    assert report.findings == ()
    assert "does not say in which order the labels of ner stood" in report.notes[0]


@pytest.mark.parametrize("record", [5, [], "x", {}, {"configuration": 5, "labels": 3}])
def test_a_record_that_is_none_is_found(copy, record):
    set_in(copy, FACTS, computed_with=record)
    assert found(check_pair(copy)) == {("results", CONFIG), ("tokenizer", TOKENIZER_CONFIG)}


def test_a_task_s_folder_that_was_only_copied_in_is_found(copy):
    (copy / POS).parent.mkdir()
    delta = SparseDelta.load(copy / DELTA)
    SparseDelta(delta.sparse, delta.dense, {**delta.metadata, "task": "pos"}).save(copy / POS)
    (finding,) = check_pair(copy).findings
    assert (finding.check, finding.file) == ("card", POS)
    assert "bistill add-task" in finding.remedy


def test_a_task_that_the_configuration_does_not_list_was_added_later(two):
    edit(two, CONFIG, lambda config: (config["tasks"].pop("pos"), config.update(default_tasks={})))
    (finding,) = check_pair(two).findings
    assert (finding.check, finding.file) == ("card", CONFIG)
    assert finding.problem.startswith("tasks.pos is missing")
    edit(two, FACTS, lambda facts: facts["tasks"]["pos"].update(added={"recipe": {}, "command": "bistill add-task"}))
    render(two)
    assert check_pair(two).findings == ()


def test_a_card_of_a_release_that_nobody_knows_is_compared_all_the_same(copy):
    set_in(copy, CONFIG, written_by="0.0.9")
    (finding,) = check_pair(copy).findings
    assert (finding.check, finding.file) == ("card", CONFIG)
    assert finding.problem.startswith("written_by = '0.0.9': no release that")
    text = (copy / CARD).read_text()
    assert "the package `bistill_hub` installed" in text
    (copy / CARD).write_text(text.replace("the package `bistill_hub` installed", "`pip install another`"))
    report = check_pair(copy)
    assert found(report) == {("card", CONFIG), ("card", CARD)}
    assert report.notes == ()
    set_in(copy, CONFIG, written_by=["0.1.0"])
    assert ("card", CONFIG) in found(check_pair(copy))


@pytest.mark.parametrize("name", [CONFIG, RECIPE, FACTS, RESULTS, SIZE, TOKENIZER_CONFIG])
def test_json_that_is_nested_without_end_is_found_like_any_that_cannot_be_read(copy, name):
    (copy / name).write_text("[" * 100_000)
    assert ("files", name) in found(check_pair(copy))


def test_a_versioned_file_that_is_nested_without_end_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="it cannot be read"):
        read_versioned(tmp_path / "a.json", "version", 1, remedy="write it anew")


def test_facts_keep_what_they_say_of_scores_and_older_ones_stay_as_they_are(copy):
    written = (copy / FACTS).read_bytes()
    write_facts(copy, read_facts(copy))
    assert (copy / FACTS).read_bytes() == written
    set_in(copy, CONFIG, hidden_act="relu")  # which the scores know nothing of
    rename_pair(copy, "org/pair")
    assert json.loads((copy / FACTS).read_text()) == {**json.loads(written), "name": "org/pair"}
    as_packaged_earlier(copy)
    write_facts(copy, read_facts(copy))
    assert "computed_with" not in json.loads((copy / FACTS).read_text())


def test_facts_of_a_further_task_say_what_it_was_computed_with(copy):
    before = read_facts(copy).computed_with
    as_packaged_earlier(copy)
    facts = read_facts(copy)
    added = {**facts.tasks["ner"], "labels": ["A", "B"], "added": {"recipe": {"sources": ("a", "b")}, "command": "x"}}
    write_facts(copy, replace(facts, tasks={**facts.tasks, "pos": added}))
    first = read_facts(copy).computed_with
    assert (first["configuration"], set(first["labels"])) == (before["configuration"], {"pos"})
    write_facts(copy, replace(read_facts(copy), tasks={**facts.tasks, "pos": {**added, "labels": ["B", "A"]}}))
    assert read_facts(copy).computed_with["labels"]["pos"] != first["labels"]["pos"]


def test_what_says_where_a_pair_comes_from_is_none_of_the_computation(runs):
    fields = json.loads((runs["bert"].repository / CONFIG).read_text())
    expected = configuration_sha256(fields)
    own = set(BistillConfig.__annotations__) - {"backbone_type"}
    assert {"tasks", "written_by", "layer_map"} <= own
    own |= {"model_type", "transformers_version", "architectures", "dtype", "_name_or_path", "auto_map"}
    for name in own:
        assert configuration_sha256({**fields, name: "another"}) == expected, name
    for name in {"backbone_type", *fields} - own:
        assert configuration_sha256({**fields, name: "another"}) != expected, name
