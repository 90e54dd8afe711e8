"""Every shipped recipe runs, unchanged but for its size, on stand-ins that are made from what it names on the Hub.

One recipe of each teacher is looked at closely in test_families_run.py, which the quick tests include. The commands of
docs/recipes.md for a teacher whose weights are pickled are given here too.
"""

import json
import shutil
from pathlib import Path

import miniature
import pytest
import torch
from datasets import Dataset, Features, List, Value
from doc_pages import assigned, changed, given
from hubserver.visitor import client, serving
from safetensors.torch import load_file
from test_families_run import (
    COUNTS,
    LABELS,
    LINES,
    SIZE,
    TAGS,
    TASK_SIZE,
    configured,
    converted,
    language_sfts,
    ner_rows,
    nli_rows,
    qa_rows,
    sentences,
    task_sft,
    wikipedia_rows,
)
from tiny_models import SPECIAL_IDS, class_of, tiny_model
from tokenizer_kinds import KINDS

from bistill_hub import run
from bistill_hub.recipe import load_recipe
from bistill_hub.resources import resource_dir

pytestmark = pytest.mark.whole

RECIPES = sorted(file.stem for file in resource_dir("recipes").glob("*.py"))
TEACHERS = {
    "google-bert/bert-base-multilingual-cased": ("bert", "wordpiece", 500),
    "FacebookAI/xlm-roberta-base": ("xlm-roberta", "unigram", 500),
    "microsoft/mdeberta-v3-base": ("deberta-v2", "deberta unigram", 500),
    "jhu-clsp/mmBERT-base": ("modernbert", "byte-fallback bpe", 1024),
}
"""Backbone, kind of tokenizer and number of tokens of each teacher's stand-in."""

FURTHER_TAGS = {"eriktks/conll2003": ("B-MISC", "I-MISC"), "BramVanroy/universal_ner": ()}
"""Tags beside those of people, places and organisations; dates, where nothing is said."""

HEADS = {"ner": ("ForTokenClassification", TAGS), "nli": ("ForSequenceClassification", LABELS)}
"""Head and labels of the tasks that have published SFTs."""

CONVERT, RUN = (command for snippet in assigned(__name__) for command in snippet.commands)

PARQUET = "refs/convert/parquet"


def pos_rows(language, split):
    tags = {"O": "VERB", "PER": "PROPN", "LOC": "PROPN", "ORG": "PROPN"}
    tagged = sentences(language, split)
    rows = {
        "tokens": [[token for token, _ in sentence] for sentence in tagged],
        "upos": [["PUNCT" if token == "." else tags[tag[2:] or "O"] for token, tag in sentence] for sentence in tagged],
    }
    texts = List(Value("string"))
    return Dataset.from_dict(rows, features=Features({"tokens": texts, "upos": texts}))


def rows_of(task, source, language):
    """As many rows as the split has here, under the names that the data set has on the Hub."""
    split = {"train": "train", "test": "test"}.get(source.split, "validation")
    if task == "ner":
        return ner_rows(language, split, further=FURTHER_TAGS.get(source.dataset, ("B-DATE", "I-DATE")))
    if task == "qa":
        rows = qa_rows(language, split)
        prefix = source.where.get("id", "*").rstrip("*")
        return rows.map(lambda row: {"id": f"{prefix}{row['id']}"})
    return {"pos": pos_rows, "nli": nli_rows}[task](language, split)


def lay_out_labels(folder, recipe):
    """Each data set with the configurations, folders and splits that the recipe reads."""
    parts = {}
    for task in recipe.tasks:
        for field, source in task.sources.items():
            language = "sw" if field == "test_target" else "en"
            config = source.data_dir or source.config or source.dataset.rpartition("/")[2]
            layout = converted if source.revision == PARQUET else configured
            rows = rows_of(task.name, source, language)
            if "*" in source.where.get("id", ""):  # one split holds several languages
                before = parts.get(source.dataset, (layout, {}))[1].get((config, source.split))
                rows = rows if before is None else Dataset.from_list([*before, *rows], features=rows.features)
            parts.setdefault(source.dataset, (layout, {}))[1][config, source.split] = rows
    for dataset, (layout, of_dataset) in parts.items():
        layout(folder / dataset, of_dataset)


def lay_out_text(folder, recipe):
    tables = {}
    for language, spoken in zip(recipe.languages, ("en", "sw"), strict=True):
        text = language.text
        if text.dataset is None:
            lines = [miniature.text(sentence) for sentence in sentences_of(spoken)]
            miniature.write_lines(folder / text.path, lines)
        else:
            tables.setdefault(text.dataset, {})[text.config, text.split] = wikipedia_rows(spoken)
    for dataset, parts in tables.items():
        configured(folder / dataset, parts)


def sentences_of(language):
    return miniature.sentences(language, LINES)


def lay_out_deltas(folder, recipe, backbone, teacher):
    """What the teacher wears of languages, and what it knows of tasks."""
    if worn := recipe.teacher.language_deltas:
        language_sfts(folder, teacher, [name.rpartition("/")[2] for name in worn.values()])
    for task in recipe.tasks:
        if task.teacher.delta is not None:
            head, labels = HEADS[task.name]
            task_sft(folder, teacher, backbone, head, task.teacher.delta.rpartition("/")[2], len(labels))


def lay_out(folder, recipe):
    """All that a recipe names on the Hub, where it is found as a folder of that name."""
    backbone, kind, size = TEACHERS[recipe.teacher.model]
    lines = [miniature.text(each) for language in ("en", "sw") for each in sentences_of(language)]
    tokenizer = KINDS[kind](lines, size)
    special = {each: getattr(tokenizer, each) for each in SPECIAL_IDS}
    teacher = tiny_model(class_of(backbone, "ForMaskedLM"), len(tokenizer), special_ids=special)
    for part in (teacher, tokenizer):
        part.save_pretrained(folder / recipe.teacher.model)
    lay_out_text(folder, recipe)
    lay_out_labels(folder, recipe)
    lay_out_deltas(folder, recipe, backbone, teacher)


def size_of(recipe):
    """Changes that make it small."""
    return SIZE | {f"tasks.{task.name}.{field}": value for task in recipe.tasks for field, value in TASK_SIZE.items()}


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_runs_to_its_package_and_scores_both_languages(name, tmp_path, monkeypatch):
    recipe = load_recipe(name)
    lay_out(tmp_path, recipe)
    monkeypatch.chdir(tmp_path)
    done = run(recipe.replace(size_of(recipe)), tmp_path / "run", progress=False)
    assert (done.repository / "README.md").is_file()
    scored = {(result.task, result.model, result.language) for result in done.results}
    assert scored == {
        (task.name, model, language.code)
        for task in recipe.tasks
        for model in ("teacher", "student")
        for language in recipe.languages
    }
    assert all(result.n == COUNTS["test"] for result in done.results if result.task in ("nli", "ner"))


def test_a_pickled_teacher_is_converted_and_distilled_by_the_commands_of_the_guide(tmp_path, monkeypatch):
    recipe = load_recipe(RUN[2])
    lay_out(tmp_path, recipe)
    monkeypatch.chdir(tmp_path)
    teacher = shutil.move(tmp_path / recipe.teacher.model, tmp_path / "pickled")
    weights = load_file(teacher / "model.safetensors")
    torch.save(weights, teacher / "pytorch_model.bin")
    (teacher / "model.safetensors").unlink()
    with serving(monkeypatch, tmp_path / "home") as hub, monkeypatch.context() as connected:
        owner, _, _ = recipe.teacher.model.partition("/")
        hub.organization(owner, alice="write")
        api = client(hub, "alice")
        api.create_repo(recipe.teacher.model)
        api.upload_folder(repo_id=recipe.teacher.model, folder_path=teacher)
        connected.setenv("HF_TOKEN", hub.user("alice").token)
        given(CONVERT)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    converted = load_file(tmp_path / CONVERT[3] / "model.safetensors")
    assert all(torch.equal(converted[name], weight) for name, weight in weights.items() if name in converted)
    given(RUN, *changed(**{name.replace(".", "__"): value for name, value in size_of(recipe).items()}), "--quiet")
    repository = tmp_path / "runs" / recipe.name / "package" / "repository"
    content = json.loads((repository / "recipe.json").read_text(encoding="utf-8"))
    assert content["teacher"]["model"] == Path(CONVERT[3]).name
