# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Swahili, out of multilingual BERT, with the paper's hyperparameters: `uv run recipes/en_sw.py`."""

import sys

from bistill_hub.recipe import (
    BilingualSettings,
    Language,
    Recipe,
    SparseSettings,
    StudentSettings,
    TaskRecipe,
    TaskTeacher,
    Teacher,
)
from bistill_hub.sources import LabelledSource, TextSource


def wikipedia(code: str) -> TextSource:
    """The language's Wikipedia."""
    return TextSource(dataset="wikimedia/wikipedia", config=f"20231101.{code}", split="train")


def conll_2003(split: str) -> LabelledSource:
    """English newswire; miscellaneous names have no counterpart in the target's labels."""
    return LabelledSource(
        dataset="eriktks/conll2003",
        revision="refs/convert/parquet",
        split=split,
        label_map={"MISC": "O"},
    )


RECIPE = Recipe(
    name="bistill-en-sw",
    source=Language(code="en", name="English", text=wikipedia("en")),
    target=Language(code="sw", name="Swahili", text=wikipedia("sw")),
    teacher=Teacher(model="google-bert/bert-base-multilingual-cased"),
    license="apache-2.0",
    limits=(
        "The text is Wikipedia, the labels are of news: other domains and spoken language may fare worse. Names of "
        "people and places carry the biases of both sources."
    ),
    student=StudentSettings(layer_reduction_factor=2),
    bilingual=BilingualSettings(steps=200_000, batch_size=8, learning_rate=1e-4, evaluation_every=5_000),
    tasks=(
        TaskRecipe(
            name="ner",
            train=conll_2003("train"),
            validation=conll_2003("validation"),
            test_source=conll_2003("test"),
            test_target=LabelledSource(
                dataset="masakhane/masakhaner2",
                revision="refs/convert/parquet",
                data_dir="swa",
                split="test",
                label_map={"DATE": "O"},
            ),
            teacher=TaskTeacher(epochs=3, batch_size=32, learning_rate=5e-5),
            distillation=SparseSettings(density=0.08, dense_epochs=3, sparse_epochs=10, batch_size=8),
        ),
    ),
    unverified=(
        "teacher.model: its revision is not pinned; its licence on the Hub was not looked up",
        "teacher.language_deltas: cambridgeltl/mbert-lang-sft-en-small and -sw-small could be used; not tried",
        "tasks.ner.train: the layout of eriktks/conll2003's converted branch, and its licence",
        "tasks.ner.test_target: the column names and label names of masakhane/masakhaner2's converted branch",
        "tasks.ner.teacher: the paper's settings for a fully fine-tuned teacher are not known here",
        "source.text, target.text: the revision of wikimedia/wikipedia is not pinned",
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
