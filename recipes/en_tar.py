# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Rarámuri out of XLM-R base, for inference: `uv run recipes/en_tar.py`.

There is no Wikipedia in Rarámuri: give a text by --set target.text=FILE, such as train_nontok.tar of
data/raramuri-spanish in the GitHub repository AmericasNLP/americasnlp2021 (never its dev files, which are
AmericasNLI's sentences). This package knows no further test set in Rarámuri.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import xnli
from bistill_hub.recipe import Language
from bistill_hub.sources import TextSource

RECIPE = xnli(
    name="bistill-en-tar",
    target=Language(code="tar", name="Rarámuri", text=TextSource(path="tar.txt")),
    language_delta="legacy:cambridgeltl/xlmr-lang-sft-tar-small",
    test=benchmark("americas_nli", "tar", "test"),
    license="mit",
    limits=(
        "The test sentences are translations from XNLI: other domains and spoken language may fare worse. XLM-R "
        "was not pre-trained on Rarámuri: all that it knows of it comes from the language SFT."
    ),
    unverified=(
        "target.text: content, size, spelling and licence of AmericasNLP's train_nontok.tar, and whether there is "
        "more text; give a file by --set target.text=FILE",
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
