"""What is installed is complete: the wheel carries every recipe, card template and the mark of typed code."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bistill_hub import resources
from bistill_hub.resources import resource_dir

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("recipes", "model_cards")


def files_on_disk(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel's files by name, built without network from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("name", FOLDERS)
def test_wheel_carries_the_folder_as_it_is_on_disk_without_example_cards(wheel, name):
    prefix = f"bistill_hub/_resources/{name}/"
    carried = {path.removeprefix(prefix): content for path, content in wheel.items() if path.startswith(prefix)}
    wanted = {path: content for path, content in files_on_disk(ROOT / name).items() if not path.startswith("examples/")}
    assert carried == wanted
    assert carried


def test_wheel_carries_every_module_and_the_mark_of_typed_code(wheel):
    on_disk = {
        f"bistill_hub/{name}" for name in files_on_disk(ROOT / "bistill_hub") if not name.startswith("_resources/")
    }
    assert "bistill_hub/py.typed" in on_disk
    assert on_disk <= set(wheel)


def test_wheel_carries_the_licence(wheel):
    (licence,) = (content for name, content in wheel.items() if name.endswith(".dist-info/licenses/LICENSE"))
    assert licence == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("name", FOLDERS)
def test_checkout_s_folder_is_found_beside_the_package(name):
    assert resource_dir(name) == ROOT / name


@pytest.mark.parametrize("name", FOLDERS)
def test_installed_folder_is_found_inside_the_package_before_one_beside_it(monkeypatch, tmp_path, name):
    package = tmp_path / "site-packages" / "bistill_hub"
    (package / "_resources" / name).mkdir(parents=True)
    (package.parent / name).mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resource_dir(name) == package / "_resources" / name


def test_incomplete_installation_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "bistill_hub")
    with pytest.raises(RuntimeError, match="lacks its folder recipes"):
        resource_dir("recipes")
