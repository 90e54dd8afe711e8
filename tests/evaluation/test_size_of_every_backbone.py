"""Sizes of students of every architecture are what a count by hand gives."""

import pytest
import torch
from tiny_models import CLASSES, class_of, tiny_model

from bistill_hub.evaluation.size import measure_size
from bistill_hub.evaluation.speed import measure_speed
from bistill_hub.student.build import cut_model

HIDDEN, INNER, TEACHER_LAYERS, ROWS, KEPT, POSITIONS, BUCKETS = 32, 48, 4, 77, 40, 130, 8
NORM, LINEAR = 2 * HIDDEN, HIDDEN**2 + HIDDEN  # with biases
OLD_LAYER = 4 * LINEAR + (HIDDEN * INNER + INNER) + (INNER * HIDDEN + HIDDEN) + 2 * NORM

# Parameters outside the word embeddings and the layers, and those of a layer.
PARAMETERS = {
    "bert": (POSITIONS * HIDDEN + 2 * HIDDEN + NORM + LINEAR, OLD_LAYER),
    "xlm-roberta": (POSITIONS * HIDDEN + 2 * HIDDEN + NORM + LINEAR, OLD_LAYER),
    "distilbert": (POSITIONS * HIDDEN + NORM, OLD_LAYER),
    "deberta-v2": (2 * BUCKETS * HIDDEN + 2 * NORM, OLD_LAYER),
    # Norms without biases, two of them for a layer but none before the first one's attention.
    "modernbert": (HIDDEN + HIDDEN - HIDDEN, 4 * HIDDEN**2 + 3 * HIDDEN * INNER + 2 * HIDDEN),
}


def flops_of_a_text(backbone, layers, length):
    """Two for each multiplication in a product of matrices."""
    feed_forward = 3 if backbone == "modernbert" else 2  # it has a gate
    layer = length * (4 * HIDDEN**2 + feed_forward * HIDDEN * INNER) + 2 * length**2 * HIDDEN
    if (
        backbone == "deberta-v2"
    ):  # queries and keys of each distance, and their products with keys and queries of tokens
        layer += 2 * (2 * BUCKETS) * HIDDEN**2 + 2 * (2 * BUCKETS) * length * HIDDEN
    pooler = HIDDEN**2 if backbone in ("bert", "xlm-roberta") else 0
    return 2 * (layers * layer + pooler)


@pytest.mark.parametrize("backbone", CLASSES)
def test_teacher_and_student_are_as_large_as_a_count_by_hand(backbone):
    teacher = tiny_model(class_of(backbone, "Model"), ROWS)
    student = cut_model(teacher, torch.arange(KEPT), (1, 3))
    for model, layers, rows in ((teacher, TEACHER_LAYERS, ROWS), (student, 2, KEPT)):
        size = measure_size(model, length=9)
        apart, layer = PARAMETERS[backbone]
        assert (size.layers, size.vocabulary) == (layers, rows)
        assert size.embedding_parameters == rows * HIDDEN
        assert size.other_parameters == apart + layers * layer
        assert size.bytes == 4 * size.parameters
        assert size.flops_per_token == pytest.approx(flops_of_a_text(backbone, layers, 9) / 9, rel=1e-12)


@pytest.mark.parametrize("backbone", CLASSES)
def test_the_attention_that_a_model_runs_on_is_left_as_it_is(backbone):
    model = tiny_model(class_of(backbone, "ForTokenClassification"), ROWS)
    before = model.config._attn_implementation
    measure_size(model, length=5)
    assert model.config._attn_implementation == before == ("eager" if backbone == "deberta-v2" else "sdpa")


@pytest.mark.parametrize("backbone", CLASSES)
def test_teacher_and_student_are_timed_on_the_same_conditions(backbone):
    teacher = tiny_model(class_of(backbone, "ForMaskedLM"), ROWS)
    student = cut_model(teacher, torch.arange(KEPT), (1, 3))
    ticks = map(float, range(10**6))
    found = measure_speed(
        teacher,
        student,
        lengths=(6,),
        batch_size=2,
        threads=(1,),
        rounds=2,
        warm_up=0,
        clock=lambda: next(ticks),
    )
    on_cpu = [speed for speed in found if speed.device == "cpu"]
    assert [(speed.batch, speed.length, speed.rounds) for speed in on_cpu] == [(1, 6, 2), (2, 6, 2)]
    # Every forward pass is one tick of this clock.
    assert {speed.student.milliseconds.median for speed in on_cpu} == {1000.0}
    assert {speed.ratio.median for speed in on_cpu} == {1.0}
