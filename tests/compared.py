"""A pair as small as it can be, for comparisons: a teacher of two layers that nobody has trained, a student of one."""

from pathlib import Path
from typing import Any

import miniature
from untrained import untrained

from bistill_hub.recipe import Recipe

_SPLITS = {"train": 48, "dev": 16, "test": 24}


def small_pair(home: Path, **fields: Any) -> Recipe:
    """Write text, labels and teacher into a folder, and describe the pair.

    Args:
        home: The folder.
        fields: Of the recipe, beside or instead of those here.
    """
    home.mkdir(parents=True, exist_ok=True)
    text, tests = {}, {}
    for code in miniature.LANGUAGES:
        lines = [miniature.text(sentence) for sentence in miniature.sentences(code, 80)]
        text[code] = str(miniature.write_lines(home / f"{code}.txt", lines))
        tagged = iter(miniature.sentences(code, sum(_SPLITS.values()), seed=1))
        tests[code] = {
            split: str(miniature.write_conll(home / f"{code}.{split}.conll", [next(tagged) for _ in range(count)]))
            for split, count in _SPLITS.items()
        }
    return Recipe.make(
        {
            "name": "bistill-en-sw-compared",
            "source": {"code": "en", "name": "English", "text": text["en"]},
            "target": {"code": "sw", "name": "Swahili", "text": text["sw"]},
            "teacher": {"model": str(untrained("bert", home / "teacher"))},
            "license": "apache-2.0",
            "limits": "Made of a miniature world, for tests.",
            "bilingual": {"steps": 2, "batch_size": 4, "block_size": 32, "evaluation_every": 2},
            "tasks": [
                {
                    "name": "ner",
                    "train": tests["en"]["train"],
                    "validation": tests["en"]["dev"],
                    "test_source": tests["en"]["test"],
                    "test_target": tests["sw"]["test"],
                    "max_length": 64,
                    "teacher": {"epochs": 8, "batch_size": 4, "learning_rate": 5e-3},
                    "distillation": {"dense_epochs": 1, "sparse_epochs": 2, "learning_rate": 1e-2},
                }
            ],
            "synthetic": True,
            **fields,
        }
    )


def bytes_of(folder: Path) -> list[bytes]:
    """What a comparison has told in its folder."""
    return [(folder / f"comparison.{ending}").read_bytes() for ending in ("md", "csv", "json")]
