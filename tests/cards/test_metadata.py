"""A card's YAML block is what the Hub takes: every number with its source, no null, no path, whatever the names are."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from example_card import COMMIT, HASH, RESULT
from example_card import FACTS as EXAMPLE
from huggingface_hub import ModelCard
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from hypothesis import given, settings
from hypothesis import strategies as st

from bistill_hub.cards import front_matter, metadata
from bistill_hub.cards.front_matter import FRONT_MATTER, write_yaml
from bistill_hub.cards.metadata import card_metadata, looks_local, public_text
from bistill_hub.cards.metadata_check import check_metadata
from bistill_hub.errors import InputError

SOURCE = replace(
    RESULT,
    language="en",
    role="source",
    dataset="Test.En.conll",
    dataset_config=None,
    split=None,
    revision=HASH,
    score=0.855,
    subset="100 of 1,283",
)
FACTS = replace(
    EXAMPLE,
    results=(replace(SOURCE, model="teacher", score=0.9), SOURCE, replace(RESULT, model="teacher", score=0.7), RESULT),
    vocabulary={"languages": {}},
)
EXPECTED = {
    "base_model": "google-bert/bert-base-multilingual-cased",
    "datasets": ["some/ner", "some/text"],
    "language": ["en", "sw"],
    "library_name": "transformers",
    "license": "apache-2.0",
    "pipeline_tag": "fill-mask",
    "tags": ["bistill", "bilingual", "distillation", "pair:en-sw"],
    "base_model_relation": "finetune",
    "model-index": [
        {
            "name": "bistill-en-sw",
            "results": [
                {
                    "task": {"type": "token-classification", "name": "ner"},
                    "dataset": {
                        "name": "Test.En.conll",
                        "type": "test-en-conll",
                        "revision": HASH,
                        "args": {"language": "en", "subset": "100 of 1,283"},
                    },
                    "metrics": [{"type": "f1", "value": 0.855}],
                },
                {
                    "task": {"type": "token-classification", "name": "ner"},
                    "dataset": {
                        "name": "some/ner",
                        "type": "some/ner",
                        "config": "swa",
                        "split": "test",
                        "revision": COMMIT,
                        "args": {"language": "sw"},
                    },
                    "metrics": [{"type": "f1", "value": 0.623}],
                },
            ],
        }
    ],
}


def card(mapping, body="\n# A pair\n"):
    return f"---\n{write_yaml(mapping)}\n---\n{body}"


def index_entry(result, facts=FACTS):
    (model,) = card_metadata(replace(facts, results=(result,)))["model-index"]
    (entry,) = model["results"]
    return entry


class TestWritten:
    def test_it_holds_every_score_of_the_student_with_its_test_set(self):
        written = card_metadata(FACTS)
        assert written == EXPECTED
        assert list(written) == list(EXPECTED)

    def test_the_hub_s_client_reads_the_same_scores_and_the_pair_s_name(self):
        data = ModelCard(card(card_metadata(FACTS))).data
        assert data.model_name == "bistill-en-sw"
        assert [(r.dataset_name, r.dataset_args, r.metric_value, r.verified) for r in data.eval_results] == [
            ("Test.En.conll", {"language": "en", "subset": "100 of 1,283"}, 0.855, None),
            ("some/ner", {"language": "sw"}, 0.623, None),
        ]

    def test_scores_on_test_sets_that_differ_in_their_arguments_alone_stay_apart(self):
        both = (RESULT, replace(RESULT, language="en", score=0.5))
        (model,) = card_metadata(replace(FACTS, results=both))["model-index"]
        assert [
            (entry["dataset"]["args"]["language"], [m["value"] for m in entry["metrics"]]) for entry in model["results"]
        ] == [("sw", [0.623]), ("en", [0.5])]

    def test_without_scores_there_is_no_model_index(self):
        for results in ((), FACTS.results[:1]):
            assert not {"model-index", "model_name", "eval_results"} & set(
                card_metadata(replace(FACTS, results=results))
            )

    @pytest.mark.parametrize(
        ("head", "task"),
        [
            ("token-classification", "token-classification"),
            ("sequence-classification", "text-classification"),
            ("question-answering", "question-answering"),
        ],
    )
    def test_heads_have_the_hub_s_names(self, head, task):
        facts = replace(FACTS, tasks={"ner": {"head": head}})
        assert index_entry(RESULT, facts)["task"]["type"] == task
        assert check_metadata(card(card_metadata(facts))) == []

    @pytest.mark.parametrize("tasks", [{}, {"ner": {}}, {"ner": {"head": "regression"}}])
    def test_a_score_of_a_task_that_the_hub_has_no_name_for_is_refused(self, tasks):
        with pytest.raises(InputError, match=r"bistill-en-sw: tasks\.ner\.head = "):
            card_metadata(replace(FACTS, tasks=tasks))

    @pytest.mark.parametrize(
        ("dataset", "name", "kind"),
        [
            ("/home/me/Data/Test.conll", "Test.conll", "test-conll"),
            ("~/kiswahili.conll", "kiswahili.conll", "kiswahili-conll"),
            ("C:\\Users\\me\\test set.tsv", "test set.tsv", "test-set-tsv"),
            ("file:///data/x.json", "x.json", "x-json"),
            ("../x.json", "x.json", "x-json"),
            ("..", "local file", "local-file"),
            ("/", "local file", "local-file"),
            ("данные", "данные", "local-file"),
            ("a/b/c", "a/b/c", "a-b-c"),
        ],
    )
    def test_a_local_test_set_is_named_without_its_folder(self, dataset, name, kind):
        found = index_entry(replace(SOURCE, dataset=dataset))["dataset"]
        assert (found["name"], found["type"]) == (name, kind)
        assert check_metadata(card(card_metadata(replace(FACTS, results=(replace(SOURCE, dataset=dataset),))))) == []

    def test_what_is_not_known_of_a_test_set_is_left_out(self):
        bare = replace(RESULT, dataset_config=None, split="", revision=None)
        assert index_entry(bare)["dataset"] == {"name": "some/ner", "type": "some/ner", "args": {"language": "sw"}}
        hidden = replace(RESULT, dataset_config="/home/me/c", split="../test", revision="~/r", subset="C:\\s")
        assert index_entry(hidden)["dataset"] == index_entry(bare)["dataset"]
        assert index_entry(replace(hidden, commit="/home/me/d"))["dataset"] == index_entry(bare)["dataset"]

    def test_the_revision_is_the_commit_that_was_read(self):
        of_branch = replace(RESULT, revision="refs/convert/parquet")
        assert index_entry(of_branch)["dataset"]["revision"] == "refs/convert/parquet"
        assert index_entry(replace(of_branch, commit=COMMIT)) == index_entry(RESULT)

    def test_scores_on_made_up_data_say_so(self):
        assert index_entry(replace(RESULT, synthetic=True))["dataset"]["args"] == {"language": "sw", "synthetic": True}

    @pytest.mark.parametrize("teacher", [None, "/home/me/teacher", "../teacher", "a/b/c", "C:\\teacher", "a--b/c"])
    def test_a_teacher_without_a_hub_id_is_no_base_model(self, teacher):
        assert not {"base_model", "base_model_relation"} & set(card_metadata(replace(FACTS, teacher=teacher)))

    def test_tags_with_subtags_stand_where_the_hub_reads_them(self):
        chinese = card_metadata(replace(FACTS, target=("zh-Hant", "Chinese")))
        assert (chinese["language"], chinese["language_bcp47"]) == (["en", "zh"], ["en", "zh-Hant"])
        portuguese = card_metadata(replace(FACTS, source=("pt-BR", ""), target=("pt-PT", "")))
        assert (portuguese["language"], portuguese["language_bcp47"]) == (["pt"], ["pt-BR", "pt-PT"])
        assert check_metadata(card(chinese)) == check_metadata(card(portuguese)) == []

    def test_a_licence_that_the_hub_does_not_know_has_name_and_link(self):
        facts = replace(FACTS, license="other")
        assert [p.field for p in check_metadata(card(card_metadata(facts)))] == ["license_name", "license_link"]
        written = card_metadata(facts, license_name="house", license_link="LICENSE")
        assert check_metadata(card(written)) == []
        assert (written["license_name"], written["license_link"]) == ("house", "LICENSE")

    def test_nothing_is_null_verified_or_about_emissions(self):
        bare = replace(FACTS, teacher=None, datasets=("/home/me",), tasks={}, results=(), taught=False)
        for facts in (FACTS, bare):
            text = write_yaml(card_metadata(facts))
            assert not any(word in text for word in ("null", "~", "verified", "co2", "home"))
        assert card_metadata(bare)["tags"][2] == "vocabulary-trimming"


HOSTILE = [
    "a: b\n---\nlicense: mit\n---\n# heading",
    "...\n--- !!python/object:os.system\n",
    "no",
    "1e5",
    "0o14",
    "12:30:45",
    "2026-01-31",
    "NULL",
    "a\x85b\u2028c\u2029d",
    "\x00\x07\x1b[31m\x7f\ufeff\ufffe\u202etxt",
    "'\"\\ # & * ! | > % @ ` {} []",
    " lead and trail ",
    "\r\n",
    "\U0001f600",
    "- a",
    "? a",
    "<<",
    "x" * 500 + " y" * 200,
]
text = st.one_of(st.text(), st.sampled_from(HOSTILE))
hub_name = st.from_regex(r"[A-Za-z0-9]{1,8}/[A-Za-z0-9]{1,8}", fullmatch=True)


@st.composite
def results(draw):
    return replace(
        RESULT,
        task=draw(st.sampled_from(["ner", "pos"])),
        model=draw(st.sampled_from(["student", "teacher"])),
        language=draw(text),
        dataset=draw(st.one_of(text, hub_name)),
        dataset_config=draw(st.none() | text),
        split=draw(st.none() | text),
        revision=draw(st.none() | text),
        metric=draw(text),
        score=draw(st.floats(allow_nan=False)),
        subset=draw(st.none() | text),
        synthetic=draw(st.booleans()),
    )


facts_of_any_text = st.builds(
    replace,
    st.just(FACTS),
    name=text,
    source=st.tuples(text, text),
    target=st.tuples(text, text),
    license=text,
    teacher=st.none() | text | hub_name,
    tasks=st.just({"ner": {"head": "token-classification"}, "pos": {"head": "question-answering"}}),
    results=st.lists(results(), max_size=3).map(tuple),
    datasets=st.lists(text | hub_name).map(tuple),
    taught=st.booleans(),
    language_modelling_head=st.booleans(),
)

values = st.recursive(
    text | st.integers() | st.booleans() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
)


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


class TestAnyText:
    @settings(deadline=None)
    @given(facts_of_any_text)
    def test_what_is_read_is_what_was_meant_and_nothing_follows(self, facts):
        meant = card_metadata(facts)
        body = "\n# A pair\n\n---\n\nText.\n"
        found = FRONT_MATTER.match(card(meant, body))
        assert card(meant, body)[found.end() :] == body
        (only,) = yaml.safe_load_all(found[2])
        assert only == meant
        assert None not in list(leaves(meant))
        own = [facts.source[0], facts.target[0]]
        assert meant["license"] == facts.license
        assert meant.get("language_bcp47", meant["language"]) == own
        assert meant["tags"][-1] == f"pair:{own[0]}-{own[1]}"
        students = [result for result in facts.results if result.model == "student"]
        entries = meant["model-index"][0]["results"] if students else []
        assert [entry["metrics"] for entry in entries] == [[{"type": r.metric, "value": r.score}] for r in students]
        for entry in entries:
            assert not any(looks_local(value) for name, value in entry["dataset"].items() if name != "args")

    @settings(deadline=None)
    @given(text)
    def test_a_text_that_is_no_path_is_not_changed(self, value):
        assert looks_local(value) or public_text(value) == value
        assert not looks_local(public_text(value))

    @settings(deadline=None)
    @given(values)
    def test_any_values_are_read_back(self, value):
        assert yaml.safe_load(write_yaml({"key": value})) == {"key": value}
        assert front_matter.parse_yaml(write_yaml({"key": value})) == {"key": value}

    @pytest.mark.parametrize("value", HOSTILE)
    def test_readers_of_yaml_1_2_get_text_too(self, value):
        written = write_yaml([value]).removeprefix("- ")
        if written[0] in "'\"":
            assert written[-1] == written[0]
        else:  # it begins with a letter, so it is no number or time of YAML 1.2, whose words YAML 1.1 knows all
            assert re.fullmatch(r"[A-Za-z][\w -]*", written, re.ASCII)
            assert written.lower() not in ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
        assert len(written.splitlines()) == 1

    def test_equal_lists_are_written_twice_and_not_by_an_anchor(self):
        shared = ["a"]
        assert write_yaml({"x": shared, "y": shared}) == "x:\n- a\ny:\n- a"


def broken(path, value):
    """`EXPECTED` with one value changed, or removed if it is `...`; a path is keys and positions."""
    copy = json.loads(json.dumps(EXPECTED))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


RESULT_0 = ("model-index", 0, "results", 0)
IN_0 = "model-index[0].results[0]"


class TestChecked:
    def test_the_package_s_own_metadata_are_right(self):
        assert check_metadata(card(card_metadata(FACTS))) == []

    def test_the_block_is_cut_where_the_client_cuts_it(self):
        assert FRONT_MATTER.pattern == REGEX_YAML_BLOCK.pattern
        windows = card(EXPECTED).replace("\n", "\r\n")
        assert check_metadata(windows) == []

    @pytest.mark.parametrize(
        ("path", "value", "field"),
        [
            (("language",), ..., "language"),
            (("language",), "en", "language"),
            (("language",), ["en"], "language"),
            (("language",), ["en", "en"], "language"),
            (("language",), ["en", "sw", "fr"], "language"),
            (("language", 1), "java", "language[1]"),
            (("language", 1), "xx", "language[1]"),
            (("language", 1), "Swahili", "language[1]"),
            (("language", 1), "pt-BR", "language[1]"),
            (("language", 1), "multilingual", "language[1]"),
            (("language", 1), False, "language[1]"),
            (("language_bcp47",), ["en", "fr-CA"], "language"),
            (("language_bcp47",), ["sw-KE"], "language_bcp47"),
            (("language_bcp47",), ["en", "sw_KE"], "language_bcp47"),
            (("license",), ..., "license"),
            (("license",), "Apache 2.0", "license"),
            (("license",), ["mit"], "license"),
            (("library_name",), "keras", "library_name"),
            (("pipeline_tag",), "image-classification", "pipeline_tag"),
            (("pipeline_tag",), ..., "pipeline_tag"),
            (("base_model",), "a/b/c", "base_model"),
            (("base_model",), ["fine/one", "two words"], "base_model[1]"),
            (("base_model_relation",), "distilled", "base_model_relation"),
            (("datasets",), [], "datasets"),
            (("datasets", 1), 5, "datasets[1]"),
            (("datasets", 1), "some text", "datasets[1]"),
            (("tags",), ..., "tags"),
            (("tags", 0), 1.5, "tags[0]"),
            (("tags", 0), " ", "tags[0]"),
            (("model-index",), {}, "model-index"),
            (("model-index", 0), "name", "model-index[0]"),
            (("model-index", 0, "name"), ..., "model-index[0].name"),
            (("model-index", 0, "results"), [], "model-index[0].results"),
            (RESULT_0, "f1", IN_0),
            ((*RESULT_0, "task"), ..., f"{IN_0}.task"),
            ((*RESULT_0, "task", "type"), ..., f"{IN_0}.task.type"),
            ((*RESULT_0, "task", "type"), "ner", f"{IN_0}.task.type"),
            ((*RESULT_0, "dataset", "name"), ..., f"{IN_0}.dataset.name"),
            ((*RESULT_0, "dataset", "type"), "a/b/c", f"{IN_0}.dataset.type"),
            ((*RESULT_0, "dataset", "revision"), 5, f"{IN_0}.dataset.revision"),
            ((*RESULT_0, "metrics"), {}, f"{IN_0}.metrics"),
            ((*RESULT_0, "metrics", 0, "type"), ..., f"{IN_0}.metrics[0].type"),
            ((*RESULT_0, "metrics", 0, "value"), ..., f"{IN_0}.metrics[0].value"),
            ((*RESULT_0, "metrics", 0, "value"), "high", f"{IN_0}.metrics[0].value"),
            ((*RESULT_0, "metrics", 0, "value"), float("inf"), f"{IN_0}.metrics[0].value"),
            ((*RESULT_0, "metrics", 0, "verified"), True, f"{IN_0}.metrics[0].verified"),
            (("extra",), None, "extra"),
            (("extra",), {"a": [1, None]}, "extra.a[1]"),
            (("extra",), {5: "a"}, "extra.5"),
            (("extra",), "/etc/passwd", "extra"),
            (("extra",), "~/x", "extra"),
            (("extra",), "see file:///x", "extra"),
            (("extra",), "D:\\data", "extra"),
            (("extra",), "a/../../b", "extra"),
            (("extra",), "trained in /home/me/run", "extra"),
            ((*RESULT_0, "dataset", "args", "language"), "./x", f"{IN_0}.dataset.args.language"),
        ],
    )  # fmt: skip
    def test_one_wrong_value_is_one_problem_at_its_place(self, path, value, field):
        (problem,) = check_metadata(card(broken(path, value)), file="README.md")
        assert (problem.file, problem.field) == ("README.md", field)
        assert str(problem).startswith(f"README.md: {field}")
        assert str(problem).endswith(f"{problem.remedy[1:]}.")

    @pytest.mark.parametrize(
        "value", ["https://huggingface.co/home/x", "and/or", "a..b", "1/2", "C: drive", "etc.", "file: x", "a ~ b"]
    )
    def test_text_that_is_no_path_is_left_alone(self, value):
        assert check_metadata(card(broken(("extra",), value))) == []

    @pytest.mark.parametrize(
        ("block", "message"),
        [
            ("license: mit\nlicense: mit", "the key 'license' stands twice (line 2)"),
            ("a: {b: 1, b: 2}", "the key 'b' stands twice (line 1)"),
            ("a: &x [1]\nb: *x", "an alias repeats another value"),
            ("a: !!python/name:os.system x", "no YAML: could not determine a constructor"),
            ("a: [", "no YAML: "),
            ("a: 2026-02-31", "no YAML: day is out of range"),
            ("a: \x07", "no YAML: "),
            ("a: 1\n--- \nb: 1\n---\n", "language: not a list"),
            ("[" * 200, "no YAML: "),
            ("[" * 800 + "]" * 800, "no YAML: maximum recursion depth exceeded"),
            ("? [a]\n: b", "no YAML: found unhashable key"),
            ("- a", "metadata = ['a']: not a mapping"),
            ("text", "metadata = 'text': not a mapping"),
            ("a: 1\n...\n", "language: not a list"),
            ("...\n--- a", "no YAML: "),
        ],
    )
    def test_what_loaders_read_differently_is_no_metadata(self, block, message):
        first, *_ = check_metadata(f"---\n{block}\n---\n# A pair\n", file="README.md")
        assert message in str(first)

    @pytest.mark.parametrize("text", ["", "# A pair\n", "---\nlicense: mit\n", "text\n---\na: b\n---\n"])
    def test_a_card_without_metadata_says_so(self, text):
        (problem,) = check_metadata(text)
        assert str(problem).startswith("metadata: the card has no YAML block. Begin the card with")

    @settings(deadline=None)
    @given(st.text() | st.text().map(lambda text: f"---\n{text}\n---\n") | st.sampled_from(HOSTILE).map(
        lambda text: f"---\n{text}\n---\n"))  # fmt: skip
    def test_no_text_makes_it_stumble(self, text):
        assert all(str(problem) for problem in check_metadata(text))

    def test_the_identifiers_are_unique_and_say_where_they_are_from(self):
        listed = json.loads((Path(metadata.__file__).parent / "hub_identifiers.json").read_text(encoding="utf-8"))
        for kind, known in (("licenses", {"apache-2.0", "mit", "other"}), ("languages", {"en", "sw", "no", "nb"})):
            found = listed[kind]
            assert known < set(found["identifiers"])
            assert len(set(found["identifiers"])) == len(found["identifiers"])
            assert found["source"]
            assert found["as_of"]
