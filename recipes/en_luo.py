# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Luo out of multilingual BERT, for names in news: `uv run recipes/en_luo.py`.

There is no Wikipedia in Luo, and no other text that could be named here: give a file, by --set target.text=FILE.
Further test sets that this package knows: MasakhaNER 2.0.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import masakhaner
from bistill_hub.recipe import Language
from bistill_hub.sources import TextSource

RECIPE = masakhaner(
    name="bistill-en-luo",
    target=Language(code="luo", name="Luo", text=TextSource(path="luo.txt")),
    language_delta="legacy:cambridgeltl/mbert-lang-sft-luo-small",
    test=benchmark("masakhaner", "luo", "test"),
    license="apache-2.0",
    limits=(
        "The labels are of news: other domains and spoken language may fare worse. mBERT was not pre-trained on "
        "Luo: all that it knows of it comes from the language SFT."
    ),
    unverified=("target.text: that no text in Luo is to be had on the Hub; give your own by --set target.text=FILE",),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
