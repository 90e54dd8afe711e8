# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Quechua out of XLM-R base, for inference: `uv run recipes/en_qu.py`.

AmericasNLI is in Ayacucho Quechua (quy); the Wikipedia mixes varieties, with more of Cusco than of Ayacucho. Further
test sets that this package knows: WikiANN.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import wikipedia, xnli
from bistill_hub.recipe import Language

RECIPE = xnli(
    name="bistill-en-qu",
    target=Language(code="qu", name="Quechua", text=wikipedia("qu")),
    language_delta="legacy:cambridgeltl/xlmr-lang-sft-quy-small",
    test=benchmark("americas_nli", "quy", "test"),
    license="mit",
    limits=(
        "The text is Wikipedia, the test sentences are translations from XNLI: other domains and spoken language "
        "may fare worse. XLM-R was not pre-trained on Quechua: all that it knows of it comes from the language "
        "SFT. The Wikipedia in Quechua is small, so phase 1 sees the same text many times. The Wikipedia is not in "
        "the variety that is tested."
    ),
    unverified=("target.text: which varieties of Quechua the Wikipedia holds",),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
