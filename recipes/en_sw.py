# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Swahili out of multilingual BERT, for four tasks: `uv run recipes/en_sw.py`.

The hyperparameters are the paper's. Its own pair, for names alone and with published SFTs, is en_sw_masakhaner; here
the teacher carries none, and is fine-tuned for each task. Further test sets that this package knows: MasakhaNER and
WikiANN.
"""

import sys

from bistill_hub import families
from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.recipe import Language, Recipe, TaskRecipe
from bistill_hub.sources import LabelledSource

SWAHILI = Language(code="sw", name="Swahili", text=families.wikipedia("sw"))
TREEBANK = LabelledSource(dataset="commul/universal_dependencies", config="en_ewt", split="train")
MASAKHAPOS = LabelledSource(
    dataset="masakhane/masakhapos", revision="refs/convert/parquet", data_dir="swa", split="test"
)
TASKS = (
    TaskRecipe(
        name="ner",
        train=families.conll_2003("train"),
        validation=families.conll_2003("validation"),
        test_source=families.conll_2003("test"),
        test_target=benchmark("masakhaner2", "sw", "test"),
        teacher=families.TAGGING_TEACHER,
        distillation=families.TAGGING,
    ),
    TaskRecipe(
        name="pos",
        train=TREEBANK,
        validation=TREEBANK.model_copy(update={"split": "dev"}),
        test_source=TREEBANK.model_copy(update={"split": "test"}),
        test_target=MASAKHAPOS,
        teacher=families.TAGGING_TEACHER,
        distillation=families.TAGGING,
    ),
    TaskRecipe(
        name="nli",
        train=benchmark("xnli", "en", "train"),
        validation=benchmark("xnli", "en", "dev"),
        test_source=benchmark("xnli", "en", "test"),
        test_target=benchmark("xnli", "sw", "test"),
        max_length=families.NLI_LENGTH,
        teacher=families.NLI_TEACHER,
        distillation=families.NLI,
    ),
    TaskRecipe(
        name="qa",
        train=benchmark("squad", "en", "train"),
        validation=benchmark("squad", "en", "dev"),
        test_source=benchmark("tydiqa", "en", "test"),
        test_target=benchmark("tydiqa", "sw", "test"),
        max_length=families.QA_LENGTH,
        teacher=families.QA_TEACHER,
        distillation=families.QA,
    ),
)
RECIPE = Recipe(
    name="bistill-en-sw",
    source=families.ENGLISH,
    target=SWAHILI,
    teacher=families.MBERT,
    license="apache-2.0",
    limits=(
        "The text is Wikipedia, the labels are of news: other domains and spoken language may fare worse. Names of "
        "people and places carry the biases of both sources."
    ),
    student=families.STUDENT,
    bilingual=families.BILINGUAL,
    tasks=TASKS,
    unverified=(
        *families.hub_facts(families.MBERT, SWAHILI, TASKS),
        "teacher.language_deltas: cambridgeltl/mbert-lang-sft-en-small and -swa-small could be used; not tried",
        "tasks.pos.test_target: whether masakhane/masakhapos has a converted branch",
        "tasks.*.teacher: the paper's settings for a fully fine-tuned teacher are not known here",
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
