"""A processor is called what Linux calls it, and told from others of that name where clouds hide which it is."""

import pytest

from bistill_hub import processor as module
from bistill_hub.processor import Processor, processor

TOLD = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
flags\t\t: fma avx512_bf16

processor\t: 1
model name\t: another
flags\t\t: none
"""


@pytest.fixture
def told(tmp_path):
    return tmp_path / "cpuinfo"


def test_it_is_the_first_of_those_that_linux_tells_of(told):
    told.write_text(TOLD)
    flags = frozenset({"fma", "avx512_bf16"})
    assert processor(told) == Processor("AMD EPYC", "AuthenticAMD", 26, 2, flags)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("AMD EPYC", "AMD EPYC (family 26, model 2)"),
        ("AMD EPYC 9655 96-Core Processor", "AMD EPYC 9655 96-Core Processor"),
        ("Abacus 3: wood", "Abacus 3: wood"),
    ],
)
def test_its_family_is_said_where_its_name_hides_it(told, name, said):
    told.write_text(TOLD.replace("AMD EPYC", name))
    assert str(processor(told)) == said


@pytest.mark.parametrize("content", [None, "processor\t: 0\nBogoMIPS\t: 48.00\n", "model name\t:\ncpu family\t: odd\n"])
def test_elsewhere_it_is_what_python_calls_it(told, monkeypatch, content):
    if content is not None:
        told.write_text(content)
    monkeypatch.setattr(module.platform, "processor", lambda: "")
    monkeypatch.setattr(module.platform, "machine", lambda: "aarch64")
    assert processor(told) == Processor("aarch64")
    monkeypatch.setattr(module.platform, "processor", lambda: "arm")
    assert str(processor(told)) == "arm"
