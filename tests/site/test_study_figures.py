"""The figures in the studies' sentences are those of their tables."""

import csv
import re
from collections import defaultdict

import pytest
from studies import FOLDER

PAGES = ["en-sw", "en-sw-sparse-teacher", "en-sw-ablations", "en-yo"]
MARKED = re.compile(r"<!-- (\w+): written by.*?<!-- end of \1 -->", re.DOTALL)
VALUES = (("score", "low", "high"), ("retention", "retention_low", "retention_high"))
NUMBER = r"[-+]?\d+(?:\.\d+)?"
WITH_INTERVAL = re.compile(rf"({NUMBER})(?: %| points?)?(?: more| less)?\**\s+\[({NUMBER}), ({NUMBER})\]")
ONE_FOR_ANOTHER = re.compile(r"(?<![\d.])(\d+\.\d) for (\d+\.\d)(?![\d.])")


def sentences(page):
    """What was written by hand on what was found."""
    section = (FOLDER / f"{page}.md").read_text(encoding="utf-8").partition("\n## What was found\n")[2]
    return MARKED.sub("", section.partition("\n## ")[0])


def in_percent(value):
    return f"{100 * float(value):.1f}"


def rows_of(page, name):
    with (FOLDER / page / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def intervals_of(page):
    """What the tables of a study give, in %: each value with its interval, differences in either direction."""
    found = set()
    for name in ("comparison.csv", *(file.name for file in (FOLDER / page).glob("trials.csv"))):
        for row in rows_of(page, name):
            found |= {tuple(in_percent(row[each]) for each in value) for value in VALUES if all(map(row.get, value))}
    for row in rows_of(page, "beside.csv"):
        value, low, high = (100 * float(row[name]) for name in ("difference", "low", "high"))
        found |= {tuple(f"{each:.1f}" for each in ends) for ends in ((value, low, high), (-value, -high, -low))}
    return found


def scores_by_seed():
    """Scores in % of all studies, by task, role and seed; under None the means over seeds, and the trivial baseline."""
    found = defaultdict(set)
    for row in (row for page in PAGES for row in rows_of(page, "comparison.csv")):
        found[row["task"], row["role"], None] |= {in_percent(row["score"]), in_percent(row["trivial"])}
        for seed, score in zip(row["seeds"].split(), row["by_seed"].split(), strict=True):
            found[row["task"], row["role"], seed].add(in_percent(score))
    return found


def bare(number):
    return f"{float(number):.1f}"


@pytest.mark.parametrize("page", PAGES)
def test_what_stands_with_an_interval_is_in_the_tables(page):
    """Of that page, or of another study where a sentence compares with it."""
    known = set().union(*map(intervals_of, PAGES))
    said = [tuple(map(bare, match.groups())) for match in WITH_INTERVAL.finditer(sentences(page))]
    assert len(said) > 4
    assert [each for each in said if each not in known] == []


def test_one_score_for_another_is_of_the_same_seed_and_test_set():
    known = scores_by_seed().values()
    said = [(page, *match.groups()) for page in PAGES for match in ONE_FOR_ANOTHER.finditer(sentences(page))]
    assert len(said) > 30
    assert [(page, *pair) for page, *pair in said if not any(each.issuperset(pair) for each in known)] == []
