"""Importing the package costs next to nothing beyond what its user has imported anyway."""

import json
import subprocess
import sys

import pytest

MEASURE = """
import json, sys, time
start = time.perf_counter()
from transformers import AutoConfig, AutoModel
users_own, modules = time.perf_counter() - start, set(sys.modules)
start = time.perf_counter()
import bistill_hub
print(json.dumps([users_own, time.perf_counter() - start, sorted(set(sys.modules) - modules)]))
"""

# What the package imports of its own accord; anything else must come with the Auto classes already.
OWN = ("bistill_hub", "safetensors", "wrapt", "_wrapt")
HEAVY = (
    "accelerate",
    "click",
    "datasets",
    "evaluate",
    "jinja2",
    "matplotlib",
    "pandas",
    "pyarrow",
    "pydantic",
    "rich",
    "scipy",
    "seqeval",
    "sklearn",
    "transformers.generation.utils",
    "transformers.modeling_utils",
    "transformers.pipelines",
    "transformers.trainer",
    "transformers.training_args",
)


def is_part_of(module, packages):
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.fixture(scope="module")
def added():
    """The modules that `import bistill_hub` adds to those of the Auto classes; prints the time that both take."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    users_own, ours, modules = json.loads(done.stdout)
    print(f"the Auto classes {users_own:.3f} s, bistill_hub on top of them {ours:.3f} s")  # noqa: T201
    return set(modules)


def test_importing_the_package_imports_nothing_heavy_beside_the_auto_classes(added):
    assert "bistill_hub.model.modeling_bistill" in added
    assert not sorted(module for module in added if is_part_of(module, HEAVY))


def test_importing_the_package_imports_nothing_of_others_but_safetensors_and_wrapt(added):
    assert not sorted(module for module in added if not is_part_of(module, OWN))


def test_importing_the_package_imports_of_itself_only_what_registers_its_classes(added):
    ours = {module for module in added if is_part_of(module, ["bistill_hub"])}
    assert {module.removeprefix("bistill_hub").removeprefix(".").partition(".")[0] for module in ours} == {
        "",
        "model",
        "version",
    }
    assert "bistill_hub.model.legacy" not in ours
