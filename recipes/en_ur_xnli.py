# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Urdu out of XLM-R base, for inference: `uv run recipes/en_ur_xnli.py`.

Further test sets that this package knows: WikiANN.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import wikipedia, xnli
from bistill_hub.recipe import Language

RECIPE = xnli(
    name="bistill-en-ur-xnli",
    target=Language(code="ur", name="Urdu", text=wikipedia("ur")),
    language_delta="legacy:cambridgeltl/xlmr-lang-sft-ur-small",
    test=benchmark("xnli", "ur", "test"),
    license="mit",
    limits=(
        "The text is Wikipedia, the test sentences are translations from English: other domains, speech and idiom "
        "may fare worse."
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
