# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Nigerian Pidgin out of multilingual BERT, for names in news: `uv run recipes/en_pcm.py`.

Further test sets that this package knows: MasakhaNER 2.0.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import masakhaner, wikipedia
from bistill_hub.recipe import Language

RECIPE = masakhaner(
    name="bistill-en-pcm",
    target=Language(code="pcm", name="Nigerian Pidgin", text=wikipedia("pcm")),
    language_delta="legacy:cambridgeltl/mbert-lang-sft-pcm-small",
    test=benchmark("masakhaner", "pcm", "test"),
    license="apache-2.0",
    limits=(
        "The text is Wikipedia, the labels are of news: other domains and spoken language may fare worse. mBERT "
        "was not pre-trained on Nigerian Pidgin: all that it knows of it comes from the language SFT. The "
        "Wikipedia in Nigerian Pidgin is small, so phase 1 sees the same text many times."
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
