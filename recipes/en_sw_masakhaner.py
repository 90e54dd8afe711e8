# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Swahili out of multilingual BERT, for names in news: `uv run recipes/en_sw_masakhaner.py`.

Further test sets that this package knows: XNLI, MasakhaNER 2.0, WikiANN and TyDi QA.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import masakhaner, wikipedia
from bistill_hub.recipe import Language

RECIPE = masakhaner(
    name="bistill-en-sw-masakhaner",
    target=Language(code="sw", name="Swahili", text=wikipedia("sw")),
    language_delta="legacy:cambridgeltl/mbert-lang-sft-swa-small",
    test=benchmark("masakhaner", "swa", "test"),
    license="apache-2.0",
    limits="The text is Wikipedia, the labels are of news: other domains and spoken language may fare worse.",
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
