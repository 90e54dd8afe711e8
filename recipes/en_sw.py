# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Swahili, out of multilingual BERT, with the paper's hyperparameters: `uv run recipes/en_sw.py`."""

import sys
from collections.abc import Mapping

from bistill_hub import families
from bistill_hub.families import conll_2003, wikipedia
from bistill_hub.recipe import Language, Recipe, TaskRecipe, Teacher
from bistill_hub.sources import LabelledSource


def masakhane(dataset: str, **fields: Mapping[str, str]) -> LabelledSource:
    """The Swahili test set of one of Masakhane's benchmarks."""
    return LabelledSource(
        dataset=f"masakhane/{dataset}", revision="refs/convert/parquet", data_dir="swa", split="test", **fields
    )


def xnli(code: str, split: str) -> LabelledSource:
    """MultiNLI in English, its development and test sets in both languages."""
    return LabelledSource(dataset="facebook/xnli", config=code, split=split)


def squad(split: str) -> LabelledSource:
    """English questions on Wikipedia."""
    return LabelledSource(dataset="rajpurkar/squad", split=split)


def tydi_gold(language: str) -> LabelledSource:
    """TyDi QA's gold passages of one language; its development set is what everybody tests on."""
    return LabelledSource(
        dataset="google-research-datasets/tydiqa",
        config="secondary_task",
        split="validation",
        where={"id": f"{language}-*"},
    )


def english_ewt(split: str) -> LabelledSource:
    """English web text with universal part-of-speech tags."""
    return LabelledSource(dataset="commul/universal_dependencies", config="en_ewt", split=split)


RECIPE = Recipe(
    name="bistill-en-sw",
    source=Language(code="en", name="English", text=wikipedia("en", revision=None)),
    target=Language(code="sw", name="Swahili", text=wikipedia("sw", revision=None)),
    teacher=Teacher(model="google-bert/bert-base-multilingual-cased"),
    license="apache-2.0",
    limits=(
        "The text is Wikipedia, the labels are of news: other domains and spoken language may fare worse. Names of "
        "people and places carry the biases of both sources."
    ),
    student=families.STUDENT,
    bilingual=families.BILINGUAL,
    tasks=(
        TaskRecipe(
            name="ner",
            train=conll_2003("train"),
            validation=conll_2003("validation"),
            test_source=conll_2003("test"),
            test_target=masakhane("masakhaner2", label_map={"DATE": "O"}),
            teacher=families.TAGGING_TEACHER,
            distillation=families.TAGGING,
        ),
        TaskRecipe(
            name="pos",
            train=english_ewt("train"),
            validation=english_ewt("dev"),
            test_source=english_ewt("test"),
            test_target=masakhane("masakhapos"),
            teacher=families.TAGGING_TEACHER,
            distillation=families.TAGGING,
        ),
        TaskRecipe(
            name="nli",
            train=xnli("en", "train"),
            validation=xnli("en", "validation"),
            test_source=xnli("en", "test"),
            test_target=xnli("sw", "test"),
            max_length=families.NLI_LENGTH,
            teacher=families.NLI_TEACHER,
            distillation=families.NLI,
        ),
        TaskRecipe(
            name="qa",
            train=squad("train"),
            validation=squad("validation"),
            test_source=tydi_gold("english"),
            test_target=tydi_gold("swahili"),
            max_length=families.QA_LENGTH,
            teacher=families.QA_TEACHER,
            distillation=families.QA,
        ),
    ),
    unverified=(
        "teacher.model: its revision is not pinned; its licence on the Hub was not looked up",
        "teacher.language_deltas: cambridgeltl/mbert-lang-sft-en-small and -sw-small could be used; not tried",
        "tasks.ner.train: the layout of eriktks/conll2003's converted branch, and its licence",
        "tasks.ner.test_target: the column names and label names of masakhane/masakhaner2's converted branch",
        "tasks.pos.train: the columns of commul/universal_dependencies and its licence",
        "tasks.pos.test_target: whether masakhane/masakhapos has a converted branch, its columns, its licence",
        "tasks.nli: the licences of facebook/xnli's parts",
        "tasks.*.teacher: the paper's settings for a fully fine-tuned teacher are not known here",
        "source.text, target.text: the revision of wikimedia/wikipedia is not pinned",
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
