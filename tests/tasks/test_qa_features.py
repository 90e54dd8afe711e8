"""From questions on contexts to windows of sub-words and back to pieces of text."""

import json
import random

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, TrainingArguments

from bistill_hub.batches import PaddingCollator
from bistill_hub.distillation.fine_tuning import TaskFineTuningTrainer
from bistill_hub.distillation.task import SparseTaskDistillationArguments, SparseTaskDistillationTrainer
from bistill_hub.errors import InputError
from bistill_hub.evaluation import predicting
from bistill_hub.evaluation.evaluate import TestSet, evaluate_model, predict, write_predictions
from bistill_hub.sources import LabelledSource
from bistill_hub.tasks import get_task
from bistill_hub.tasks.qa import QuestionAnswering
from bistill_hub.teacher import load_task_model, load_tokenizer

QA = get_task("qa")
TEXT = [
    "Rais Samia Suluhu Hassan alikwenda Dodoma jana asubuhi kukutana na mabalozi",
    "Shirika la UNICEF lilifungua ofisi mpya mjini Mombasa nchini Kenya",
    "Mary Smith works for the United Nations in New York and lives near Central Park",
    "The president of Tanzania met the ambassadors in Dodoma yesterday morning",
]
WORDS = sorted({word for line in TEXT for word in line.split()})
# Words that normalisation removes or changes, unknown ones, very long ones, some that look like special tokens.
ODD_WORDS = ["\x01", "\u200b", "漢字", "🦁", "(#)", "[SEP]", "<s>", "[CLS]", "ﬁ½", "kukutana" * 4, "e\u0301"]


def wordpiece(pair="[CLS] $A [SEP] $B:1 [SEP]:1"):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names)


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **names
    )


TOKENIZERS = {"wordpiece": wordpiece(), "unigram": unigram()}
both = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
WORD = st.one_of(st.sampled_from(WORDS), st.sampled_from(ODD_WORDS))


@st.composite
def examples(draw, words=WORD):
    """A question and a context with one or two gold answers, each of one to three words of the context."""
    context = draw(st.lists(words, min_size=1, max_size=40))
    answers = {"text": [], "answer_start": []}
    for _ in range(draw(st.integers(1, 2))):
        first = draw(st.integers(0, len(context) - 1))
        text = " ".join(context[first : first + draw(st.integers(1, 3))])
        answers["text"].append(text)
        answers["answer_start"].append(len(" ".join([*context[:first], ""])))
    question = " ".join(draw(st.lists(words, min_size=1, max_size=12)))
    return {"question": question, "context": " ".join(context), "answers": answers}


def dataset_of(*rows):
    return Dataset.from_list([{"id": str(number), **row} for number, row in enumerate(rows)])


def one(question, context, answer):
    answers = {"text": [answer], "answer_start": [context.index(answer)]}
    return {"question": question, "context": context, "answers": answers}


def perfect_logits(features, padding=0):
    """Logits that give each window's answer; -100, as the Trainer pads, on `padding` places behind."""
    logits = []
    for row in features:
        scores = np.random.default_rng(0).normal(size=(len(row["input_ids"]), 2))
        # The classification token where the answer is not: it must never win.
        scores[row["start_positions"], 0] += 50.0
        scores[row["end_positions"], 1] += 50.0
        logits.append(np.concatenate([scores, np.full((padding, 2), -100.0)]))
    return logits


def without_spaces(text):
    return "".join(text.split())


@both
@pytest.mark.parametrize(("max_length", "overlap"), [(24, 128), (24, 3), (60, 128)])
def test_windows_are_those_of_the_tokenizers_own_truncation(tokenizer, max_length, overlap):
    """The tokenizer cuts contexts too, but not questions: where these are short, its windows are the reference."""
    task = QuestionAnswering(overlap=overlap)

    @settings(max_examples=25, deadline=None)
    @given(examples())
    def check(row):
        row["question"] = "Dodoma"
        taken = len(tokenizer("Dodoma", add_special_tokens=False)["input_ids"])
        room = max_length - tokenizer.num_special_tokens_to_add(pair=True) - taken
        expected = tokenizer(
            row["question"],
            row["context"],
            truncation="only_second",
            max_length=max_length,
            stride=min(overlap, room // 2),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        features = task.encode(dataset_of(row), tokenizer, (), max_length)
        if 1 not in expected.sequence_ids(0):
            assert len(features) == 0
            return
        assert features["input_ids"][:] == expected["input_ids"]
        for name in tokenizer.model_input_names:
            assert features[name][:] == expected[name]
        for window, feature in enumerate(features):
            offsets = [
                tuple(pair) if side == 1 and pair[0] < pair[1] else (-1, -1)
                for side, pair in zip(expected.sequence_ids(window), expected["offset_mapping"][window], strict=True)
            ]
            assert list(zip(feature["offset_starts"], feature["offset_ends"], strict=True)) == offsets

    check()


@both
@pytest.mark.parametrize("max_length", [12, 24, 48, 512])
def test_gold_answers_survive_encoding_and_decoding_where_a_window_holds_them(tokenizer, max_length):
    @settings(max_examples=25, deadline=None)
    @given(st.lists(examples(), min_size=1, max_size=3))
    def check(rows):
        dataset = dataset_of(*rows)
        features = QA.encode(dataset, tokenizer, (), max_length)
        held = set()
        for feature in features:
            length = len(feature["input_ids"])
            row = rows[feature["example"]]
            assert length <= max_length
            lists = [name for name in features.column_names if name not in ("example", *QA.label_columns)]
            assert {len(feature[name]) for name in lists} == {length}
            first, last = feature["start_positions"], feature["end_positions"]
            if feature["offset_starts"][first] < 0:
                assert first == last == feature["input_ids"].index(tokenizer.cls_token_id) == 0
                continue
            begin, end = feature["offset_starts"][first], feature["offset_ends"][last]
            gold = row["answers"]["answer_start"][0], row["answers"]["text"][0]
            # The smallest run of sub-words that covers what the tokenizer kept of the answer.
            assert set(row["context"][gold[0] : begin]) <= {*" \x01\u200b"}
            assert set(row["context"][end : gold[0] + len(gold[1])]) <= {*" \x01\u200b\u0301"}
            if last - first < QA.max_answer_length:
                end += row["context"][end : end + 1] == "\u0301"
                held.add((feature["example"], row["context"][begin:end].strip()))
        predictions = QA.decode(features, perfect_logits(features, padding=3), dataset, ())
        assert {(example, predictions[example]) for example, _ in held} == held

    check()


@both
def test_the_answers_sub_words_are_found_by_hand(tokenizer):
    dataset = dataset_of(one("Dodoma?", "Rais Samia alikwenda Dodoma jana", "alikwenda Dodoma"))
    feature = QA.encode(dataset, tokenizer, (), 128)[0]

    def pieces(text):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        # A mark of a word's beginning that is a piece by itself stands for the space before.
        return ids[1:] if tokenizer.convert_ids_to_tokens(ids[0]) == "▁" else ids

    found = feature["input_ids"][feature["start_positions"] : feature["end_positions"] + 1]
    assert found == pieces("alikwenda Dodoma")
    assert feature["offset_starts"][feature["start_positions"]] == 11
    assert feature["offset_ends"][feature["end_positions"]] == 27


def test_an_answer_inside_a_sub_word_takes_the_whole_of_it():
    dataset = dataset_of(one("Lini?", "Rais alikwenda 漢1817字 jana", "817"))
    features = QA.encode(dataset, TOKENIZERS["wordpiece"], (), 128)
    assert QA.decode(features, perfect_logits(features), dataset, ()) == ["1817"]


def test_an_accent_that_the_tokenizer_composes_with_its_letter_is_not_lost():
    context = "Rais e\u0301 Dodoma"
    dataset = dataset_of(one("Nani?", context, "e\u0301"))
    features = QA.encode(dataset, TOKENIZERS["unigram"], (), 64)
    assert 6 not in features[0]["offset_starts"], "the accent is in no sub-word of its own"
    assert QA.decode(features, perfect_logits(features), dataset, ()) == ["e\u0301"]


@both
def test_white_space_around_an_answer_moves_nothing(tokenizer):
    dataset = dataset_of(one("Nani?", "Rais Samia jana", " Samia "))
    features = QA.encode(dataset, tokenizer, (), 128)
    assert QA.decode(features, perfect_logits(features), dataset, ()) == ["Samia"]


def test_every_window_without_the_whole_answer_points_at_the_classification_token_and_is_kept():
    context = " ".join(["Dodoma"] * 60 + ["Kenya"] + ["Dodoma"] * 60)
    features = QA.encode(dataset_of(one("Wapi?", context, "Kenya")), TOKENIZERS["wordpiece"], (), 40)
    answered = [row for row in features if row["start_positions"] > 0]
    assert 0 < len(answered) < len(features)
    for row in features:
        has_answer = any(context[s:].startswith("Kenya") for s in row["offset_starts"] if s >= 0)
        whole = has_answer and max(row["offset_ends"]) >= context.index("Kenya") + 5
        assert (row["start_positions"] > 0) == whole
        assert row["start_positions"] > 0 or row["end_positions"] == 0


def test_a_classification_token_at_the_end_is_found_there():
    tokenizer = wordpiece(pair="$A [SEP] $B:1 [SEP]:1 [CLS]:1")
    context = " ".join(["[CLS]", *["Dodoma"] * 60, "Kenya"])
    features = QA.encode(dataset_of(one("[CLS] wapi?", context, "Kenya")), tokenizer, (), 40)
    assert len(features) > 2
    for row in features:
        last = len(row["input_ids"]) - 1
        assert row["input_ids"][last] == tokenizer.cls_token_id
        answered = max(row["offset_ends"]) == len(context)
        assert (row["start_positions"] == row["end_positions"] == last) == (not answered)


def test_a_tokenizer_without_a_classification_token_is_refused():
    tokenizer = wordpiece(pair="$A [SEP] $B:1 [SEP]:1")
    with pytest.raises(InputError, match=r"cls_token = '\[CLS\]': the tokenizer puts no classification token"):
        QA.encode(dataset_of(one("Wapi?", "Dodoma", "Dodoma")), tokenizer, (), 40)


@both
def test_a_long_question_is_cut_and_leaves_room_for_the_context(tokenizer):
    question, context = " ".join(WORDS * 4), "Rais Samia alikwenda Dodoma jana"
    ids = tokenizer(question, add_special_tokens=False)["input_ids"]
    dataset = dataset_of(one(question, context, "Samia"))
    for max_length, kept in ((512, 64), (40, (40 - tokenizer.num_special_tokens_to_add(pair=True)) // 2)):
        features = QA.encode(dataset, tokenizer, (), max_length)
        for row in features["input_ids"]:
            assert row[: kept + 2] == [tokenizer.cls_token_id, *ids[:kept], tokenizer.sep_token_id]
        assert QA.decode(features, perfect_logits(features), dataset, ()) == ["Samia"]


def test_a_context_without_sub_words_has_no_feature_and_an_empty_answer():
    dataset = dataset_of(one("Nini?", "\x01", "\x01"), one("\x01", "Rais Samia", "Samia"))
    features = QA.encode(dataset, TOKENIZERS["wordpiece"], (), 32)
    assert features["example"][:] == [1]
    assert QA.decode(features, perfect_logits(features), dataset, ()) == ["", "Samia"]


def test_encoding_leaves_no_truncation_behind_in_the_tokenizer():
    tokenizer = wordpiece()
    QA.encode(dataset_of(one("Nini?", " ".join(WORDS), WORDS[0])), tokenizer, (), 24)
    assert tokenizer.backend_tokenizer.truncation is None
    assert tokenizer.backend_tokenizer.padding is None


def test_more_questions_than_a_batch_keep_their_rows():
    rows = [one("Wapi?", "Rais Samia Dodoma", "Dodoma")] * 1001 + [one("Nani?", "Rais Samia Dodoma", "Samia")]
    dataset = dataset_of(*rows)
    features = QA.encode(dataset, TOKENIZERS["wordpiece"], (), 64)
    assert features["example"][:] == list(range(1002))
    assert QA.decode(features, perfect_logits(features), dataset, ()) == ["Dodoma"] * 1001 + ["Samia"]


def best_by_search(features, logits, contexts, longest):
    """Try every pair in every window; keep the first of the best, in the order in which ties are broken."""
    best = {}
    for number, row in enumerate(features):
        inside = [place for place, start in enumerate(row["offset_starts"]) if start >= 0]
        for start in inside:
            for end in inside:
                if start <= end and inside.index(end) - inside.index(start) < longest:
                    total = float(logits[number][start][0]) + float(logits[number][end][1])
                    key = (-total, number, start, end)
                    context, stop = contexts[row["example"]], row["offset_ends"][end]
                    stop += context[stop : stop + 1] == "\u0301"
                    text = context[row["offset_starts"][start] : stop]
                    best[row["example"]] = min(best.get(row["example"], (key, text)), (key, text))
    return [best[example][1].strip() if example in best else "" for example in range(len(contexts))]


@both
@pytest.mark.parametrize("longest", [1, 4, 30])
def test_decoding_finds_the_best_piece_of_all_windows_as_a_search_does(tokenizer, longest):
    task = QuestionAnswering(max_answer_length=longest)

    @settings(max_examples=25, deadline=None)
    @given(st.lists(examples(), min_size=1, max_size=2), st.integers(0, 10**6), st.sampled_from([2, 5, 10**6]))
    def check(rows, seed, levels):
        dataset = dataset_of(*rows)
        features = task.encode(dataset, tokenizer, (), 20)
        # Few levels: ties within and across windows.
        generator = np.random.default_rng(seed)
        logits = [
            generator.integers(-levels, levels, size=(len(ids) + int(generator.integers(3)), 2)).astype(np.float32)
            for ids in features["input_ids"]
        ]
        expected = best_by_search(features, logits, dataset["context"][:], longest)
        assert task.decode(features, logits, dataset, ()) == expected

    check()


def test_ties_go_to_the_earliest_window_then_start_then_the_shortest_piece():
    dataset = dataset_of(one("Wapi?", " ".join(TEXT), "Samia"))
    features = QA.encode(dataset, TOKENIZERS["wordpiece"], (), 24)
    assert len(features) > 2
    flat = [np.zeros((len(ids), 2)) for ids in features["input_ids"]]
    first = TEXT[0][: features[0]["offset_ends"][features[0]["offset_starts"].index(0)]]
    assert QA.decode(features, flat, dataset, ()) == [first]


def test_logits_that_are_not_finite_give_a_piece_of_the_context_all_the_same():
    dataset = dataset_of(one("Wapi?", "Rais Samia", "Samia"))
    features = QA.encode(dataset, TOKENIZERS["wordpiece"], (), 24)
    for value in (np.nan, np.inf, -np.inf):
        (found,) = QA.decode(features, [np.full((len(features[0]["input_ids"]), 2), value)], dataset, ())
        assert found
        assert "Rais Samia".startswith(found)


def test_logits_that_do_not_fit_are_refused():
    dataset = dataset_of(one("Wapi?", "Rais Samia", "Samia"))
    features = QA.encode(dataset, TOKENIZERS["wordpiece"], (), 32)
    length = len(features[0]["input_ids"])
    with pytest.raises(ValueError, match="0 arrays of logits for 1 features"):
        QA.decode(features, [], dataset, ())
    for shape in ((length - 1, 2), (length, 3), (length,)):
        with pytest.raises(ValueError, match="logits of shape"):
            QA.decode(features, [np.zeros(shape)], dataset, ())


def test_a_length_without_room_and_a_slow_tokenizer_are_refused():
    dataset = dataset_of(one("Wapi?", "Rais Samia", "Samia"))
    assert len(QA.encode(dataset, TOKENIZERS["wordpiece"], (), 5)) > 1
    with pytest.raises(InputError, match=r"max_length = 4.*Set it to 5 at least"):
        QA.encode(dataset, TOKENIZERS["wordpiece"], (), 4)

    class Slow:
        is_fast = False
        name_or_path = "slow"

        def num_special_tokens_to_add(self, pair):
            return 3

    with pytest.raises(InputError, match=r"slow: the tokenizer is not a fast one"):
        QA.encode(dataset, Slow(), (), 32)


def test_scores_statistics_and_a_bootstrap_agree():
    rows = [one("?", "Rais Samia Suluhu", "Rais Samia"), one("?", "the Dodoma", "Dodoma"), one("?", "Kenya", "Kenya")]
    gold = dataset_of(*rows)
    predictions = ["Samia Suluhu", "the Dodoma", "Uganda"]
    statistics = QA.statistics(gold, predictions)
    assert statistics.tolist() == [[0.5, 1.0], [1.0, 1.0], [0.0, 1.0]]
    scores = QA.score(gold, predictions)
    assert scores == {"f1": pytest.approx(0.5), "exact_match": pytest.approx(1 / 3), "number": 3.0}
    assert QA.main_score(statistics.sum(0)) == pytest.approx(scores[QA.main_metric], abs=1e-12)
    resampled = QA.main_score(np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0]]) @ statistics)
    assert resampled == pytest.approx([1 / 2, 1 / 3, 1.0])
    assert QA.main_score(np.zeros(2)) == 0.0


@pytest.mark.parametrize("method", ["score", "statistics"])
def test_predictions_of_the_wrong_number_are_refused(method):
    with pytest.raises(ValueError, match="predictions for 2 questions, gold answers for 1"):
        getattr(QA, method)(dataset_of(one("?", "Kenya", "Kenya")), ["a", "b"])


def test_the_trivial_baseline_draws_words_evenly_and_the_same_ones_each_time():
    context = " Rais  Samia\tSuluhu Hassan alikwenda "
    rows = [one("?", context, "Samia")] * 2000
    dataset = dataset_of(*rows)
    found = QA.trivial(dataset, ())
    counts = {word: found.count(word) for word in context.split()}
    assert sum(counts.values()) == 2000
    assert all(330 < count < 470 for count in counts.values()), "400 each, give or take four standard deviations"
    assert QA.trivial(dataset.select(range(9, -1, -1)), ()) == found[9::-1]
    # From `printf 0 | sha256sum` and so on, modulo 5.
    assert found[:3] == ["Rais", "Rais", "Samia"]


def test_the_trivial_baseline_is_as_long_as_answers_in_training():
    training = dataset_of(one("?", "Rais Samia Suluhu Hassan", "Rais Samia"), one("?", "Rais Samia Suluhu", "Rais"),
                          one("?", "Rais Samia Suluhu Hassan", "Rais Samia"))  # fmt: skip
    dataset = dataset_of(*[one("?", "Rais  Samia Suluhu", "Rais")] * 30, one("?", "Kenya", "Kenya"))
    found = QA.trivial(dataset, (), training)
    assert set(found[:-1]) == {"Rais  Samia", "Samia Suluhu"}
    assert found[-1] == "Kenya"


# --- With models. ---

BACKBONES = ("bert", "xlm-roberta")
QUIET = {"report_to": "none", "disable_tqdm": True, "use_cpu": True}


def city_questions(count):
    """Questions whose answers only the question tells apart: who lives where."""
    people = ["Amina", "Juma", "Grace", "John", "Fatuma", "Peter", "Neema", "Daudi"]
    cities = ["Nairobi", "Mombasa", "Dodoma", "Kisumu", "Zanzibar", "Kampala", "Arusha", "Mwanza"]
    generator = random.Random(0)
    rows = []
    for number in range(count):
        person, other = people[number % 8], people[(number + 3) % 8]
        home, away = generator.sample(cities, 2)
        context = f"{person} travelled to {home} yesterday. {other} works in {away}."
        rows.append(one(f"Where did {person} travel?", context, home))
    return dataset_of(*rows)


@pytest.fixture(params=BACKBONES)
def reader(request, tiny_teacher_dirs):
    """A model with a random span head that tells words apart, and its tokenizer."""
    folder = str(tiny_teacher_dirs[request.param])
    torch.manual_seed(0)
    model = load_task_model("question-answering", folder, num_hidden_layers=2)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_()
        model.qa_outputs.weight.normal_()
    return model, load_tokenizer(folder)


def test_batches_hold_the_positions_as_one_number_a_feature(reader):
    model, tokenizer = reader
    features = QA.encode(city_questions(5), tokenizer, (), 64)
    batch = PaddingCollator(tokenizer.pad_token_id)([features[row] for row in range(len(features))])
    for name in QA.label_columns:
        assert batch[name].tolist() == features[name][:]
    assert set(batch) == {*tokenizer.model_input_names, *QA.label_columns}
    assert torch.isfinite(model(**batch).loss)


def test_predictions_do_not_depend_on_batches_and_are_written_as_text(reader, monkeypatch, tmp_path):
    model, tokenizer = reader
    dataset = city_questions(6)
    features = QA.encode(dataset, tokenizer, (), 24)
    assert len(features) > len(dataset)
    model.eval()
    with torch.no_grad():
        outputs = [model(input_ids=torch.tensor([ids])) for ids in features["input_ids"]]
    logits = [torch.stack([one.start_logits[0], one.end_logits[0]], dim=-1).numpy() for one in outputs]
    expected = QA.decode(features, logits, dataset, ())
    for size in (1, 100, 10**6):
        monkeypatch.setattr(predicting, "PADDED_TOKENS_AT_A_TIME", size)
        assert predict(model, tokenizer, QA, dataset, (), max_length=24) == expected
    write_predictions(tmp_path / "predictions.jsonl", expected)
    lines = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == expected


def test_a_model_learns_eight_questions_by_heart_and_is_scored_on_them(reader, tmp_path):
    model, tokenizer = reader
    dataset = city_questions(8)

    features = QA.encode(dataset, tokenizer, (), 64)

    def compute_metrics(prediction):
        found = QA.decode(features, list(np.stack(prediction.predictions, axis=-1)), dataset, ())
        return {"f1": float(QA.main_score(QA.statistics(dataset, found).sum(axis=0)))}

    args = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=60,
        learning_rate=1e-2,
        per_device_train_batch_size=8,
        eval_strategy="steps",
        eval_steps=30,
        save_strategy="no",
        **QUIET,
    )
    trainer = TaskFineTuningTrainer(
        model,
        args,
        train_dataset=features,
        eval_dataset=features,
        data_collator=PaddingCollator(tokenizer.pad_token_id),
        compute_metrics=compute_metrics,
    )
    trainer.train()
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in dataset), encoding="utf-8")
    test = TestSet("sw", "target", LabelledSource(path=str(rows)))
    result, predictions = evaluate_model(model, tokenizer, QA, test, (), name="reader", training=dataset, max_length=64)
    assert result.score > 0.9
    assert result.metric == "f1"
    assert result.score == pytest.approx(QA.score(dataset, predictions)["f1"])
    assert result.low <= result.score <= result.high
    assert result.trivial < 0.7
    evaluated = [entry["eval_f1"] for entry in trainer.state.log_history if "eval_f1" in entry]
    assert evaluated[-1] == pytest.approx(result.score)


def test_sparse_distillation_leaves_a_delta_that_moves_the_student_to_its_teacher(reader, tmp_path):
    teacher, tokenizer = reader
    torch.manual_seed(1)
    student = load_task_model("question-answering", teacher.config.name_or_path, num_hidden_layers=1)
    args = SparseTaskDistillationArguments(
        output_dir=str(tmp_path),
        max_steps=12,
        dense_max_steps=6,
        learning_rate=5e-3,
        per_device_train_batch_size=4,
        save_strategy="no",
        logging_steps=3,
        **QUIET,
    )
    trainer = SparseTaskDistillationTrainer(
        student,
        args,
        teacher=teacher,
        train_dataset=QA.encode(city_questions(8), tokenizer, (), 64),
        data_collator=PaddingCollator(tokenizer.pad_token_id),
    )
    trainer.train()
    losses = [entry["logits_loss"] for entry in trainer.state.log_history if "logits_loss" in entry]
    assert losses[-1] < losses[0]
    assert trainer.delta.entries > 0
    assert trainer.delta.metadata["head"] == "question-answering"
