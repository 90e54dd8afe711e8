"""The smallest recipe that there is: for tests of what its stages do, not of what they reach."""

import miniature
import tiny_tasks
from untrained import untrained

from bistill_hub import Recipe

ONE = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}


def smallest_recipe(home):
    """Make one: a teacher of two layers, a student of one, no phase 1, two updates an epoch."""
    lines = {code: map(miniature.text, miniature.sentences(code, 60)) for code in miniature.LANGUAGES}
    text = {code: str(miniature.write_lines(home / f"{code}.txt", list(made))) for code, made in lines.items()}
    distillation = {"dense_epochs": 2, "sparse_epochs": 3, "batch_size": 4, "learning_rate": 1e-3}
    return Recipe.make(
        {
            "name": "bistill-en-sw-labels",
            "source": {"code": "en", "name": "English", "text": text["en"]},
            "target": {"code": "sw", "name": "Swahili", "text": text["sw"]},
            "teacher": {"model": str(untrained("bert", home / "teacher"))},
            "license": "apache-2.0",
            "limits": "Made of a miniature world, for tests.",
            "bilingual": {"steps": 0, "block_size": 48},
            "speed": {"seconds": 0, "length": 16, "batch_size": 2},
            "baselines": ["no_phase_1"],
            "tasks": [
                {
                    "name": "ner",
                    **tiny_tasks.write_tasks(home / "tasks")["ner"],
                    "max_length": 64,
                    "teacher": ONE,
                    "distillation": distillation,
                }
            ],
            "synthetic": True,
        }
    )
