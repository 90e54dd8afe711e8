"""A teacher whose tokenizer one of its backbone's own classes would rebuild is refused, unless the recipe names it."""

import json
import shlex
import shutil

import pytest
from untrained import TOKENIZERS, tokenizer_for, untrained

from bistill_hub import InputError, run
from bistill_hub.pipeline import tokenizer_classes as module
from bistill_hub.pipeline.manifest import finished
from bistill_hub.pipeline.order import PACKAGE, stages_of
from bistill_hub.pipeline.phase_0 import cut_student
from bistill_hub.pipeline.plan import plan
from bistill_hub.pipeline.preflight import preflight
from bistill_hub.pipeline.tokenizer_classes import named_and_rebuilding, rebuilding_classes
from bistill_hub.recipe_changes import parse_changes
from bistill_hub.sources import TextSource
from bistill_hub.student.tokenizer_loading import classes_that_rebuild
from bistill_hub.teacher import load_config, load_tokenizer

FIELD = "teacher.tokenizer_not_by"


@pytest.fixture
def generic(small_recipes):
    """A recipe whose teacher is of the generic class and has a normalizer that its backbone's class drops."""
    return small_recipes["xlm-roberta"].replace({FIELD: []})


def refusal(look, recipe, *arguments, **options):
    with pytest.raises(InputError) as caught:
        look(recipe, *arguments, **options)
    return caught.value


def test_it_is_refused_before_its_text_is_read_with_what_to_write(generic, tmp_path, monkeypatch):
    def read(source):
        raise AssertionError("the text is read")

    with monkeypatch.context() as patch:
        patch.setattr(TextSource, "lines", read)
        error = refusal(preflight, generic, tmp_path)
    assert (error.field, error.value) == (FIELD, [])
    assert error.problem.startswith("XLMRobertaTokenizer, given '")
    assert "the file has the normalizer NFKC, of which it makes none" in error.problem
    wanted = '["XLMRobertaTokenizer"]'
    assert error.remedy.startswith(f"set {FIELD} to {wanted} (--set '{FIELD}={wanted}'), and ")
    assert parse_changes(shlex.split(error.remedy.partition("--set ")[2].partition(")")[0])) == {
        FIELD: ["XLMRobertaTokenizer"]
    }
    assert "load its tokenizer with AutoTokenizer" in error.remedy
    assert error.remedy.endswith("or take a teacher whose tokenizer is saved under its own class")
    assert [task.task.name for task in preflight(generic.replace({FIELD: ["XLMRobertaTokenizer"]}), tmp_path)] == [
        "ner"
    ]


def test_names_that_are_there_stay_in_what_is_to_be_written(generic, tmp_path):
    error = refusal(preflight, generic.replace({FIELD: ["SomeTokenizer"]}), tmp_path)
    assert error.value == ["SomeTokenizer"]
    written = json.loads(error.remedy.partition(" to ")[2].partition("]")[0] + "]")
    assert written == ["SomeTokenizer", "XLMRobertaTokenizer"]
    preflight(generic.replace({FIELD: written}), tmp_path)


def test_plan_refuses_it_in_the_same_words(generic, tmp_path):
    refused = str(refusal(plan, generic, tmp_path / "new", trial=False))
    assert refused == str(refusal(preflight, generic, tmp_path))
    assert not (tmp_path / "new").exists()


def test_plan_goes_on_where_the_teacher_is_not_here(generic, tmp_path):
    made = plan(generic.replace({"teacher.model": "org/not-here"}), tmp_path, trial=False)
    assert made.teacher.place == "not in the cache"


@pytest.mark.parametrize("backbone", TOKENIZERS)
def test_teachers_with_a_tokenizer_of_their_own_class_need_no_name(backbone, tmp_path):
    teacher = untrained(backbone, tmp_path / "teacher")
    assert rebuilding_classes(load_tokenizer(str(teacher)), load_config(str(teacher))) == {}


def test_a_tokenizer_is_looked_at_once_for_all_contenders_and_again_when_it_has_changed(small_recipes, monkeypatch):
    looked = []
    real = module.classes_that_rebuild

    def watched(*arguments, **options):
        looked.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(module, "classes_that_rebuild", watched)
    monkeypatch.setattr(module, "_found", {})
    model = small_recipes["xlm-roberta"].teacher.model
    first, second, changed = (load_tokenizer(model) for _ in range(3))
    config = load_config(model)
    found = rebuilding_classes(first, config)
    assert rebuilding_classes(second, config) == found
    assert len(looked) == 2, "the teacher's and the student's"
    assert rebuilding_classes(changed, config, ["XLMRobertaTokenizer"]) == {}
    assert len(looked) == 2, "there is nothing else to try"
    changed.backend_tokenizer.normalizer = None
    assert rebuilding_classes(changed, config) == {}, "without a normalizer there is nothing to lose"
    assert len(looked) > 2


def test_a_class_that_is_wrong_for_the_teacher_alone_needs_no_name(small_recipes, tmp_path):
    recipe = small_recipes["bert"]
    tokenizer, config = load_tokenizer(recipe.teacher.model), load_config(recipe.teacher.model)
    assert list(classes_that_rebuild(tokenizer, "bert")) == ["BertTokenizer"], "it lower-cases where nothing is said"
    assert rebuilding_classes(tokenizer, config) == {}
    preflight(recipe, tmp_path)


def test_phase_0_refuses_a_class_that_is_not_named_and_leaves_out_one_that_is(generic, tmp_path):
    for name in ("refused", "made", "needless"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=r"XLMRobertaTokenizer .*may be named in teacher\.tokenizer_not_by"):
        cut_student(generic, tmp_path / "refused", progress=False)
    named = generic.replace({FIELD: ["XLMRobertaTokenizer", "BertTokenizer"]})
    facts = cut_student(named, tmp_path / "made", progress=False)
    assert facts["vocabulary"]["not_by"] == ["XLMRobertaTokenizer"], "what does rebuild, not what is named"


def test_a_name_that_is_not_needed_does_no_harm(small_recipes, tmp_path):
    recipe = small_recipes["bert"].replace({FIELD: ["BertTokenizer", "NoSuchTokenizer"]})
    preflight(recipe, tmp_path)
    (tmp_path / "student").mkdir()
    facts = cut_student(recipe, tmp_path / "student", progress=False)
    assert facts["vocabulary"]["not_by"] == [], "BertTokenizer was tried, and loads the student as it is"


def test_a_name_is_no_leave_for_a_class_that_is_right_for_the_teacher(small_recipes):
    recipe = small_recipes["xlm-roberta"].replace({FIELD: ["XLMRobertaTokenizer"]})
    tokenizer = tokenizer_for("xlm-roberta")
    student = load_tokenizer(recipe.teacher.model)  # of which the class makes another one
    assert named_and_rebuilding(recipe, tokenizer, student, "xlm-roberta", ()) == ()
    assert named_and_rebuilding(recipe, student, student, "xlm-roberta", ()) == ("XLMRobertaTokenizer",)


def test_what_is_named_goes_into_no_stage_but_the_package(generic, runs, tmp_path):
    named = generic.replace({FIELD: ["XLMRobertaTokenizer"]})
    data = preflight(named, tmp_path)
    done = {stage.name: stage for stage in runs["xlm-roberta"].stages}  # of a recipe with a name
    made = {recipe: stages_of(recipe, data, command="", progress=False) for recipe in (generic, named)}
    for one, other in zip(*made.values(), strict=True):
        assert (one.settings == other.settings) == (one.name != PACKAGE)
        if one.name != PACKAGE:
            assert finished(one.name, done[one.name].folder, one.inputs(done)) is not None


def test_a_run_that_names_another_class_packages_alone(generic, runs, tmp_path):
    shutil.copytree(runs["xlm-roberta"].stages[0].folder.parent, tmp_path / "run")
    other = generic.replace({FIELD: ["XLMRobertaTokenizer", "SomeTokenizer"]})
    again = run(other, tmp_path / "run", progress=False)
    assert [stage.name for stage in again.stages if not stage.skipped] == [PACKAGE]
    content = json.loads((again.repository / "recipe.json").read_text(encoding="utf-8"))
    assert content["teacher"]["tokenizer_not_by"] == ["XLMRobertaTokenizer", "SomeTokenizer"]
