"""The commands and snippets of docs/evaluation.md do what it says; its table of benchmarks is the catalogue.

With BISTILL_UPDATE_DOCS=1 the table is written.
"""

import json
import os
import re
import shutil

import pytest
import torch
from doc_pages import ROOT, claimed, executed, given
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification, AutoTokenizer
from untrained import untrained

from bistill_hub.evaluation.benchmarks import BENCHMARKS
from bistill_hub.evaluation.predicting import SLICE_EXAMPLES
from bistill_hub.evaluation.results import read_results
from bistill_hub.hub.repository import PairModel, write_model
from bistill_hub.model.sparse_delta import SparseDelta
from bistill_hub.tasks import available_tasks, get_task

DOCS = ROOT / "docs" / "evaluation.md"
GUIDE = DOCS.read_text(encoding="utf-8")
SNIPPETS = claimed(__name__, "docs/evaluation.md")
COMMANDS = [command for snippet in SNIPPETS if snippet.language == "bash" for command in snippet.commands]
PYTHON = [snippet for snippet in SNIPPETS if snippet.language == "python"]
LABELS = ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
MANY = 12
"""As many languages are listed; of more their number is told."""


@pytest.fixture
def place(ner_files, tmp_path, monkeypatch):
    """A packaged pair with random weights and a delta, a teacher, and test sets, under the names of the guide."""
    torch.manual_seed(0)
    base = untrained("bert", tmp_path / "base")
    tuned = AutoModelForTokenClassification.from_pretrained(base, id2label=dict(enumerate(LABELS)))
    start = {name: tensor.clone() for name, tensor in tuned.state_dict().items() if name.startswith("bert.")}
    tokenizer = AutoTokenizer.from_pretrained(base)
    tuned.save_pretrained(tmp_path / "teacher")
    tokenizer.save_pretrained(tmp_path / "teacher")
    with torch.no_grad():
        tuned.classifier.weight.normal_()
        tuned.bert.embeddings.word_embeddings.weight[10:90] += 0.5
    metadata = {"head": "token-classification", "labels": list(LABELS)}
    delta = SparseDelta.from_models(start, tuned, metadata=metadata)
    state = load_file(base / "model.safetensors")
    model = PairModel(tuned.config, "en", "sw", tuple(range(tuned.config.num_hidden_layers)), {})
    write_model(tmp_path / "runs/mine/package/repository", model, state, tokenizer, {"ner": delta})
    for code in ("en", "sw"):
        shutil.copyfile(ner_files[code]["test"], tmp_path / f"test.{code}.conll")
    shutil.copyfile(ner_files["en"]["train"], tmp_path / "train.en.conll")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def test_a_pair_is_scored_and_scored_again_without_a_model(place, capsys):
    evaluate, again = COMMANDS
    assert (evaluate[1], again[1]) == ("eval", "score")
    given(evaluate, "--quiet")
    results = {(result.model, result.language): result for result in read_results(place / "scores.json")}
    for model, language in results:
        assert (place / "kept" / f"{model}.{language}.jsonl").is_file()
    output = given(again)
    student, teacher = json.loads((place / "again.json").read_text())["scores"]
    for found, model in ((student, "student"), (teacher, "teacher")):
        expected = results[model, "sw"]
        score = found["score"]
        assert (score["score"], score["low"], score["high"]) == (expected.score, expected.low, expected.high)
        assert f"{100 * expected.score:.1f}" in output
    assert student["against_teacher"]["difference"] == results["student", "sw"].against_teacher.difference

    answers, benchmarks, another, scoring = PYTHON
    for code in (answers, benchmarks):
        assert code.count("assert ") >= 3
        executed(code)
    executed(another)
    assert f"{results['teacher', 'sw'].score:.3f} (" in capsys.readouterr().out
    assert (place / "kept/another.sw.jsonl").read_bytes() == (place / "kept/teacher.sw.jsonl").read_bytes()
    executed(scoring)
    assert capsys.readouterr().out.split()[0] == str(results["student", "sw"].score)


def test_the_guide_names_every_task_its_metric_and_the_size_of_a_slice():
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+)", GUIDE, re.MULTILINE))
    assert set(rows) == set(available_tasks())
    assert {name: metric.lower() for name, metric in rows.items()} == {
        name: get_task(name).main_metric for name in rows
    }
    assert f"slices of {SLICE_EXAMPLES:,} examples" in GUIDE


def test_the_table_of_benchmarks_is_the_catalogue():
    begin, end = "<!-- benchmarks: written by tests/test_evaluation_guide.py -->\n\n", "\n<!-- end of benchmarks -->\n"
    assert GUIDE.count(begin) == GUIDE.count(end) == 1
    before, _, rest = GUIDE.partition(begin)
    written, _, after = rest.partition(end)
    if os.environ.get("BISTILL_UPDATE_DOCS"):
        DOCS.write_text(f"{before}{begin}{_table()}{end}{after}", encoding="utf-8")
    else:
        assert written == _table()


def _table():
    columns = ("name", "task", "data set", "languages", "splits", "answers compared by", "licence", "unverified")
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for entry in BENCHMARKS.values():
        codes = list(entry.languages)
        splits = [name if name == there else f"{name} ({there})" for name, there in entry.splits.items()]
        compared = {True: "MLQA's rules", False: "SQuAD's rules"}[entry.answers_by_language]
        cells = (
            f"`{entry.name}`",
            f"`{entry.task}`",
            ", ".join([entry.dataset, _parts(entry), *([f"branch {entry.revision}"] if entry.revision else [])]),
            ", ".join(codes) if len(codes) <= 2 * MANY else f"{len(codes)}, such as {', '.join(codes[:MANY])}",
            ", ".join(splits),
            compared if entry.task == "qa" else "",
            entry.licence,
            ", ".join(entry.unverified),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _parts(entry):
    """How a language's part of a data set is told from others."""
    if entry.in_ids:
        return f"{entry.config}, by the questions' ids"
    if len(entry.languages) == 1:
        return next(iter(entry.languages.values()))
    return f"a {'folder' if entry.in_folders else 'configuration'} a language"
