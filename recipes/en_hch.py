# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Wixarika out of XLM-R base, for inference: `uv run recipes/en_hch.py`.

There is no Wikipedia in Wixarika: give a text by --set target.text=FILE, such as train.wix of data/wixarika-spanish
in the GitHub repository AmericasNLP/americasnlp2021 (never its dev files, which are AmericasNLI's sentences). This
package knows no further test set in Wixarika.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import xnli
from bistill_hub.recipe import Language
from bistill_hub.sources import TextSource

RECIPE = xnli(
    name="bistill-en-hch",
    target=Language(code="hch", name="Wixarika", text=TextSource(path="hch.txt")),
    language_delta="legacy:cambridgeltl/xlmr-lang-sft-hch-small",
    test=benchmark("americas_nli", "hch", "test"),
    license="mit",
    limits=(
        "The test sentences are translations from XNLI: other domains and spoken language may fare worse. XLM-R "
        "was not pre-trained on Wixarika: all that it knows of it comes from the language SFT."
    ),
    unverified=(
        "target.text: content, size, spelling and licence of AmericasNLP's train.wix, and whether there is more "
        "text; give a file by --set target.text=FILE",
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
