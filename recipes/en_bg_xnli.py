# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Bulgarian out of XLM-R base, for inference: `uv run recipes/en_bg_xnli.py`.

Further test sets that this package knows: WikiANN.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import wikipedia, xnli
from bistill_hub.recipe import Language

RECIPE = xnli(
    name="bistill-en-bg-xnli",
    target=Language(code="bg", name="Bulgarian", text=wikipedia("bg")),
    language_delta="legacy:cambridgeltl/xlmr-lang-sft-bg-small",
    test=benchmark("xnli", "bg", "test"),
    license="mit",
    limits=(
        "The text is Wikipedia, the test sentences are translations from English: other domains, speech and idiom "
        "may fare worse."
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
