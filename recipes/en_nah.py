# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Nahuatl out of XLM-R base, for inference: `uv run recipes/en_nah.py`.

Nahuatl is many varieties: text, language SFT and test sentences need not be in the same. This package knows no
further test set in Nahuatl.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import wikipedia, xnli
from bistill_hub.recipe import Language

RECIPE = xnli(
    name="bistill-en-nah",
    target=Language(code="nah", name="Nahuatl", text=wikipedia("nah")),
    language_delta="legacy:cambridgeltl/xlmr-lang-sft-nah-small",
    test=benchmark("americas_nli", "nah", "test"),
    license="mit",
    limits=(
        "The text is Wikipedia, the test sentences are translations from XNLI: other domains and spoken language "
        "may fare worse. XLM-R was not pre-trained on Nahuatl: all that it knows of it comes from the language "
        "SFT. The Wikipedia in Nahuatl is small, so phase 1 sees the same text many times."
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
