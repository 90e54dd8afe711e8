"""The Hub's own result files hold the student's scores on registered benchmarks, and nothing else."""

from dataclasses import replace

import pytest
import yaml
from example_card import COMMIT
from example_card import RESULT as EXAMPLE
from huggingface_hub import EvalResultEntry
from hypothesis import given, settings
from hypothesis import strategies as st

from bistill_hub.cards.eval_results import (
    BENCHMARKS,
    Benchmark,
    eval_results_file,
    eval_results_files,
    read_eval_results,
)
from bistill_hub.errors import InputError

RESULT = replace(EXAMPLE, scores={"f1": 0.623, "precision": 0.5})
NER = Benchmark(dataset="some/ner", task_id="swahili", config="swa", split="test", metric="f1", scale=100)
ENGLISH = replace(NER, task_id="english", config="eng", metric="precision", scale=1)
OTHER = replace(NER, dataset="Other/NLI", task_id="default", config=None)
REGISTERED = (NER, ENGLISH, OTHER)


def test_each_data_set_has_a_file_with_an_entry_a_task():
    files = eval_results_files(
        [
            replace(RESULT, model="teacher", score=0.9, scores={"f1": 0.9}),
            RESULT,
            replace(RESULT, dataset_config="eng", revision=None),
            replace(RESULT, dataset="Other/NLI", dataset_config=None, revision="main", scores={"f1": 0.25}),
            replace(RESULT, dataset="some/read", revision="refs/convert/parquet", commit="ab" * 20),
        ],
        benchmarks=(*REGISTERED, replace(NER, dataset="some/read")),
    )
    assert list(files) == [f".eval_results/{name}.yaml" for name in ("Other--NLI", "some--ner", "some--read")]
    (read,) = yaml.safe_load(files[".eval_results/some--read.yaml"])
    assert read["dataset"] == {"id": "some/read", "task_id": "swahili", "revision": "ab" * 20}
    assert yaml.safe_load(files[".eval_results/some--ner.yaml"]) == [
        {"dataset": {"id": "some/ner", "task_id": "english"}, "value": 0.5, "notes": "precision on 1283 examples"},
        {
            "dataset": {"id": "some/ner", "task_id": "swahili", "revision": COMMIT},
            "value": 62.3,
            "notes": "f1 on 1283 examples",
        },
    ]
    assert yaml.safe_load(files[".eval_results/Other--NLI.yaml"]) == [
        {"dataset": {"id": "Other/NLI", "task_id": "default"}, "value": 25.0, "notes": "f1 on 1283 examples"}
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "teacher"},
        {"model": "no_phase_1"},
        {"subset": "1,000 examples of 1,283 drawn with seed 0"},
        {"synthetic": True},
        {"dataset": "some/other"},
        {"dataset_config": "eng2"},
        {"dataset_config": None},
        {"split": "validation"},
        {"scores": {"accuracy": 0.9}},
    ],
)
def test_what_is_not_the_student_s_score_on_the_whole_benchmark_is_left_out(other):
    assert eval_results_files([replace(RESULT, **other)], benchmarks=REGISTERED) == {}


def test_a_benchmark_takes_one_score():
    with pytest.raises(InputError, match=r"results of ner = 0\.623: some/ner has a score for swahili already"):
        eval_results_files([RESULT, RESULT], benchmarks=REGISTERED)


def test_every_benchmark_of_the_package_could_be_on_the_hub():
    assert len({(b.dataset, b.task_id) for b in BENCHMARKS}) == len(BENCHMARKS)
    for benchmark in BENCHMARKS:
        text = f"- dataset:\n    id: {benchmark.dataset}\n    task_id: {benchmark.task_id}\n  value: 1\n"
        assert read_eval_results(text)[0].dataset_id == benchmark.dataset
        assert benchmark.scale in (1, 100)
    assert eval_results_files([RESULT]) == {}, "a made-up data set is registered"


names = st.from_regex(r"[a-z0-9]{1,6}/[a-z0-9_]{1,6}", fullmatch=True)


@settings(deadline=None)
@given(st.floats(0, 1), st.text(min_size=1).filter(str.strip), names, st.sampled_from([1, 100]))
def test_what_is_written_is_read_back(score, task_id, dataset, scale):
    benchmark = replace(NER, task_id=task_id, dataset=dataset, scale=scale)
    ((name, text),) = eval_results_files(
        [replace(RESULT, scores={"f1": score}, dataset=dataset)], benchmarks=[benchmark]
    ).items()
    assert name == eval_results_file(dataset)
    assert read_eval_results(text) == [
        EvalResultEntry(
            dataset_id=dataset,
            task_id=task_id,
            value=round(score * scale, 6),
            dataset_revision=COMMIT,
            notes="f1 on 1283 examples",
        )
    ]


WHOLE = """\
- dataset: {id: cais/hle, task_id: default, revision: abc}
  value: 20.9
  verifyToken: token
  date: "2026-01-15T10:30:00Z"
  source: {url: https://huggingface.co/some/space, name: Logs, user: me, org: us}
  evaluation_framework: inspect-ai
  notes: no-tools
"""


def test_every_field_of_the_specification_is_read():
    assert read_eval_results(WHOLE) == [
        EvalResultEntry(
            dataset_id="cais/hle",
            task_id="default",
            value=20.9,
            dataset_revision="abc",
            verify_token="token",
            date="2026-01-15T10:30:00Z",
            source_url="https://huggingface.co/some/space",
            source_name="Logs",
            source_user="me",
            source_org="us",
            notes="no-tools",
        )
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (WHOLE, "", "no list of scores"),
        (WHOLE, "dataset: {id: cais/hle}", "no list of scores"),
        (WHOLE, "- hle", r"\[0\] = 'hle': not a mapping"),
        (WHOLE, "- error: late\n", r"\[0\]\.dataset: missing"),
        ("  value: 20.9\n", "", r"\[0\]\.value: missing"),
        ("value: 20.9", "value: twenty", r"\[0\]\.value = 'twenty': not a finite number"),
        ("value: 20.9", "value: true", r"\[0\]\.value = True: not a finite number"),
        ("value: 20.9", "value: .nan", r"\[0\]\.value = nan: not a finite number"),
        ("value: 20.9", "value: 1\n  value: 2", "no YAML: the key 'value' stands twice"),
        ("value: 20.9", "value: 1\n  error: x", r"\[0\]\.error = 'x': a field that the Hub does not know"),
        ("cais/hle", "/home/me/hle", r"\[0\]\.dataset\.id = '/home/me/hle': no id on the Hub"),
        ("id: cais/hle, ", "", r"\[0\]\.dataset\.id: missing"),
        ("task_id: default", "task_id: 5", r"\[0\]\.dataset\.task_id = 5: not a text"),
        ("revision: abc", "config: abc", r"\[0\]\.dataset\.config = 'abc': a field that the Hub does not know"),
        ('"2026-01-15T10:30:00Z"', "2026-01-15", r"\[0\]\.date = datetime.*: not a text\. .*in quotes"),
        ('"2026-01-15T10:30:00Z"', '"in May"', r"\[0\]\.date = 'in May': not a date"),
        ("url: https://huggingface.co/some/space, ", "", r"\[0\]\.source\.url: missing"),
        ("https://huggingface.co", "file://", r"\[0\]\.source\.url = .*: not an address"),
        ("notes: no-tools", "notes:", r"\[0\]\.notes = None: not a text"),
        ("notes: no-tools", "notes: [", "no YAML"),
    ],
)
def test_a_file_that_the_hub_would_not_take_is_refused(old, new, message):
    assert old in WHOLE
    with pytest.raises(InputError, match=rf"^hle\.yaml: {message}"):
        read_eval_results(WHOLE.replace(old, new), file="hle.yaml")
