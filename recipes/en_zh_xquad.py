# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
#
# [tool.uv.sources]
# bistill-hub = { path = "..", editable = true }
# ///
"""English and Chinese out of mDeBERTa-v3 base, for questions: `uv run recipes/en_zh_xquad.py`.

No language SFTs are published for mDeBERTa-v3, and the teacher carries none. Further test sets that this package
knows: XNLI, WikiANN, Universal NER, Universal NER (test sets) and MLQA.
"""

import sys

from bistill_hub.evaluation.benchmarks import benchmark
from bistill_hub.families import wikipedia, xquad
from bistill_hub.recipe import Language

RECIPE = xquad(
    name="bistill-en-zh-xquad",
    target=Language(code="zh", name="Chinese", text=wikipedia("zh")),
    test=benchmark("xquad", "zh", "test"),
    license="mit",
    limits=(
        "The text is Wikipedia, and the questions, translated from English, are about it: other domains and speech "
        "may fare worse."
    ),
)

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
