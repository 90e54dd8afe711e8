"""A recipe is complete, immutable and free of side effects, and what is wrong with one is said with its remedy."""

import hashlib
import json
import pickle
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from bistill_hub import recipe as module
from bistill_hub import sources as sources_module
from bistill_hub.errors import InputError
from bistill_hub.pipeline.rebuild import read_published
from bistill_hub.recipe import BilingualSettings, Language, Recipe, Teacher, load_recipe
from bistill_hub.recipe_changes import parse_changes
from bistill_hub.resources import resource_dir
from bistill_hub.sources import LabelledSource, TextSource

ROOT = Path(module.__file__).parents[1]
SHIPPED = sorted(resource_dir("recipes").glob("[!_]*.py"))
PUBLISHED = sorted((ROOT / "docs" / "studies").glob("*/recipe.json"))
every_shipped = pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)

# Run by an interpreter of its own with a recipe as JSON and the files of recipes: prints what each step opens.
WATCHED = """
import json, sys
import langcodes  # Python may write its bytecode here, once
import bistill_hub.families, bistill_hub.recipe as module
seen = []
def watch(event, args):
    if event.split(".")[0] in ("open", "os", "shutil", "socket", "subprocess", "tempfile", "urllib"):
        seen.append([event, [str(arg) for arg in args]])
sys.addaudithook(watch)
recipe = module.Recipe.make(json.loads(sys.argv[1]))
recipe.replace({"tasks.ner.train": "absent.conll", "teacher.model": "absent"}).sha256
steps = {"": list(seen)}
for file in sys.argv[2:]:
    seen.clear()
    module.load_recipe(file)
    steps[file.rpartition("/")[2]] = list(seen)
sys.stdout.write(json.dumps(steps))
"""


def fields(**changes):
    """A complete recipe as plain values, of files that do not exist."""
    sources = ("train", "validation", "test_source", "test_target")
    return {
        "name": "pair-en-sw",
        "source": {"code": "en", "name": "English", "text": {"path": "no/en.txt"}},
        "target": {"code": "sw", "name": "Swahili", "text": {"dataset": "some/text", "config": "sw", "split": "train"}},
        "teacher": {"model": "some/teacher", "language_deltas": {"en": "no/delta"}},
        "license": "apache-2.0",
        "limits": "None known.",
        "tasks": [
            {
                "name": "ner",
                **{
                    name: {"dataset": "some/ner", "config": "a", "split": name, "revision": "r", "data_dir": "d"}
                    for name in sources
                },
            }
        ],
        **changes,
    }


def changed(place, value, values=None):
    """`fields()`, or other values, with the one at a dotted place set, or taken out where it is `...`."""
    values = json.loads(json.dumps(values or fields()))
    *parents, last = place.split(".")
    there = values
    for name in parents:
        there = there[int(name) if isinstance(there, list) else name]
    if value is ...:
        del there[last]
    else:
        there[last] = value
    return values


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """What is opened by making a recipe (""), and by loading each shipped one from a folder of its own."""
    folder = tmp_path_factory.mktemp("recipes")
    copies = [shutil.copy(file, folder) for file in SHIPPED]
    before = sorted(folder.rglob("*"))
    finished = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(fields()), *map(str, copies)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    assert sorted(folder.rglob("*")) == before, "nothing is written, bytecode included"
    return json.loads(finished.stdout)


@pytest.fixture
def recipe():
    return Recipe.make(fields())


class TestRecord:
    def test_nothing_in_it_can_be_changed(self, recipe):
        with pytest.raises(ValidationError, match="frozen"):
            recipe.name = "other"
        with pytest.raises(ValidationError, match="frozen"):
            recipe.tasks[0].train.path = "other"
        with pytest.raises(TypeError):
            recipe.tasks[0] = None
        with pytest.raises(TypeError):
            recipe.teacher.language_deltas["sw"] = "other"

    def test_what_it_was_made_from_may_change_afterwards(self):
        deltas = {"en": "no/delta"}
        made = Recipe.make(fields(teacher={"model": "some/teacher", "language_deltas": deltas}))
        before = made.sha256
        deltas["sw"] = "other"
        assert made.sha256 == before

    def test_a_change_makes_another_and_leaves_the_first(self, recipe):
        other = recipe.replace({"tasks.ner.train.label_map.DATE": "O", "teacher.language_deltas.sw": "x", "seed": 3})
        assert recipe == Recipe.make(fields())
        assert (other.seed, dict(other.tasks[0].train.label_map)) == (3, {"DATE": "O"})

    def test_making_and_changing_one_opens_no_file_and_no_connection(self, opened):
        assert opened[""] == []

    def test_it_survives_json_and_pickling(self, recipe):
        for copy in (
            Recipe.make(json.loads(recipe.model_dump_json())),
            Recipe.make(recipe.model_dump()),
            pickle.loads(pickle.dumps(recipe)),
        ):
            assert copy == recipe
            assert (copy.sha256, hash(copy)) == (recipe.sha256, hash(recipe))

    def test_languages_and_sources_are_named_in_their_order(self, recipe):
        assert [language.code for language in recipe.languages] == ["en", "sw"]
        assert list(recipe.tasks[0].sources) == ["train", "validation", "test_source", "test_target"]


def leaves(values, place=""):
    """Dotted place and value of everything that is no container, and of empty containers."""
    if isinstance(values, (dict, list)) and values:
        items = values.items() if isinstance(values, dict) else enumerate(values)
        for name, value in items:
            yield from leaves(value, f"{place}{name}.")
    else:
        yield place[:-1], values


class TestHash:
    def test_equal_recipes_have_the_same(self, recipe):
        deltas = {"sw": "b", "en": "a"}
        one = Recipe.make(fields(teacher={"model": "t", "language_deltas": deltas}))
        other = Recipe.make(fields(teacher={"model": "t", "language_deltas": dict(sorted(deltas.items()))}))
        assert one.sha256 == other.sha256
        assert re.fullmatch("[0-9a-f]{64}", recipe.sha256)
        assert Recipe.make(dict(reversed(fields().items()))).sha256 == recipe.sha256
        assert recipe.replace({"seed": 0}).sha256 == recipe.sha256, "a default that is written out"

    def test_settings_of_phase_1_that_were_added_count_where_they_are_set(self):
        found = BilingualSettings().determining
        assert {*BilingualSettings().model_dump()} - {*found} == {"temperature", "relation_heads"}
        for name, value in (("temperature", 3.0), ("relation_heads", 12)):
            assert BilingualSettings(**{name: value}).determining == {**found, name: value}

    @pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.parent.name)
    def test_a_recipe_that_was_published_without_them_loads_with_their_defaults(self, file):
        recipe = Recipe.make(read_published(file).fields)
        assert (recipe.bilingual.temperature, recipe.bilingual.relation_heads) == (2.0, None)

    def test_it_is_what_it_was_before_tokenizer_classes_could_be_named(self, recipe):
        before = recipe.model_dump(mode="json", exclude={"teacher": {"tokenizer_not_by"}})
        assert recipe.sha256 == hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
        named = recipe.replace({"teacher.tokenizer_not_by": ["XLMRobertaTokenizer"]})
        assert named.sha256 != recipe.sha256

    def test_any_field_changes_it(self):
        hiding = {"masked_share": 0.2}  # without it some fields may not be set
        full = Recipe.make(fields(teacher={"model": "some/teacher"}, bilingual=hiding)).model_dump(mode="json")
        lists = {"baselines": ["no_phase_1"], "student.layer_map": [1, 3], "unverified": ["x"], "contributors": ["x"]}
        lists["student.must_keep"] = lists["teacher.tokenizer_not_by"] = ["x"]
        lists["student.vocabulary"], lists["student.initialisation"] = "whole", "random"
        lists["further_languages"] = [{"code": "fr", "name": "French", "text": {"path": "fr.txt"}}]
        words = {"fp32": "fp16", "en": "fr", "sw": "tr", "spread": "top", "teacher": "labels"}
        by_type = {
            bool: lambda value: not value,
            int: lambda value: value + 1,
            float: lambda value: value / 2 or 0.5,
            str: lambda value: words.get(value, f"{value}x"),
            dict: lambda value: {"en": "x"},
        }
        hashes = [Recipe.make(full).sha256]
        for place, value in leaves(full):
            last = place.rpartition(".")[2]
            if value is None and last in ("path", "dataset"):
                continue  # would name a second place, which is refused
            if last == "delta_labels":  # they need a delta
                place, new = place.removesuffix(".delta_labels"), {"delta": "x", "delta_labels": ["O"]}
            elif place in lists:
                new = lists[place]
            elif value is None:
                new = 5 if last in ("limit", "layers", "vocabulary_size", "relation_heads") else "x"
            else:
                new = by_type[type(value)](value)
            hashes.append(Recipe.make(changed(place, new, full)).sha256)
        assert len(set(hashes)) == len(hashes) > 80


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("place", "value", "shown", "problem"),
        [
            ("license", ..., "license", "field required. Give it a value"),
            ("license", " ", "license = ' '", "should match pattern"),
            ("limits", "", "limits = ''", "should match pattern"),
            ("tasks.0.train", ..., "tasks.ner.train", "field required"),
            ("teachers", "x", "teachers = 'x'", "not permitted. Remove it, or correct its name"),
            ("tasks.0.train.pth", "x", "tasks.ner.train.pth = 'x'", "Remove it, or correct its name"),
            ("bilingual", {"batch_size": 0}, "bilingual.batch_size = 0", "greater than 0"),
            ("bilingual", {"learning_rate": "1e-4x"}, "bilingual.learning_rate = '1e-4x'", "valid number"),
            ("bilingual", {"hidden_weight": float("inf")}, "bilingual.hidden_weight = inf", "finite"),
            ("bilingual", {"evaluation_share": 1}, "bilingual.evaluation_share = 1", "less than 1"),
            ("bilingual", {"temperature": 0}, "bilingual.temperature = 0", "greater than 0"),
            ("bilingual", {"relation_heads": 0}, "bilingual.relation_heads = 0", "greater than 0"),
            ("bilingual", {"precision": "int8"}, "bilingual.precision = 'int8'", "'fp32', 'bf16' or 'fp16'"),
            ("tasks.0.max_length", 4, "tasks.ner.max_length = 4", "greater than 4"),
            ("tasks.0.distillation", {"density": 1.1}, "tasks.ner.distillation.density = 1.1", "less than or equal"),
            ("baselines", ["best"], "baselines.0 = 'best'", "'trimmed_teacher'"),
            ("source.code", "English", "source.code = 'English'", "should match pattern"),
            ("name", "../x", "name = '../x'", "should match pattern"),
            (
                "teacher",
                {"model": "some/teacher", "tokenizer_not_by": ["a class"]},
                "teacher.tokenizer_not_by.0 = 'a class'",
                "should match pattern",
            ),
            ("seed", 2**32, "seed = 4294967296", "less than 4294967296"),
            (
                "source.text",
                "caf\udce9.txt",
                "source.text.path = b'caf\\xe9.txt'",
                "the file's name is not UTF-8, and could be written into no record. Rename the file",
            ),
            ("target.code", "en", "target.code = 'en'", "a pair is of two. Choose another source or target"),
            ("teacher.language_deltas", {"fr": "x"}, "teacher.language_deltas = ['fr']", "Name deltas of en and sw"),
            ("teacher", "some/teacher", "teacher = 'some/teacher'", "valid dictionary or instance of Teacher"),
            (
                "tasks.0.teacher",
                {"model": "a", "delta": "b"},
                "tasks.ner.teacher = {'model': 'a', 'delta': 'b'}",
                "not both. Leave one of them out",
            ),
            (
                "source.text",
                {"path": "a", "dataset": "b"},
                "source.text = {'path': 'a', 'dataset': 'b'}",
                "exactly one of `path` (a local file) and `dataset` (a Hub id). Give one of them",
            ),
            ("source.text", {}, "source.text = {'path': None, 'dataset': None}", "Give one of them"),
            ("tasks.0.train", {"dataset": "b"}, "tasks.ner.train.split = None", "Name the split to read"),
        ],
    )
    def test_the_error_names_field_value_and_remedy(self, place, value, shown, problem):
        with pytest.raises(InputError) as refused:
            Recipe.make(changed(place, value), file="my.json")
        message = str(refused.value)
        assert message.startswith(f"my.json: {shown}: ")
        assert problem in message
        assert refused.value.remedy.rstrip(".") in message or refused.value.remedy[1:] in message
        assert "\n" not in message

    def test_a_task_named_twice(self):
        (task,) = fields()["tasks"]
        with pytest.raises(InputError, match=r"tasks = \['ner', 'ner'\]: each task may be named once\. Remove one"):
            Recipe.make(fields(tasks=[task, task]))

    def test_the_class_itself_says_the_same_in_its_own_error(self):
        with pytest.raises(ValidationError, match="name exactly one of `path`"):
            TextSource()
        with pytest.raises(ValidationError, match="a pair is of two"):
            Recipe(**changed("target.code", "en"))


class TestReplace:
    def test_a_task_is_addressed_by_its_name(self, recipe):
        assert recipe.replace({"tasks.ner.distillation.density": 0.5}).tasks[0].distillation.density == 0.5

    def test_a_file_name_replaces_a_whole_source(self, recipe):
        other = recipe.replace({"tasks.ner.train": "train.conll", "target.text": "sw.txt"})
        assert other.tasks[0].train == LabelledSource(path="train.conll")
        assert other.target.text == TextSource(path="sw.txt")
        assert other.tasks[0].validation == recipe.tasks[0].validation

    def test_a_path_removes_the_hub_id_and_what_belongs_to_it(self, recipe):
        source = recipe.replace({"tasks.ner.train.path": "t.conll", "tasks.ner.train.limit": 5}).tasks[0].train
        assert source == LabelledSource(path="t.conll", limit=5)

    def test_a_hub_id_removes_the_path(self, recipe):
        other = recipe.replace({"source.text.dataset": "some/text", "source.text.split": "train"})
        assert other.source.text == TextSource(dataset="some/text", split="train")

    @pytest.mark.parametrize("place", ["teacher", "tasks.ner.teacher"])
    def test_another_model_does_not_keep_the_revision_of_the_one_before_it(self, recipe, place):
        def of(made):
            model = made.teacher if place == "teacher" else made.tasks[0].teacher
            return model.model, model.revision

        pinned = recipe.replace({f"{place}.model": "some/model", f"{place}.revision": "v1"})
        assert of(pinned) == ("some/model", "v1")
        assert of(pinned.replace({f"{place}.model": "some/model", "seed": 3})) == ("some/model", "v1")
        assert of(pinned.replace({f"{place}.model": "other/model"})) == ("other/model", None)
        both = {f"{place}.model": "other/model", f"{place}.revision": "v1"}
        assert of(pinned.replace(both)) == ("other/model", "v1")
        assert of(pinned.replace(dict(reversed(both.items())))) == ("other/model", "v1")

    def test_what_does_not_belong_to_the_place_stays(self, recipe):
        renamed = recipe.replace({"tasks.ner.train.label_map": {"DATE": "O"}})
        assert dict(renamed.replace({"tasks.ner.train.path": "t.conll"}).tasks[0].train.label_map) == {"DATE": "O"}

    def test_entries_of_open_maps_are_added_one_by_one(self, recipe):
        other = recipe.replace(
            {
                "tasks.ner.train.label_map.B-DATE": "O",
                "tasks.ner.train.label_map.I-DATE": "O",
                "tasks.ner.train.columns.tags": "labels",
                "teacher.language_deltas.sw": "no/sw",
            }
        )
        assert dict(other.tasks[0].train.label_map) == {"B-DATE": "O", "I-DATE": "O"}
        assert dict(other.tasks[0].train.columns) == {"tags": "labels"}
        assert dict(other.teacher.language_deltas) == {"en": "no/delta", "sw": "no/sw"}

    @pytest.mark.parametrize(
        ("place", "remedy"),
        [
            ("teachers.model", "choose one of baselines, bilingual, "),
            ("teacher.modell", "choose one of language_deltas, model, revision, tokenizer_not_by"),
            ("tasks.pos.train", "choose one of ner"),
            ("tasks.0.train", "choose one of ner"),
            ("tasks.ner.train.pth", "choose one of answer_language, columns, config, data_dir, dataset, "),
            ("name.first", "shorten the path"),
            ("unverified.0", "shorten the path"),
            ("student.layer_map.0", "shorten the path"),
            ("tasks.ner", r"write tasks\.ner\.FIELD, or give the whole list as tasks"),
            ("", "choose one of"),
        ],
    )
    def test_an_unknown_place_is_refused_with_the_places_there_are(self, recipe, place, remedy):
        recipe = recipe.replace({"unverified": ["a fact"], "student.layer_map": [1, 3]})
        with pytest.raises(InputError, match=rf"(?i)--set = '{re.escape(place)}': .*\. {remedy}"):
            recipe.replace({place: "x"})

    def test_facts_about_what_it_no_longer_has_are_no_longer_unverified(self, recipe):
        of_both, of_task, own = "source.text, teacher.model: not looked at", "tasks.ner: its labels", "the words: mine"
        recipe = recipe.replace({"unverified": [of_both, of_task, "license: not examined", own]})
        assert recipe.replace({"license": recipe.license}).unverified == recipe.unverified, "it has what it had"
        without_license = (of_both, of_task, own)
        assert recipe.replace({"license": "mit"}).unverified == without_license
        given = {"license": "mit", "source.text.path": "other.txt"}
        assert recipe.replace(given).unverified == without_license, "the teacher is still that"
        given |= {"teacher.model": "another/teacher", "tasks.ner.train": "other.conll"}
        assert recipe.replace(given).unverified == (of_task, own), "validation and test data are still those"
        given |= {f"tasks.ner.{name}": f"{name}.conll" for name in ("validation", "test_source", "test_target")}
        assert recipe.replace(given).unverified == (own,)
        assert recipe.replace({**given, "unverified": [of_both]}).unverified == (of_both,)

    def test_a_value_that_does_not_fit_is_refused(self, recipe):
        with pytest.raises(InputError, match=r"Recipe: tasks\.ner\.max_length = 'long': .*valid integer.*Correct the"):
            recipe.replace({"tasks.ner.max_length": "long"})
        with pytest.raises(InputError, match=r"tasks\.ner\.train\.split = None: .*after that"):
            recipe.replace({"tasks.ner.train.split": "x", "tasks.ner.train.dataset": "other/data"})


class TestAssignments:
    def test_json_is_read_as_such_and_anything_else_is_text(self):
        words = ["a=3", "b=1e-4", "c=true", "d=null", 'e={"X": "O"}', "f=[1, 3]", 'g="7"', "h=en.txt", "i=a=b", "j="]
        expected = [3, 1e-4, True, None, {"X": "O"}, [1, 3], "7", "en.txt", "a=b", ""]
        assert list(parse_changes(words).values()) == expected

    def test_the_last_of_two_counts(self):
        assert parse_changes(["seed=1", "seed=2"]) == {"seed": 2}

    @pytest.mark.parametrize("word", ["seed", "=3", ""])
    def test_a_word_that_is_no_assignment_is_refused(self, word):
        with pytest.raises(InputError, match=rf"--set = '{word}': not an assignment\. Write it as key=value"):
            parse_changes([word])

    def test_they_reach_the_recipe(self, recipe):
        words = ["bilingual.steps=5", 'tasks.ner.train={"path": "t.conll", "limit": 3}', "student.layer_map=[0, 2]"]
        other = recipe.replace(parse_changes(words))
        assert (other.bilingual.steps, other.student.layer_map) == (5, (0, 2))
        assert other.tasks[0].train == LabelledSource(path="t.conll", limit=3)


class TestLoading:
    def test_a_file_that_is_not_there_is_refused_as_one(self):
        with pytest.raises(InputError, match=r"RECIPE = 'absent\.py': there is no such file.*bistill recipes"):
            load_recipe("absent.py")

    @pytest.mark.parametrize("name", ["absent", "no/such/recipe"])
    def test_a_name_without_a_recipe_is_refused_with_those_there_are(self, name):
        with pytest.raises(InputError, match=rf"RECIPE = '{name}': there is no such recipe.*{SHIPPED[0].stem}"):
            load_recipe(name)

    def test_a_shipped_one_is_found_even_beside_a_folder_of_its_name(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / SHIPPED[0].stem).mkdir()
        assert isinstance(load_recipe(SHIPPED[0].stem), Recipe)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("X = 1", "RECIPE = None: the file defines no Recipe under this name. Define RECIPE = Recipe"),
            ("RECIPE = {}", "RECIPE = {}: the file defines no Recipe"),
            ("x = 1\nRECIPE = (", "line 2: running the recipe fails (SyntaxError: "),
            ("\nRECIPE = Recipe()", "line 2: running the recipe fails (NameError: name 'Recipe' is not defined)"),
            (
                "from bistill_hub.recipe import Recipe\nRECIPE = Recipe()",
                "name: field required. Give it a value",
            ),
            (
                "from bistill_hub.recipe import Language\nLanguage(code='X', name='x', text='x.txt')",
                "Language.code = 'X': string should match pattern",
            ),
        ],
    )
    def test_a_file_that_gives_no_recipe_is_named_with_what_is_wrong(self, tmp_path, content, expected):
        file = tmp_path / "mine.py"
        file.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=re.escape(f"{file}: {expected}")):
            load_recipe(file)

    def test_only_python_files_are_run(self, tmp_path):
        file = tmp_path / "mine.txt"
        file.write_text("RECIPE = 1 / 0", encoding="utf-8")
        with pytest.raises(InputError, match=r"not a Python file\. Name a \.py file"):
            load_recipe(file)

    def test_an_edited_file_is_read_anew(self, tmp_path):
        file = tmp_path / "mine.py"
        for seed in (1, 2):  # of one size, within one tick of the file system's clock
            script = f"from bistill_hub.recipe import Recipe\nRECIPE = Recipe.make({fields(seed=seed)!r})\n"
            file.write_text(script, encoding="utf-8")
            assert load_recipe(file).seed == seed
        assert list(tmp_path.iterdir()) == [file]


class TestShipped:
    def test_there_are_some(self):
        assert SHIPPED

    @every_shipped
    def test_it_loads_and_goes_through_json(self, file):
        recipe = load_recipe(file)
        assert isinstance(recipe, Recipe)
        assert recipe == load_recipe(file.stem)
        assert Recipe.make(json.loads(recipe.model_dump_json())) == recipe

    @every_shipped
    def test_it_says_what_nobody_has_checked(self, file):
        recipe = load_recipe(file)
        assert recipe.unverified
        assert all(": " in fact and fact.strip() == fact for fact in recipe.unverified)

    @every_shipped
    def test_loading_it_prints_writes_and_fetches_nothing(self, file, opened):
        seen = opened[file.name]
        assert {event for event, _ in seen} <= {"open", "os.listdir"}
        for event, arguments in seen:
            if event == "open":
                assert "w" not in arguments[1], arguments
                assert Path(arguments[0]).suffix in (".py", ".pyc"), arguments

    @every_shipped
    def test_its_script_metadata_runs_the_checkout(self, file):
        # The reference regular expression of the specification of inline script metadata.
        pattern = r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"
        (block,) = re.finditer(pattern, file.read_text(encoding="utf-8"))
        content = "".join(line[2:] if line[1:2] == " " else line[1:] for line in block["content"].splitlines(True))
        metadata = tomllib.loads(content)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert block["type"] == "script"
        assert metadata["dependencies"] == [project["name"]]
        assert metadata["requires-python"] == project["requires-python"]
        source = metadata["tool"]["uv"]["sources"][project["name"]]
        assert (file.parent / source["path"]).resolve() == ROOT
        assert source["editable"] is True


@pytest.mark.parametrize(
    "model",
    [
        each
        for place in (module, sources_module)
        for each in vars(place).values()
        if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == place.__name__
    ],
    ids=lambda model: model.__name__,
)
def test_every_field_is_described(model):
    assert model.__doc__ or model.__name__.startswith("_")
    for name, field in model.model_fields.items():
        assert field.description, name


def test_what_recipes_are_written_with_takes_python_values():
    language = Language(code="sw", name="Swahili", text=Path("no/sw.txt"))
    assert language.text.path == "no/sw.txt"
    assert dict(Teacher(model="x").language_deltas) == {}


def test_a_published_recipe_that_nests_without_end_is_refused_in_one_sentence(tmp_path):
    file = tmp_path / "recipe.json"
    file.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"recipe\.json: this is no recipe of a pair"):
        read_published(file)
