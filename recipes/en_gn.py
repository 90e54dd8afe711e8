# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Guarani out of XLM-R base, for inference: `uv run recipes/en_gn.py`.

Further test sets that this package knows: WikiANN.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import wikipedia, xnli
from bistill_hub.recipe import Language

RECIPE = xnli(
    name="bistill-en-gn",
    target=Language(code="gn", name="Guarani", text=wikipedia("gn")),
    language_delta="legacy:cambridgeltl/xlmr-lang-sft-gn-small",
    test=benchmark("americas_nli", "gn", "test"),
    license="mit",
    limits=(
        "The text is Wikipedia, the test sentences are translations from XNLI: other domains and spoken language "
        "may fare worse. XLM-R was not pre-trained on Guarani: all that it knows of it comes from the language "
        "SFT. The Wikipedia in Guarani is small, so phase 1 sees the same text many times."
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
