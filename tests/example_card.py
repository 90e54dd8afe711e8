"""A pair's card and a score on it, for the tests of cards: names and numbers are made up."""

from __future__ import annotations

from dataclasses import replace

from bistill_hub.cards.facts import CardFacts, ModelFacts
from bistill_hub.evaluation.results import Result

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HASH = f"sha256:{'ab' * 32}"
RESULT = Result(
    task="ner",
    task_version="1",
    model="student",
    weights_sha256="0" * 64,
    language="sw",
    role="target",
    dataset="some/ner",
    dataset_config="swa",
    split="test",
    revision=COMMIT,
    n=1283,
    metric="f1",
    score=0.623,
    low=0.6,
    high=0.65,
    trivial=0.0,
    scores={"f1": 0.623},
    seed=0,
)
TEACHER_TARGET = replace(RESULT, model="teacher", score=0.712, low=0.69, high=0.731, scores={"f1": 0.712})
TEACHER_SOURCE = replace(
    TEACHER_TARGET,
    language="en",
    role="source",
    dataset="test.en.conll",
    dataset_config=None,
    split=None,
    revision=HASH,
    score=0.9,
    low=0.88,
    high=0.92,
)
RESULTS = (
    TEACHER_SOURCE,
    replace(TEACHER_SOURCE, model="student", score=0.855, low=0.84, high=0.87),
    TEACHER_TARGET,
    replace(TEACHER_TARGET, model="student", score=0.623, low=0.6, high=0.65),
    replace(TEACHER_TARGET, model="no_phase_1", score=0.31, low=0.29, high=0.33),
)
REPORT = {
    "corpus_tokens_kept": 0.9987,
    "lines_with_dropped_pieces": 0.0123,
    "unknown_before": 0.0001,
    "unknown_after": 0.0002,
    "fertility_before": 1.75,
    "fertility_after": 1.7512,
}
FACTS = CardFacts(
    name="bistill-en-sw",
    source=("en", "English"),
    target=("sw", "Swahili"),
    license="apache-2.0",
    teacher="google-bert/bert-base-multilingual-cased",
    teacher_revision=None,
    teacher_size=ModelFacts(parameters=177_853_440, layers=12, vocabulary=119_547),
    student_size=ModelFacts(parameters=66_000_000, layers=6, vocabulary=29_876),
    layer_map=(1, 3, 5, 7, 9, 11),
    language_modelling_head=True,
    tasks={"ner": {"head": "token-classification", "labels": ["O", "B-PER", "I-PER"], "density": 0.08}},
    results=RESULTS,
    vocabulary={"languages": {"sw": {**REPORT, "fertility_before": 2.01}, "en": REPORT}},
    training={
        "stages": [
            {"name": "student", "settings": "", "loss": "", "seconds": 90.0},
            {"name": "phase 1", "settings": "steps 200000, batch_size 8", "loss": "0.1234", "seconds": 3600.0},
        ]
    },
    corpora={
        "en": {"name": "some/text/en/train", "lines": 1_000_000, "tokens": 25_000_000},
        "sw": {"name": "sw.txt", "lines": 5000, "tokens": 120_000},
    },
    datasets=("some/ner", "some/text"),
    versions={"transformers": "5.23.0", "torch": "2.8.0"},
    recipe_sha256="cd" * 32,
    seed=0,
    command="bistill run en_sw --set source.text=en.txt",
    limits="Only *newspapers* were read.\n\n- Names of people are **biased**.",
)
