"""Phase 2 on text of the target language: which lines, what counts of them, and what depends on it."""

import json
from collections import Counter

import pytest
import torch
from compared import small_pair
from doc_pages import claimed
from doc_pages import given as command_given
from hypothesis import given
from hypothesis import strategies as st
from transformers.modeling_outputs import QuestionAnsweringModelOutput, SequenceClassifierOutput
from untrained import tokenizer_for

from bistill_hub import InputError, run
from bistill_hub.comparison.contenders import CONTENDERS
from bistill_hub.distillation.heads import answer_count, distilled_loss
from bistill_hub.pipeline.packaging import labelled_row
from bistill_hub.pipeline.plan import plan
from bistill_hub.pipeline.smoke import smoke_recipe
from bistill_hub.pipeline.target_text import sample_lines, with_unlabelled
from bistill_hub.tasks import get_task
from bistill_hub.tasks.token_classification import words_of

SHARE = "tasks.ner.distillation.target_share"
(COMMAND,) = claimed(__name__, "docs/training.md#text-of-the-target-language")


class TestLines:
    def test_every_line_is_as_likely_as_any_other(self):
        times = Counter(line for seed in range(2000) for line in sample_lines(iter("abcdefghij"), 4, seed))
        assert set(times) == set("abcdefghij")
        assert all(700 < count < 900 for count in times.values()), times  # 800 +- 22

    def test_the_seed_decides_which_ones_and_their_order(self):
        lines = [str(number) for number in range(100)]
        drawn = sample_lines(lines, 20, 3)
        assert drawn == sample_lines(lines, 20, 3)
        assert drawn != sample_lines(lines, 20, 4)
        assert len(set(drawn)) == 20
        assert drawn != sorted(drawn, key=int)

    def test_a_text_with_fewer_lines_is_taken_whole(self):
        assert sorted(sample_lines(iter("abc"), 9, 0)) == ["a", "b", "c"]


class TestWords:
    def test_punctuation_around_a_word_stands_by_itself_and_within_one_stays(self):
        assert words_of("“Ng'ombe” wa Dar-es-Salaam, haijakwama... (3.5%)") == [
            *("“", "Ng'ombe", "”", "wa", "Dar-es-Salaam", ",", "haijakwama", ".", ".", ".", "(", "3.5", "%", ")")
        ]

    def test_marks_that_combine_with_a_letter_stay_with_it(self):
        assert words_of("नमस्ते दुनिया।") == ["नमस्ते", "दुनिया", "।"]

    @given(st.text())
    def test_nothing_is_lost_or_added(self, line):
        words = words_of(line)
        assert "".join(words) == "".join(line.split())
        assert all(words)


TOKENIZER = tokenizer_for("bert")
LABELLED = {
    "ner": ({"tokens": [["Rais", "wa", "Kenya"]], "tags": [["O", "O", "B-LOC"]]}, ("O", "B-LOC")),
    "nli": ({"premise": ["Rais"], "hypothesis": ["Kenya"], "label": ["neutral"]}, ("entailment", "neutral")),
    "qa": (
        {"id": ["1"], "question": ["Wapi?"], "context": ["wa Kenya"]}
        | {"answers": [{"text": ["Kenya"], "answer_start": [3]}]},
        (),
    ),
}


class TestInputs:
    @pytest.mark.parametrize("name", LABELLED)
    def test_they_can_stand_behind_the_labelled_ones(self, name):
        from datasets import Dataset

        task, (rows, labels) = get_task(name), LABELLED[name]
        labelled = task.encode(Dataset.from_dict(rows), TOKENIZER, labels, 32)
        unlabelled = task.encode_unlabelled(["Rais wa Kenya.", "Kenya"], TOKENIZER, labels, 32)
        assert set(unlabelled.column_names) == set(labelled.column_names) - set(task.decode_columns)
        both = with_unlabelled(task, labelled, unlabelled)
        assert len(both) == len(labelled) + 2
        assert both[-2]["input_ids"] == TOKENIZER("Rais wa Kenya.")["input_ids"]
        assert both[0] == {column: labelled[0][column] for column in both.column_names}

    def test_a_tagger_is_asked_about_the_first_sub_word_of_each_word(self):
        (row,) = get_task("ner").encode_unlabelled(["Raisi wa Kenya."], TOKENIZER, ("O", "B-LOC"), 32)
        words = TOKENIZER(["Raisi", "wa", "Kenya", "."], is_split_into_words=True).word_ids()
        assert len(words) > 6, "some word has several sub-words"
        firsts = [word is not None and word not in words[:place] for place, word in enumerate(words)]
        assert [label != -100 for label in row["labels"]] == firsts

    @pytest.mark.parametrize("name", ["nli", "qa"])
    def test_of_other_tasks_nothing_is_asked_and_long_lines_are_cut(self, name):
        task = get_task(name)
        (row,) = task.encode_unlabelled(["Rais wa Kenya " * 20], TOKENIZER, ("entailment", "neutral"), 16)
        assert len(row["input_ids"]) == 16
        assert [row[column] for column in task.label_columns] == [-100] * len(task.label_columns)

    def test_a_length_without_room_is_refused(self):
        with pytest.raises(InputError, match="max_length"):
            get_task("nli").encode_unlabelled(["Rais"], TOKENIZER, ("neutral",), 2)


class TestLoss:
    def test_what_has_no_label_does_not_count_for_a_classifier(self):
        ours, theirs = torch.randn(2, 4, 3).unbind()
        inputs = {"labels": torch.tensor([1, -100, 0, -100]), "attention_mask": torch.ones(4, 5)}
        head, kept = "sequence-classification", [0, 2]
        assert answer_count(inputs, head) == 2
        found = distilled_loss(
            SequenceClassifierOutput(logits=ours), SequenceClassifierOutput(logits=theirs), inputs, head, 2.0
        )
        of_labelled = torch.nn.functional.cross_entropy(ours[kept] / 2, (theirs[kept] / 2).softmax(-1))
        assert found.item() == pytest.approx(of_labelled.item(), rel=1e-6)

    def test_what_asks_nothing_does_not_count_for_answers(self):
        ours, theirs = torch.randn(2, 2, 4, 5).unbind()
        inputs = {"start_positions": torch.tensor([-100, 2, 3, -100]), "attention_mask": torch.ones(4, 5)}
        head, kept = "question-answering", [1, 2]
        assert answer_count(inputs, head) == 2
        outputs = [QuestionAnsweringModelOutput(start_logits=one[0], end_logits=one[1]) for one in (ours, theirs)]
        found = distilled_loss(*outputs, inputs, head, 2.0)
        of_labelled = sum(
            torch.nn.functional.cross_entropy(mine[kept] / 2, (his[kept] / 2).softmax(-1))
            for mine, his in zip(ours, theirs, strict=True)
        )
        assert found.item() == pytest.approx(of_labelled.item(), rel=1e-6)

    def test_a_batch_of_text_alone_has_no_loss_of_logits(self):
        inputs = {"labels": torch.tensor([-100, -100]), "attention_mask": torch.ones(2, 5)}
        made = SequenceClassifierOutput(logits=torch.randn(2, 3, requires_grad=True))
        assert distilled_loss(made, made, inputs, "sequence-classification", 2.0).item() == 0


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return small_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def folder(pair, tmp_path_factory):
    """A run without target text, up to phase 2. What is done in it later does that again alone."""
    folder = tmp_path_factory.mktemp("run") / "out"
    run(pair, folder, until="ner-phase-2", progress=False)
    return folder


def phase_2(folder):
    return json.loads((folder / "ner-phase-2" / "manifest.json").read_text())


def test_a_run_reads_as_many_lines_as_the_share_says_in_the_updates_that_were_planned(pair, folder):
    without = phase_2(folder)
    assert "target_text" not in without["inputs"]
    assert "target_share" not in without["inputs"]["settings"], "what was finished before there was a share stays so"
    sharing = pair.replace({SHARE: 0.6})
    planned = {stage.slug: stage for stage in plan(sharing, folder, trial=False).stages}
    assert {slug for slug in ("student", "phase-1", "ner-teacher") if planned[slug].state != "finished"} == set()
    run(sharing, folder, until="ner-phase-2", progress=False)
    made = phase_2(folder)
    assert made["facts"]["target_text_inputs"] == 72  # 48 sentences are the other 40 %
    assert made["facts"]["settings"]["target_share"] == 0.6
    told = labelled_row(sharing.tasks[0], sharing.target, made["facts"])
    assert told == {
        "train": "en.train.conll",
        "validation": "en.dev.conll",
        "unlabelled": "72 inputs of Swahili text, sw.txt",
    }
    assert "unlabelled" not in labelled_row(pair.tasks[0], pair.target, without["facts"])
    updates = max(entry["step"] for entry in made["facts"]["curve"])
    assert updates == 2 * (48 + 72) / 8
    assert planned["ner-phase-2"].updates == 1.5 * updates  # an epoch of the dense stage, two of the sparse
    assert made["outputs"] != without["outputs"]


def test_the_command_of_the_page_reads_as_many_lines_as_there_are_labelled_inputs(pair, tmp_path, monkeypatch):
    script = f"from bistill_hub import Recipe\n\nRECIPE = Recipe.make({pair.model_dump(mode='json')!r})\n"
    (tmp_path / "en_sw_mine.py").write_text(script, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (words,) = COMMAND.commands
    command_given(words, "--until", "ner-phase-2", "--output", "out", "--quiet")
    assert phase_2(tmp_path / "out")["facts"]["target_text_inputs"] == 48


def test_another_text_makes_another_delta(pair, folder, tmp_path):
    sharing = pair.replace({SHARE: 0.5})
    run(sharing, folder, until="ner-phase-2", progress=False)
    before = phase_2(folder)
    assert before["inputs"]["target_text"]["path"] != pair.target.text.path, "the hash of what is in it"
    shorter = tmp_path / "sw.txt"
    shorter.write_text("\n".join(list(pair.target.text.lines())[:20]) + "\n")
    run(sharing.replace({"target.text": str(shorter)}), folder, until="ner-phase-2", progress=False)
    assert phase_2(folder)["facts"]["target_text_inputs"] == 20
    assert phase_2(folder)["inputs"]["target_text"] != before["inputs"]["target_text"]


def test_a_sample_has_as_many_updates_with_it_as_without(pair):
    with_text = smoke_recipe(pair.replace({SHARE: 0.5})).tasks[0].distillation
    without = smoke_recipe(pair).tasks[0].distillation
    assert with_text.sparse_epochs == pytest.approx(without.sparse_epochs / 2)


def test_labels_alone_are_learnt_in_as_many_updates(pair):
    sharing = pair.replace({SHARE: 0.75})
    for name in ("student_fine_tuned", "teacher_sft"):
        settings = CONTENDERS[name].recipe(sharing).tasks[0].distillation
        assert (settings.target_share, settings.sparse_epochs) == (0, 4 * sharing.tasks[0].distillation.sparse_epochs)
    published = CONTENDERS["distilmbert"].recipe(sharing).tasks[0].teacher
    assert published.epochs == 4 * sharing.tasks[0].distillation.sparse_epochs


def test_it_is_refused_where_nothing_would_be_learnt_of_it_or_the_teacher_speaks_the_other_language(pair, tmp_path):
    with pytest.raises(InputError, match=r"target_share = 0\.5.*learn from the teacher"):
        pair.replace({SHARE: 0.5, "tasks.ner.distillation.learns_from": "labels"})
    worn = {SHARE: 0.5, "teacher.language_deltas": {"en": "org/delta@main"}}
    with pytest.raises(InputError, match=r"tasks\.ner\.distillation\.target_share = 0\.5.*wears"):
        pair.replace(worn)
    assert pair.replace({**worn, "tasks.ner.teacher.model": "org/tuned"}), "which is taken as it is, without any SFT"
    gone = pair.replace({SHARE: 0.5, "target.text": str(tmp_path / "gone.txt")})
    with pytest.raises(InputError, match=r"target\.text.*no such file"):
        plan(gone, tmp_path, trial=False)
