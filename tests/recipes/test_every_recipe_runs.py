"""Every shipped recipe runs, unchanged but for its size, on stand-ins that are made from what it names on the Hub.

One recipe of each teacher is looked at closely in test_families_run.py, which the quick tests include.
"""

import miniature
import pytest
from datasets import Dataset, Features, List, Value
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


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_runs_to_its_package_and_scores_both_languages(name, tmp_path, monkeypatch):
    recipe = load_recipe(name)
    backbone, kind, size = TEACHERS[recipe.teacher.model]
    lines = [miniature.text(each) for language in ("en", "sw") for each in sentences_of(language)]
    tokenizer = KINDS[kind](lines, size)
    special = {each: getattr(tokenizer, each) for each in SPECIAL_IDS}
    teacher = tiny_model(class_of(backbone, "ForMaskedLM"), len(tokenizer), special_ids=special)
    for part in (teacher, tokenizer):
        part.save_pretrained(tmp_path / recipe.teacher.model)
    lay_out_text(tmp_path, recipe)
    lay_out_labels(tmp_path, recipe)
    lay_out_deltas(tmp_path, recipe, backbone, teacher)
    monkeypatch.chdir(tmp_path)
    task_size = {f"tasks.{task.name}.{field}": value for task in recipe.tasks for field, value in TASK_SIZE.items()}
    done = run(recipe.replace({**SIZE, **task_size}), tmp_path / "run", progress=False)
    assert (done.repository / "README.md").is_file()
    scored = {(result.task, result.model, result.language) for result in done.results}
    assert scored == {
        (task.name, model, language.code)
        for task in recipe.tasks
        for model in ("teacher", "student")
        for language in recipe.languages
    }
    assert all(result.n == COUNTS["test"] for result in done.results if result.task in ("nli", "ner"))
