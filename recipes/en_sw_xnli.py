# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Swahili out of XLM-R base, for inference: `uv run recipes/en_sw_xnli.py`.

Further test sets that this package knows: MasakhaNER 2.0, MasakhaNER, WikiANN and TyDi QA.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import wikipedia, xnli
from bistill_hub.recipe import Language

RECIPE = xnli(
    name="bistill-en-sw-xnli",
    target=Language(code="sw", name="Swahili", text=wikipedia("sw")),
    language_delta="legacy:cambridgeltl/xlmr-lang-sft-swa-small",
    test=benchmark("xnli", "sw", "test"),
    license="mit",
    limits=(
        "The text is Wikipedia, the test sentences are translations from English: other domains, speech and idiom "
        "may fare worse."
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
