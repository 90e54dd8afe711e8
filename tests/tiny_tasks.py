"""A few labelled examples of each task out of the miniature world, as files: enough to take every stage for real."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from miniature import LANGUAGES, Token, sentences, text, write_conll, write_lines

COUNTS = {"train": 8, "dev": 4, "test": 4}
LABELS = ("entailment", "neutral", "contradiction")


def write_tasks(folder: Path) -> Mapping[str, Mapping[str, str]]:
    """Write the examples; return by task the four sources of a recipe (trained in English, tested in both)."""
    files: dict[str, dict[str, str]] = {task: {} for task in ("ner", "pos", "nli", "qa")}
    for language in LANGUAGES:
        made = iter(sentences(language, sum(COUNTS.values()), seed=2))
        for split, count in COUNTS.items():
            tagged = [next(made) for _ in range(count)]
            place = folder / language
            written = {
                "ner": write_conll(place / f"ner.{split}.conll", tagged),
                "pos": write_conll(place / f"pos.{split}.conll", [_parts_of_speech(each) for each in tagged]),
                "nli": write_lines(place / f"nli.{split}.tsv", _judged(tagged)),
                "qa": write_lines(place / f"qa.{split}.json", [json.dumps(_asked(tagged))]),
            }
            field = {"train": "train", "dev": "validation", "test": "test_source"}[split]
            if language == "sw":
                field = "test_target"
            for task, file in written.items():
                if language == "en" or split == "test":
                    files[task][field] = str(file)
    return files


def _parts_of_speech(sentence: list[Token]) -> list[Token]:
    return [
        (word, "PROPN" if tag != "O" else "PUNCT" if not word[0].isalnum() else "NOUN" if len(word) > 3 else "ADP")
        for word, tag in sentence
    ]


def _judged(tagged: list[list[Token]]) -> list[str]:
    rows = ["premise\thypothesis\tlabel"]
    for number, sentence in enumerate(tagged):
        rows.append("\t".join((text(sentence), text(sentence[:3]), LABELS[number % len(LABELS)])))
    return rows


def _asked(tagged: list[list[Token]]) -> dict[str, object]:
    paragraphs = []
    for number, sentence in enumerate(tagged):
        context = text(sentence)
        name = next(word for word, tag in sentence if tag.startswith("B"))
        answer = {"text": name, "answer_start": context.index(name)}
        question = {"id": f"q{number}", "question": "Who or where?", "answers": [answer]}
        paragraphs.append({"context": context, "qas": [question]})
    return {"data": [{"title": "miniature", "paragraphs": paragraphs}]}
