"""Published pairs are found by their tags, and what they are is read from their own files, however broken those are."""

import json
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest
import yaml
from example_card import FACTS, RESULT
from hubserver.visitor import client, serving

from bistill_hub.cards.card import render_card
from bistill_hub.errors import BistillError, InputError
from bistill_hub.evaluation.size import Size
from bistill_hub.evaluation.speed import Hardware, ModelSpeed, Quartiles, SizeAndSpeed, Speed
from bistill_hub.hub.pairs import PublishedPair, TaskScore, list_pairs

STUDENT = Size(
    layers=6,
    vocabulary=29_876,
    parameters=66_000_000,
    embedding_parameters=22_944_768,
    bytes=264_000_000,
    on_disk=True,
    flops_per_token=8.5e7,
    flops_length=128,
)
TEACHER = replace(STUDENT, layers=12, vocabulary=119_547, parameters=177_853_440)


def speed(ratio, **conditions):
    quartiles = Quartiles(low=1.0, median=2.0, high=3.0)
    model = ModelSpeed(milliseconds=quartiles, tokens_per_second=quartiles, texts_per_second=quartiles)
    common = {
        "hardware": Hardware(cpu="Some CPU", logical_cores=8, gpu=None),
        "device": "cpu",
        "length": 128,
        "dtype": "float32",
        "torch": "2.13.0",
        "rounds": 20,
        "teacher": model,
        "student": model,
    }
    return Speed(**common, **conditions, ratio=Quartiles(low=ratio - 0.1, median=ratio, high=ratio + 0.1))


SPEED = SizeAndSpeed(
    teacher=TEACHER, student=STUDENT, speeds=(speed(1.9, batch=1, threads=1), speed(2.25, batch=32, threads=8))
)


def size_and_speed(found=SPEED, **fields):
    return json.dumps({"size_and_speed_version": 1, **asdict(found), **fields}).encode()


def entry(language, value, *, task="ner", metric="f1", **arguments):
    """A score as a card's metadata have it."""
    return {
        "task": {"type": "token-classification", "name": task},
        "dataset": {"type": "some/ner", "name": "some/ner", "args": {"language": language, **arguments}},
        "metrics": [{"type": metric, "value": value}],
    }


def card(source="en", target="sw", entries=(), **fields):
    metadata = {
        "language": [source, target],
        "license": "mit",
        "tags": ["bistill", "bilingual", f"pair:{source}-{target}"],
        **fields,
    }
    if entries:
        metadata["model-index"] = [{"name": "a pair", "results": list(entries)}]
    return f"---\n{yaml.safe_dump(metadata)}---\n# A pair\n".encode()


def files(*args, tasks=("ner",), **fields):
    """The small files of a repository."""
    return {
        "README.md": card(*args, **fields),
        "config.json": b'{"model_type": "bistill"}',
        "size_and_speed.json": size_and_speed(),
        **{f"tasks/{task}/delta.safetensors": b"a delta" for task in tasks},
    }


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits before it tries again
    with serving(monkeypatch, tmp_path / "home") as server:
        yield server


def names(**wanted):
    return [pair.repo_id for pair in list_pairs(**wanted)]


def test_a_pair_is_described_by_its_card_and_its_files(hub):
    hub.create("lab/pair", files("en", "sw", [entry("en", 0.9), entry("sw", 0.75)], base_model="some/teacher"))
    head = hub.commits("lab/pair")[0]
    assert list_pairs() == (
        PublishedPair(
            repo_id="lab/pair",
            commit=head.oid,
            updated=head.date,
            source="en",
            target="sw",
            scores=(TaskScore(task="ner", metric="f1", source=0.9, target=0.75),),
            teacher="some/teacher",
            license="mit",
            parameters=66_000_000,
            teacher_parameters=177_853_440,
            times_as_fast=2.25,
            measured_on="Some CPU, 8 threads, 32 x 128 tokens, float32",
        ),
    )
    assert isinstance(head.date, datetime)
    assert head.date.tzinfo is UTC


def test_what_the_cards_of_this_package_state_is_read_back(hub):
    results = [
        replace(RESULT, language=code, role=role, score=score, task=task, metric=metric, synthetic=task == "nli")
        for task, metric, scores in (("ner", "f1", (0.855, 0.623)), ("nli", "accuracy", (0.8, 0.7)))
        for code, role, score in zip(("en", "sw"), ("source", "target"), scores, strict=True)
    ]
    heads = {"ner": FACTS.tasks["ner"], "nli": {**FACTS.tasks["ner"], "head": "sequence-classification"}}
    facts = replace(FACTS, tasks=heads, results=(*results, replace(results[0], model="teacher", score=0.9)))
    hub.create("lab/pair", {**files(tasks=("ner", "nli", "pos")), "README.md": render_card(facts).encode()})
    (pair,) = list_pairs()
    assert pair.scores == (
        TaskScore(task="ner", metric="f1", source=0.855, target=0.623),
        TaskScore(task="nli", metric="accuracy", source=0.8, target=0.7, synthetic=True),
        TaskScore(task="pos"),
    )
    assert pair.tasks == ("ner", "nli", "pos")
    assert (pair.source, pair.target, pair.teacher) == ("en", "sw", FACTS.teacher)
    assert pair.notes == ()


def test_two_test_sets_in_one_language_are_two_records(hub):
    hub.create("lab/pair", files("en", "sw", [entry("sw", 0.5), entry("en", 0.9), entry("sw", 0.6)]))
    assert list_pairs()[0].scores == (
        TaskScore(task="ner", metric="f1", source=0.9, target=0.5),
        TaskScore(task="ner", metric="f1", target=0.6),
    )


def test_pairs_are_found_by_languages_task_and_number(hub):
    hub.create("lab/en-sw", files("en", "sw", tasks=("ner", "qa")))
    hub.create("lab/en-qu", files("en", "qu"))
    hub.create("lab/sw-en", files("sw", "en"))
    hub.create("lab/en-zh", files("en", "zh-Hant", language=["en", "zh"], language_bcp47=["en", "zh-Hant"]))
    hub.create("lab/other", {"README.md": b"---\nlanguage: sw\n---\n"})
    assert names() == ["lab/en-sw", "lab/en-qu", "lab/sw-en", "lab/en-zh"]
    assert names(source="en") == ["lab/en-sw", "lab/en-qu", "lab/en-zh"]
    assert names(target="sw") == ["lab/en-sw"]
    assert names(source="sw", target="en") == ["lab/sw-en"]
    assert names(target="zh-Hant") == names(source="en", target="zh-Hant") == ["lab/en-zh"]
    assert names(target="zh") == []
    assert names(task="qa") == ["lab/en-sw"]
    assert names(task="ner", source="en", limit=2) == ["lab/en-sw", "lab/en-qu"]
    assert names(source="fi") == []
    chinese = list_pairs(target="zh-Hant")[0]
    assert (chinese.source, chinese.target) == ("en", "zh-Hant")
    hub.create("lab/zh-en", files("zh-Hant", "en", language=["zh", "en"], language_bcp47=["zh-Hant", "en"]))
    assert names(source="zh-Hant") == names(source="zh-Hant", target="en") == ["lab/zh-en"]
    assert names(source="zh") == []


def test_every_page_of_the_listing_is_read(monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path / "home", page_size=2) as server:
        for number in range(5):
            server.create(f"lab/pair-{number}", files())
        assert names() == [f"lab/pair-{number}" for number in range(5)]
        assert len(server.journal.matching("GET", "^/api/models$")) == 3


def test_a_checkpoint_that_was_exported_from_a_pair_is_no_pair(hub):
    hub.create("lab/pair", files())
    hub.create("lab/pair-ner", {**files(), "config.json": b'{"model_type": "bert"}'})
    assert names() == ["lab/pair"]


def test_everything_is_read_at_the_commit_that_was_listed(hub):
    hub.create("lab/pair", files())
    head = hub.commits("lab/pair")[0].oid
    list_pairs()
    asked = [entry.path for entry in hub.journal.exchanges if "/resolve/" in entry.path]
    assert asked
    assert all(f"/resolve/{head}/" in path for path in asked)
    # What is in the cache is not fetched again.
    list_pairs()
    assert len([entry for entry in hub.journal.exchanges if "/resolve/" in entry.path]) == len(asked)


@pytest.mark.parametrize(
    ("broken", "note"),
    [
        ({"README.md": b"---\nlanguage: [en\n---\n"}, "README.md cannot be read (no YAML"),
        ({"README.md": b"\xff\xfe"}, "README.md cannot be read ("),
        ({"README.md": b"---\n- bistill\n---\n"}, "README.md has no metadata"),
        ({"README.md": b"no block"}, "README.md has no metadata"),
        ({"README.md": card(**{"model-index": [{"results": 3}]})}, "model-index is damaged"),
        ({"README.md": card(**{"model-index": "none"})}, "model-index is damaged"),
        ({"README.md": card(entries=[entry("fi", 0.5)])}, "names no task, language, metric or score of the pair"),
        ({"README.md": card(entries=[entry("en", "high")])}, "names no task, language, metric or score of the pair"),
        ({"README.md": card(entries=[entry("en", float("nan"))])}, "names no task, language, metric or score"),
        ({"README.md": card(entries=[entry("en", 0.5, task="\x1b[2J=1")])}, "names no task, language, metric or score"),
        ({"README.md": card(entries=[entry(["en"], 0.5)])}, "names no task, language, metric or score"),
        ({"size_and_speed.json": b"{"}, "size_and_speed.json cannot be read ("),
        ({"size_and_speed.json": b"[]"}, "size_and_speed.json cannot be read (this code reads version 1"),
        ({"size_and_speed.json": size_and_speed(student={"layers": 1})}, "size_and_speed.json cannot be read ("),
        (
            {"size_and_speed.json": size_and_speed(student={**asdict(STUDENT), "parameters": "many"})},
            "size_and_speed.json cannot be read (a value is no number",
        ),
        (
            {"size_and_speed.json": size_and_speed(teacher={**asdict(TEACHER), "parameters": 10**400})},
            "size_and_speed.json cannot be read (a value is no number",
        ),
        ({"size_and_speed.json": b"[" * 100_000}, "size_and_speed.json cannot be read ("),
        ({"README.md": card(source="en\x1b[2J")}, "neither its card nor its tags name its two languages"),
        ({"README.md": None}, "it has no README.md"),
        ({"size_and_speed.json": None}, "it has no size_and_speed.json"),
    ],
)
def test_what_is_broken_or_missing_is_left_out_with_a_note_and_hides_nothing_else(hub, broken, note):
    # The tags are those of the last card that the Hub understood; here they come from the configuration.
    whole = files("en", "sw", [entry("en", 0.9), entry("sw", 0.75)])
    held = {name: content for name, content in {**whole, **broken}.items() if content is not None}
    hub.create("lab/broken", {**held, "config.json": b'{"model_type": "bistill"}'})
    hub.create("lab/whole", whole)
    found, other = list_pairs()
    assert (found.repo_id, other.repo_id) == ("lab/broken", "lab/whole")
    assert any(note in text for text in found.notes), found.notes
    assert other.notes == ()
    assert found.tasks == ("ner",)
    if "README.md" in broken:
        assert found.scores == (TaskScore(task="ner"),)
        assert found.parameters == 66_000_000
    else:
        assert (found.parameters, found.times_as_fast, found.measured_on) == (None, None, None)
        assert found.scores == other.scores
    for text in found.notes:
        assert text.isprintable()


def test_a_gated_pair_is_listed_without_what_its_files_hold(hub):
    hub.create("lab/gated", files("en", "sw", [entry("en", 0.9)])).gated = "manual"
    (pair,) = list_pairs(source="en", task="ner")
    assert (pair.source, pair.target) == ("en", "sw")
    assert pair.scores == (TaskScore(task="ner"),)
    assert pair.notes == ("its files are gated, ask for access on its page",)


def test_a_private_pair_is_seen_by_its_owner_alone(hub, monkeypatch):
    hub.create("alice/pair", files("en", "sw", [entry("en", 0.9)]), private=True)
    assert list_pairs() == ()
    monkeypatch.setenv("HF_TOKEN", hub.user("alice").token)
    (pair,) = list_pairs()
    assert (pair.scores[0].source, pair.notes) == (0.9, ())


def test_a_pair_that_is_removed_while_it_is_read_gets_a_note(hub):
    hub.create("alice/pair", files())
    hub.faults.answer("HEAD", "/resolve/.*/size_and_speed", 404, message="gone")
    (pair,) = list_pairs()
    assert pair.license == "mit"
    assert pair.parameters is None
    assert any("size_and_speed.json cannot be fetched" in note for note in pair.notes)


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_a_hub_that_refuses_the_listing_is_one_sentence(hub, status):
    for nth in range(1, 7 if status in (429, 500) else 2):  # the client tries again five times
        hub.faults.answer("GET", "^/api/models$", status, message="because of the test", nth=nth)
    with pytest.raises(BistillError) as refused:
        list_pairs()
    assert hub.endpoint in str(refused.value)
    assert str(status) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_hub_that_is_not_there_is_one_sentence(hub):
    with pytest.raises(BistillError, match="the connection to the Hub broke"):
        list_pairs(endpoint="http://127.0.0.1:9")


def test_offline_mode_is_one_sentence(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"cannot be asked in offline mode\. Unset HF_HUB_OFFLINE"):
        list_pairs()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"source": "English"}, "source = 'English': not a language code. Give a code such as sw."),
        ({"target": "sw,en"}, "target = 'sw,en': not a language code"),
        ({"limit": 0}, "limit = 0: too small"),
        ({"endpoint": "hub.example.org"}, "endpoint = 'hub.example.org': not the address of a server"),
    ],
)
def test_bad_words_are_refused_before_the_hub_is_asked(hub, wanted, message):
    with pytest.raises(InputError) as refused:
        list_pairs(**wanted)
    assert message in str(refused.value)
    assert not hub.journal.exchanges


def test_the_hub_that_is_named_is_asked(hub, monkeypatch):
    hub.create("lab/pair", files())
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert names(endpoint=hub.endpoint) == ["lab/pair"]
    assert client(hub, None).model_info("lab/pair").sha == list_pairs(endpoint=hub.endpoint)[0].commit
