# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Turkish out of mmBERT base, for inference and questions: `uv run recipes/en_tr_mmbert.py`.

In place of XLM-R and mDeBERTa-v3: a teacher of 22 layers that was trained on 1,811 languages and has no language
SFTs, English training data under open licences, and bf16; why is said in `bistill_hub.families.mmbert`. Further test
sets that this package knows: WikiANN.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import mmbert, wikipedia
from bistill_hub.recipe import Language

RECIPE = mmbert(
    name="bistill-en-tr-mmbert",
    target=Language(code="tr", name="Turkish", text=wikipedia("tr")),
    tests={
        "nli": benchmark("xnli", "tr", "test"),
        "qa": benchmark("xquad", "tr", "test"),
    },
    license="mit",
    limits=(
        "The text is Wikipedia, the labels are of sentences translated from English: other domains and spoken "
        "language may fare worse."
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
