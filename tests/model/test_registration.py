"""Importing the package is nearly free, and transformers knows pairs from then on, in whichever order they come."""

import subprocess
import sys

import pytest
from fresh import run_fresh

CHECK = """
from transformers import CONFIG_MAPPING, AutoModel
from transformers.models.auto import modeling_auto
from bistill_hub import BistillConfig, BistillForTokenClassification, BistillModel
assert CONFIG_MAPPING["bistill"] is BistillConfig
assert AutoModel._model_mapping[BistillConfig] is BistillModel
assert modeling_auto.AutoModelForTokenClassification._model_mapping[BistillConfig] is BistillForTokenClassification
"""


@pytest.mark.parametrize(
    "first",
    [
        "import bistill_hub",
        "import bistill_hub; from transformers import AutoConfig",
        "import bistill_hub; from transformers import AutoTokenizer",
        "import bistill_hub; from transformers import AutoModelForTokenClassification",
        "import bistill_hub; from transformers import BertModel",
        "from transformers import AutoConfig; import bistill_hub",
        "from transformers import AutoModel; import bistill_hub",
        "import bistill_hub.model.modeling_bistill",
        "import bistill_hub.model.configuration_bistill",
        "from bistill_hub.model.sparse_delta import SparseDelta",
    ],
)
def test_pairs_are_known_in_whichever_order_things_are_imported(first):
    done = run_fresh(first + CHECK)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_configuration_is_known_to_whom_imports_autoconfig_alone():
    done = run_fresh(
        "import bistill_hub, sys\n"
        "from transformers import AutoConfig\n"
        "from transformers.models.auto.configuration_auto import CONFIG_MAPPING\n"
        "assert 'bistill' in CONFIG_MAPPING._extra_content"
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_import_alone_brings_in_neither_torch_nor_transformers():
    code = "import bistill_hub, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "bistill_hub" in loaded
    assert not loaded & {"torch", "transformers", "numpy", "pydantic", "datasets", "huggingface_hub", "rich", "click"}
