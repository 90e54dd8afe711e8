# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Aymara out of XLM-R base, for inference: `uv run recipes/en_ay.py`.

Further test sets that this package knows: WikiANN.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import wikipedia, xnli
from bistill_hub.recipe import Language

RECIPE = xnli(
    name="bistill-en-ay",
    target=Language(code="ay", name="Aymara", text=wikipedia("ay")),
    language_delta="legacy:cambridgeltl/xlmr-lang-sft-aym-small",
    test=benchmark("americas_nli", "aym", "test"),
    license="mit",
    limits=(
        "The text is Wikipedia, the test sentences are translations from XNLI: other domains and spoken language "
        "may fare worse. XLM-R was not pre-trained on Aymara: all that it knows of it comes from the language SFT. "
        "The Wikipedia in Aymara is small, so phase 1 sees the same text many times."
    ),
    unverified=("teacher.language_deltas: the Aymara one is not in its authors' list, but has a page of its own",),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
