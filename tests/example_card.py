"""A pair's card and a score on it, for the tests of cards: names and numbers are made up."""

from __future__ import annotations

from dataclasses import replace

from bistill_hub.cards.facts import CardFacts, LossCurve, ModelFacts
from bistill_hub.evaluation.paired import Paired
from bistill_hub.evaluation.results import Result
from bistill_hub.evaluation.size import Size
from bistill_hub.evaluation.speed import Hardware, ModelSpeed, Quartiles, SizeAndSpeed, Speed

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
    "lines": 541,
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
    vocabulary={
        "chosen_by": "the 29,876 most frequent of either corpus",
        "languages": {"sw": {**REPORT, "fertility_before": 2.01}, "en": REPORT},
    },
    training={
        "stages": [
            {"name": "student", "settings": "", "loss": "", "seconds": 90.0},
            {"name": "phase 1", "settings": "steps 200000, batch_size 8", "loss": "0.1234", "seconds": 3600.0},
            {"name": "ner teacher", "settings": "epochs 3", "loss": "0.04277", "loss_updates": 161, "seconds": 558.0},
            {"name": "ner phase 2", "settings": "batch_size 8", "loss": "0.5199", "seconds": 600.0},
        ],
        "machines": ["Some CPU, 8 logical cores"],
        "language_deltas": {"sw": "some/sft-sw"},
        "labelled": {"ner": {"train": "train.conll (the first 2000)", "validation": "dev.conll"}},
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


def _size(scale: float) -> Size:
    return Size(
        layers=12 if scale == 1 else 6,
        vocabulary=119_547,
        parameters=177_853_440,
        embedding_parameters=91_812_096,
        bytes=int(711_413_760 * scale),
        on_disk=True,
        flops_per_token=170e6 * scale,
        flops_length=128,
    )


def _model_speed(milliseconds: float, batch: int) -> ModelSpeed:
    def around(value: float) -> Quartiles:
        return Quartiles(0.9 * value, value, 1.1 * value)

    return ModelSpeed(around(milliseconds), around(128e3 * batch / milliseconds), around(1e3 * batch / milliseconds))


SIZE_AND_SPEED = SizeAndSpeed(
    teacher=_size(1),
    student=_size(0.375),
    speeds=tuple(
        Speed(
            hardware=Hardware(cpu="Some CPU", logical_cores=8, gpu=None),
            device="cpu",
            threads=threads,
            batch=batch,
            length=128,
            dtype="float32",
            torch="2.8.0",
            rounds=20 + batch,
            teacher=_model_speed(80.0 * batch / threads, batch),
            student=_model_speed(32.0 * batch / threads, batch),
            ratio=Quartiles(2.4, 2.5, 2.6),
        )
        for threads in (1, 8)
        for batch in (1, 32)
    ),
)
LOG = tuple(
    {"step": step, "loss": 2 / step, "attention_loss": 0.5 / step, "hidden_loss": 1.5 / step} for step in (10, 20, 30)
)
FULL = replace(
    FACTS,
    results=tuple(
        replace(
            result,
            against_teacher=None
            if result.model == "teacher"
            else Paired(-0.05, -0.06, -0.04, 0.9, None if result.language == "sw" else 0.88, 0.92),
            scores={**result.scores, "precision": 0.8, "recall": 0.7, "PER.f1": 0.75, "PER.number": 321.0},
        )
        for result in RESULTS
    ),
    training={
        **FACTS.training,
        "unverified": ["target.text: its licence | not *looked up*", "bilingual.steps: not tried"],
    },
    contributors=("Somebody *Else*", "A second one"),
    curves=(
        LossCurve(name="phase 1", stages=(("", LOG),)),
        LossCurve(name="ner", stages=(("dense", LOG), ("sparse", LOG))),
    ),
    size_and_speed=SIZE_AND_SPEED,
)
"""As `FACTS`, with everything that may be missing."""
