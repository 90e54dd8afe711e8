"""Predictions depend on the model alone, not on how its inputs are batched; what cannot be scored is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, BertConfig, BertForTokenClassification

from bistill_hub import sources
from bistill_hub.errors import InputError
from bistill_hub.evaluation import evaluate, predicting
from bistill_hub.evaluation.bootstrap import bootstrap_scores, interval
from bistill_hub.evaluation.evaluate import (
    TestSet,
    evaluate_model,
    evaluate_pair,
    labels_of,
    predict,
    write_predictions,
)
from bistill_hub.evaluation.rescoring import score_predictions
from bistill_hub.model.sparse_delta import state_sha256
from bistill_hub.sources import LabelledSource, file_sha256
from bistill_hub.student.backbones import backbone_for
from bistill_hub.tasks import get_task

NER = get_task("ner")
LABELS = ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
LONGEST = 40
BACKBONES = ("bert", "xlm-roberta")
COMMIT = "0123456789" * 4


@pytest.fixture(scope="module", params=BACKBONES)
def tagger(request, tiny_teacher_dirs):
    """A tagger with a random head that guesses all kinds of tags, and its tokenizer."""
    folder = tiny_teacher_dirs[request.param]
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(
        folder, id2label=dict(enumerate(LABELS)), num_hidden_layers=2
    )
    with torch.no_grad():
        # Words far apart, so that little training before does not make all of them look alike.
        model.get_input_embeddings().weight.normal_()
        model.classifier.weight.normal_()
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def test_data(ner_files):
    return NER.read(LabelledSource(path=str(ner_files["sw"]["test"])))


@pytest.fixture
def test_set(ner_files):
    return TestSet("sw", "target", LabelledSource(path=str(ner_files["sw"]["test"])))


def one_by_one(model, tokenizer, dataset, max_length):
    """Run each feature by itself, without padding or mask."""
    features = NER.encode(dataset, tokenizer, LABELS, max_length)
    with torch.no_grad():
        logits = [model(torch.tensor([ids])).logits[0].numpy() for ids in features["input_ids"]]
    return NER.decode(features, logits, dataset, LABELS)


@pytest.mark.parametrize("max_length", [LONGEST, 8], ids=["whole sentences", "sentences in pieces"])
def test_predictions_are_those_of_one_input_at_a_time_whatever_the_batches(tagger, test_data, monkeypatch, max_length):
    expected = one_by_one(*tagger, test_data, max_length)
    assert len({tag for tags in expected for tag in tags}) > 3, "a model that tells nothing apart proves nothing"
    for size in (1, 50, 10**6):
        monkeypatch.setattr(predicting, "PADDED_TOKENS_AT_A_TIME", size)
        assert predict(*tagger, NER, test_data, LABELS, max_length=max_length) == expected


def test_no_batch_is_larger_than_it_may_be(tagger, test_data, monkeypatch):
    model, tokenizer = tagger
    sizes = []
    hook = model.register_forward_pre_hook(
        lambda _module, _args, kwargs: sizes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    monkeypatch.setattr(predicting, "PADDED_TOKENS_AT_A_TIME", 60)
    try:
        predict(model, tokenizer, NER, test_data, LABELS, max_length=LONGEST)
    finally:
        hook.remove()
    assert max(rows * length for rows, length in sizes) <= 60
    lengths = [length for _, length in sizes]
    assert lengths == sorted(lengths, reverse=True), "the largest first, so that memory peaks at once"


def test_every_word_gets_a_tag_in_the_order_of_the_examples(tagger, test_data):
    predictions = predict(*tagger, NER, test_data, LABELS, max_length=LONGEST)
    assert [len(tags) for tags in predictions] == [len(tokens) for tokens in test_data["tokens"]]
    shuffled = test_data.select(range(len(test_data) - 1, -1, -1))
    assert predict(*tagger, NER, shuffled, LABELS, max_length=LONGEST) == predictions[::-1]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_the_mode_it_was_in(tagger, test_data, training):
    model, tokenizer = tagger
    expected = predict(model, tokenizer, NER, test_data, LABELS, max_length=LONGEST)
    model.train(training)
    try:
        # Dropout is off while predicting, whatever the mode.
        assert predict(model, tokenizer, NER, test_data, LABELS, max_length=LONGEST) == expected
        assert model.training is training
        with pytest.raises(InputError, match="max_length"):
            predict(model, tokenizer, NER, test_data, LABELS, max_length=2)
        broken = test_data.map(lambda row: {"tokens": row["tokens"] * 40, "tags": row["tags"] * 40})
        with pytest.raises((IndexError, RuntimeError)):  # longer than the model's positions
            predict(model, tokenizer, NER, broken, LABELS, max_length=4000)
        assert model.training is training, "after an error too"
    finally:
        model.eval()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_s_record_says_what_was_scored_on_what(tagger, test_set, test_data, tmp_path):
    model, tokenizer = tagger
    result, predictions = evaluate_model(
        model, tokenizer, NER, test_set, LABELS, name="student", max_length=LONGEST, seed=3
    )
    assert predictions == predict(model, tokenizer, NER, test_data, LABELS, max_length=LONGEST)
    file = test_set.source.file
    assert (result.dataset, result.revision) == (file.name, f"sha256:{file_sha256(file)}")
    assert result.commit is None
    assert (result.task, result.task_version, result.model, result.seed) == ("ner", NER.version, "student", 3)
    assert (result.language, result.role, result.n) == ("sw", "target", len(test_data))
    assert result.weights_sha256 == state_sha256(model.state_dict())
    assert result.score == result.scores[result.metric] == NER.score(test_data, predictions)["f1"]
    assert result.trivial == 0
    statistics = NER.statistics(test_data, predictions)
    assert (result.low, result.high) == interval(bootstrap_scores(statistics, NER.main_score))
    assert result.low <= result.score <= result.high

    write_predictions(tmp_path / "predictions.jsonl", predictions)
    lines = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == predictions


@pytest.mark.parametrize("streaming", [False, True])
def test_the_record_of_hub_data_says_the_commit_beside_the_branch_that_was_asked_for(
    tagger, test_data, monkeypatch, streaming
):
    table = test_data.rename_column("tags", "ner_tags")
    asked = []

    def load(*_, streaming, **options):
        asked.append(options["revision"])
        return table.to_iterable_dataset() if streaming else table

    monkeypatch.setattr("datasets.load_dataset", load)
    monkeypatch.setattr(
        sources,
        "commit_now",
        lambda dataset, revision: {("org/ner", "refs/convert/parquet"): COMMIT}[dataset, revision],
    )
    source = LabelledSource(
        dataset="org/ner", data_dir="swa", split="test", revision="refs/convert/parquet", limit=5, streaming=streaming
    )
    result, _ = evaluate_model(
        *tagger, NER, TestSet("sw", "target", source), LABELS, name="student", max_length=LONGEST
    )
    assert asked == [COMMIT]
    assert (result.revision, result.commit, result.read_revision) == ("refs/convert/parquet", COMMIT, COMMIT)


def test_the_model_s_labels_are_read_in_order():
    model = BertForTokenClassification(
        BertConfig(
            vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4,
            id2label=dict(enumerate(LABELS)),
        )
    )  # fmt: skip
    assert labels_of(model) == LABELS


def test_a_label_that_the_model_does_not_know_is_refused_before_it_runs(tagger, tmp_path, monkeypatch):
    file = tmp_path / "test.conll"
    file.write_text("Juma\tB-PER\nleo\tB-DATE\n", encoding="utf-8")
    monkeypatch.setattr(evaluate, "predict", lambda *_, **__: pytest.fail("the model ran"))
    with pytest.raises(InputError, match=r"test\.conll: tags = 'B-DATE': .*\. Rename it with label_map, such as DATE"):
        evaluate_model(*tagger, NER, TestSet("sw", "target", LabelledSource(path=str(file))), LABELS, name="x")


class TestPair:
    @pytest.fixture(scope="class")
    @classmethod
    def pair(cls, tiny_teacher_dirs, tmp_path_factory):
        """A pair out of the tiny BERT: the whole of it as the student, and a random delta."""
        from safetensors.torch import load_file

        from bistill_hub.hub.repository import PairModel, write_model
        from bistill_hub.model.sparse_delta import SparseDelta

        folder = tiny_teacher_dirs["bert"]
        torch.manual_seed(0)
        tuned = AutoModelForTokenClassification.from_pretrained(folder, id2label=dict(enumerate(LABELS)))
        start = {name: tensor.clone() for name, tensor in tuned.state_dict().items() if name.startswith("bert.")}
        with torch.no_grad():
            tuned.classifier.weight.normal_()
            tuned.bert.embeddings.word_embeddings.weight[10:20] += 0.5
        metadata = {"head": "token-classification", "labels": list(LABELS)}
        delta = SparseDelta.from_models(start, tuned, metadata=metadata)
        place = tmp_path_factory.mktemp("pair") / "pair"
        tuned.save_pretrained(place.with_name("tuned"))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.save_pretrained(place.with_name("tuned"))
        state = load_file(folder / "model.safetensors")
        write_model(place, PairModel(tuned.config, "en", "sw", tuple(range(6)), {}), state, tokenizer, {"ner": delta})
        return place

    @pytest.fixture
    def tests(self, ner_files):
        return {language: LabelledSource(path=str(ner_files[language]["test"])) for language in ("en", "sw")}

    def test_student_and_teacher_go_through_the_same_code(self, pair, tests):
        results = evaluate_pair(pair, "ner", tests, teacher=pair.with_name("tuned"), max_length=LONGEST, progress=False)
        places = [(result.model, result.language, result.role) for result in results]
        roles = [("en", "source"), ("sw", "target")]
        assert places == [(model, *role) for model in ("student", "teacher") for role in roles]
        scores = np.array([[result.score, result.low, result.high] for result in results])
        np.testing.assert_array_equal(scores[:2], scores[2:])
        assert len({result.weights_sha256 for result in results}) == 1

    def test_predictions_are_kept_and_scored_again_without_the_models(self, pair, tests, tmp_path):
        options = {"teacher": pair.with_name("tuned"), "max_length": LONGEST, "progress": False}
        results = evaluate_pair(pair, "ner", tests, predictions_dir=tmp_path / "kept", **options)
        for result in results:
            kept = tmp_path / "kept" / f"{result.model}.{result.language}.jsonl"
            teacher = kept.with_name(f"teacher.{result.language}.jsonl")
            first, second = score_predictions("ner", tests[result.language], kept, against=teacher)
            found = first.score
            assert (found.score, found.low, found.high) == (result.score, result.low, result.high)
            assert (found.n, found.trivial, found.scores) == (result.n, result.trivial, result.scores)
            if result.model == "student":
                assert first.against_teacher == result.against_teacher
            assert second.predictions == teacher.name

    def test_inputs_are_cut_at_what_each_of_the_models_reads(self, pair, tmp_path):
        file = tmp_path / "long.conll"
        file.write_text("house\tO\n" * 300)
        tests = {"en": LabelledSource(path=str(file))}
        student, teacher = evaluate_pair(pair, "ner", tests, teacher=pair.with_name("tuned"), progress=False)
        model = AutoModelForTokenClassification.from_pretrained(pair.with_name("tuned"))
        room = backbone_for(model.config).longest_input(model.config)
        (cut,) = evaluate_pair(pair, "ner", tests, max_length=room, progress=False)
        assert room < 256
        assert student.prediction_digests == teacher.prediction_digests == cut.prediction_digests

    @pytest.mark.parametrize("place", ["absent", "no/such-pair"])
    def test_a_pair_that_is_not_there_is_refused(self, tmp_path, tests, place):
        place = tmp_path / place if place == "absent" else place
        with pytest.raises(InputError, match=rf"pair = '{place}': the pair cannot be loaded .*\. Name a folder that"):
            evaluate_pair(place, "ner", tests, progress=False)

    def test_an_ordinary_model_is_no_pair(self, tiny_teacher_dirs, tests):
        with pytest.raises(InputError, match=r"model of the type 'bert', not a pair\). Name a folder that a run"):
            evaluate_pair(tiny_teacher_dirs["bert"], "ner", tests, progress=False)

    def test_a_task_that_there_is_not_is_refused(self, pair, tests):
        with pytest.raises(InputError, match=r"task = 'absent': there is no such task\. Choose one of"):
            evaluate_pair(pair, "absent", tests, progress=False)

    def test_a_language_that_is_not_the_pair_s_is_refused(self, pair, tests):
        with pytest.raises(InputError, match=r"tests = 'fr': not a language of the pair\. Use one of \['en', 'sw'\]"):
            evaluate_pair(pair, "ner", {"fr": tests["sw"]}, progress=False)

    def test_a_test_set_that_is_not_there_is_refused_before_anything_is_scored(self, pair, tests, monkeypatch):
        monkeypatch.setattr(evaluate, "predict", lambda *_, **__: pytest.fail("a model ran"))
        absent = {"en": tests["en"], "sw": LabelledSource(path="absent.conll")}
        with pytest.raises(InputError, match=r"tests\.sw = 'absent\.conll': there is no such file"):
            evaluate_pair(pair, "ner", absent, progress=False)

    def test_a_teacher_of_another_scheme_is_refused_before_anything_is_scored(self, pair, tests, tmp_path, monkeypatch):
        monkeypatch.setattr(evaluate, "predict", lambda *_, **__: pytest.fail("a model ran"))
        shutil.copytree(pair.with_name("tuned"), tmp_path / "tuned")
        file = tmp_path / "tuned" / "config.json"
        file.write_text(file.read_text().replace("B-LOC", "S-LOC"))
        with pytest.raises(InputError, match=r"teacher = .*the model's head has the label S-LOC"):
            evaluate_pair(pair, "ner", tests, teacher=tmp_path / "tuned", progress=False)
