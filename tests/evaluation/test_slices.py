"""A test set is predicted slice by slice: the same predictions whatever the slices, and none of them made twice."""

import json

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_models import SPECIAL_IDS, class_of, tiny_model
from tiny_tasks import write_tasks
from tqdm import auto
from untrained import tokenizer_for

from bistill_hub.evaluation import predicting
from bistill_hub.evaluation.evaluate import TestSet, evaluate_model
from bistill_hub.evaluation.kept import KeptPredictions, read_predictions, write_predictions
from bistill_hub.evaluation.predicting import predict
from bistill_hub.sources import LabelledSource
from bistill_hub.tasks import get_task

LABELS = {
    "ner": ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"),
    "nli": ("entailment", "neutral", "contradiction"),
    "qa": (),
}
HEADS = {"ner": "ForTokenClassification", "nli": "ForSequenceClassification", "qa": "ForQuestionAnswering"}
LONGEST = {"ner": 40, "nli": 40, "qa": 12}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The training files of the miniature tasks, 8 examples each."""
    return {task: sources["train"] for task, sources in write_tasks(tmp_path_factory.mktemp("tasks")).items()}


@pytest.fixture(scope="module")
def model_for(files):
    """A function that makes a model which tells the examples apart, and gives its tokenizer too.

    The classifier of whole texts is centred on the examples: an average of 0 for each label leaves none that is always
    the highest. `opposite` turns its sign, so that every example's label is another one.
    """
    tokenizer = tokenizer_for("bert")
    special = {name: getattr(tokenizer, name) for name in SPECIAL_IDS}

    def made(task, opposite=False):
        names = {"id2label": dict(enumerate(LABELS[task]))} if LABELS[task] else {}
        model = tiny_model(class_of("bert", HEADS[task]), len(tokenizer), 2, 0, special, **names)
        if task == "nli":
            pairs = [(each["premise"], each["hypothesis"]) for each in read(task, files)]
            inputs = tokenizer(pairs, padding=True, truncation=True, max_length=LONGEST[task], return_tensors="pt")
            with torch.no_grad():
                model.classifier.bias -= model(**inputs).logits.mean(0)
                if opposite:
                    model.classifier.weight.neg_()
                    model.classifier.bias.neg_()
        return model, tokenizer

    return made


@pytest.fixture
def forwards():
    """A function that counts a model's batches, and interrupts it at one of them."""
    hooks = []

    def counted(model, last=None):
        batches = []

        def hook(_module, _args, kwargs):
            if len(batches) == last:
                raise KeyboardInterrupt
            batches.append(kwargs["input_ids"].shape)

        hooks.append(model.register_forward_pre_hook(hook, with_kwargs=True))
        return batches

    yield counted
    for hook in hooks:
        hook.remove()


def read(task, files):
    return get_task(task).read(LabelledSource(path=files[task]))


@pytest.mark.parametrize("task", LABELS)
def test_predictions_are_the_same_whatever_the_slices(task, files, model_for, monkeypatch):
    model, tokenizer = model_for(task)
    kind, dataset = get_task(task), read(task, files)
    expected = predict(model, tokenizer, kind, dataset, LABELS[task], max_length=LONGEST[task])
    assert len({json.dumps(each) for each in expected}) > 1, "a model that tells nothing apart proves nothing"
    encode, seen = type(kind).encode, []

    def encoding(self, part, *args):
        features = encode(self, part, *args)
        seen.append((len(part), len(features)))
        return features

    monkeypatch.setattr(type(kind), "encode", encoding)
    for size in (1, 3, 8, 100):
        monkeypatch.setattr(predicting, "SLICE_EXAMPLES", size)
        seen.clear()
        assert predict(model, tokenizer, kind, dataset, LABELS[task], max_length=LONGEST[task]) == expected
        assert [examples for examples, _ in seen] == [min(size, 8 - start) for start in range(0, 8, size)]
    if task == "qa":
        assert seen == [(8, seen[0][1])]
        assert seen[0][1] > 8, "questions of several windows"


@pytest.mark.parametrize("task", LABELS)
def test_an_interrupted_evaluation_goes_on_and_ends_with_the_same_file(
    task, files, model_for, forwards, monkeypatch, tmp_path
):
    monkeypatch.setattr(predicting, "SLICE_EXAMPLES", 3)
    monkeypatch.setattr(predicting, "PADDED_TOKENS_AT_A_TIME", 1)  # a batch an input
    model, tokenizer = model_for(task)
    kind, test = get_task(task), TestSet("en", "source", LabelledSource(path=files[task]))
    options = {"name": "student", "max_length": LONGEST[task]}
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    batches = forwards(model)
    result, predictions = evaluate_model(model, tokenizer, kind, test, LABELS[task], predictions_file=whole, **options)
    every = len(batches)
    assert read_predictions(whole) == predictions
    features = kind.encode(read(task, files).select(range(6)), tokenizer, LABELS[task], LONGEST[task])

    last = len(features) + 1  # within the third slice
    forwards(model, last)
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(model, tokenizer, kind, test, LABELS[task], predictions_file=cut, **options)
    assert read_predictions(cut) == predictions[:6]
    cut.write_bytes(cut.read_bytes() + whole.read_bytes().splitlines(keepends=True)[6] + b'["B-')
    model, tokenizer = model_for(task)
    again = forwards(model)
    resumed, found = evaluate_model(model, tokenizer, kind, test, LABELS[task], predictions_file=cut, **options)
    assert cut.read_bytes() == whole.read_bytes()
    assert (resumed, found) == (result, predictions)
    assert 0 < len(again) == every - len(features)

    again.clear()
    assert evaluate_model(model, tokenizer, kind, test, LABELS[task], predictions_file=cut, **options)[1] == predictions
    assert not again, "what is finished is not predicted again"


@pytest.mark.parametrize("what", ["model", "length", "data", "labels"])
def test_predictions_of_something_else_are_replaced(what, files, model_for, forwards, tmp_path):
    file = tmp_path / "predictions.jsonl"
    model, tokenizer = model_for("nli")
    test = TestSet("en", "source", LabelledSource(path=files["nli"]))
    options = {"labels": LABELS["nli"], "max_length": 40, "test": test}

    def evaluate(model):
        return evaluate_model(model, tokenizer, get_task("nli"), name="x", predictions_file=file, **options)[1]

    first = evaluate(model)
    if what == "model":
        model, _ = model_for("nli", opposite=True)
    elif what == "length":
        options["max_length"] = 8
    elif what == "labels":
        options["labels"] = LABELS["nli"][::-1]
    else:
        options["test"] = TestSet("en", "source", LabelledSource(path=files["nli"], limit=5))
    batches = forwards(model)
    found = evaluate(model)
    assert batches
    assert read_predictions(file) == found
    assert what == "length" or found != first


def test_predictions_that_nobody_owns_are_replaced(files, model_for, tmp_path):
    file = tmp_path / "predictions.jsonl"
    write_predictions(file, ["neutral"] * 9)
    model, tokenizer = model_for("nli")
    test = TestSet("en", "source", LabelledSource(path=files["nli"]))
    for damage in (None, "{"):
        if damage:
            file.with_name("predictions.jsonl.origin.json").write_text(damage)
            file.write_text("no JSON")
        _, found = evaluate_model(
            model, tokenizer, get_task("nli"), test, LABELS["nli"], name="x", predictions_file=file
        )
        assert read_predictions(file) == found
        assert len(found) == 8


def test_the_folder_of_predictions_is_made(files, model_for, tmp_path):
    model, tokenizer = model_for("nli")
    test, file = TestSet("en", "source", LabelledSource(path=files["nli"])), tmp_path / "kept" / "here" / "one.jsonl"
    options = {"name": "x", "max_length": LONGEST["nli"], "predictions_file": file}
    _, predictions = evaluate_model(model, tokenizer, get_task("nli"), test, LABELS["nli"], **options)
    assert read_predictions(file) == predictions


def test_the_bar_counts_all_examples_and_begins_behind_those_that_are_there(files, model_for, monkeypatch, tmp_path):
    bars = []

    class Bar(auto.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.steps = []
            bars.append(self)

        def update(self, n=1):
            self.steps.append(n)
            return super().update(n)

    monkeypatch.setattr(auto, "tqdm", Bar)
    monkeypatch.setattr(predicting, "SLICE_EXAMPLES", 3)
    model, tokenizer = model_for("nli")
    kind, dataset = get_task("nli"), read("nli", files)
    kept = KeptPredictions(tmp_path / "predictions.jsonl", {"examples": 8})
    expected = predict(model, tokenizer, kind, dataset, LABELS["nli"], kept=kept, progress=True)
    kept.file.write_bytes(b"".join(kept.file.read_bytes().splitlines(keepends=True)[:4]))
    assert predict(model, tokenizer, kind, dataset, LABELS["nli"], kept=kept, progress=True) == expected
    assert [(bar.total, bar.initial, bar.n) for bar in bars] == [(8, 0, 8), (8, 3, 8)]
    assert all(step >= 0 for bar in bars for step in bar.steps)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.text("BIO-\n\r\u2028é"))), max_size=9
    ),
    st.integers(1, 4),
    st.integers(0, 400),
)
@example(["a", "b", "é"], 2, 14)
@example(["12", "34"], 1, 9)
def test_a_file_cut_anywhere_is_gone_on_with_behind_its_last_whole_slice(tmp_path, predictions, size, cut):
    file = tmp_path / "predictions.jsonl"
    kept = KeptPredictions(file, {"examples": len(predictions)})
    file.unlink(missing_ok=True)
    assert kept.resume(size) == []
    for start in range(0, len(predictions), size):
        kept.append(predictions[start : start + size])
    whole = file.read_bytes()
    assert kept.resume(size) == read_predictions(file) == predictions
    file.write_bytes(whole[:cut])
    left = kept.resume(size)
    complete = whole[:cut].count(b"\n")
    assert len(left) == (complete if complete == len(predictions) else complete // size * size)
    assert left == predictions[: len(left)] == read_predictions(file)
    for start in range(len(left), len(predictions), size):
        kept.append(predictions[start : start + size])
    assert file.read_bytes() == whole
