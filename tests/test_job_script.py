"""The script of a job is a recipe and a program in one file, and runs to a checked package where it is."""

import json
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from types import SimpleNamespace

import pytest
from huggingface_hub.cli._uv_script_header import parse_uv_script_header
from untrained import untrained

from bistill_hub import InputError, run
from bistill_hub.job_script import Push, Script, check_portable, constraints, installed_requirement, requirement
from bistill_hub.recipe import load_recipe


def header(text):
    """The TOML table of a script, read by the rule of PEP 723."""
    lines = text.splitlines()
    begin = lines.index("# /// script")
    block = lines[begin + 1 : lines.index("# ///", begin)]
    assert all(line == "#" or line.startswith("# ") for line in block)
    return tomllib.loads("\n".join(line[2:] for line in block))


@pytest.fixture(scope="module")
def script():
    recipe = load_recipe("en_sw").replace({"limits": 'Braces {these}, a \\ backslash, """quotes""", ✓.'})
    return Script(
        recipe=recipe,
        requirement="bistill-hub==0.1.0",
        constraints=("torch==2.13.0", "transformers==5.23.0"),
        processes=4,
        push=Push(repo_id="org/bistill-en-sw", create_pr=True, private=True),
        flavor="a10g-largex4",
        timeout="2d",
        bucket="org/runs",
    )


def test_the_script_is_a_recipe_with_the_same_values(script, tmp_path):
    file = tmp_path / "en_sw.py"
    file.write_text(script.text, encoding="utf-8")
    assert load_recipe(file) == script.recipe
    assert os.listdir(tmp_path) == ["en_sw.py"]


def test_uv_reads_what_to_install(script):
    table = header(script.text)
    assert table["dependencies"] == ["bistill-hub==0.1.0"]
    assert table["tool"]["uv"] == {"constraint-dependencies": ["torch==2.13.0", "transformers==5.23.0"]}
    assert table["requires-python"] == metadata.metadata("bistill-hub")["Requires-Python"]


def test_hf_jobs_reads_how_to_launch_it(script):
    launch = parse_uv_script_header(script.text)
    assert (launch.name, launch.flavor, launch.timeout) == ("bistill-en-sw", "a10g-largex4", "2d")
    assert launch.secrets == ["HF_TOKEN"]
    assert launch.volumes == ["hf://buckets/org/runs:/bistill-runs"]
    assert launch.env == {}


def test_constraints_are_the_installed_versions_of_what_the_package_asks_for():
    found = dict(each.split("==") for each in constraints())
    assert {"torch", "transformers", "datasets"} <= found.keys()
    assert "pytest" not in found
    for name, version in found.items():
        assert metadata.version(name).split("+")[0] == version


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("bistill-hub==0.1.0", "bistill-hub==0.1.0"),
        ("bistill_hub>=0.1", "bistill_hub>=0.1"),
        ("git+https://host/x.git@abc", "bistill-hub @ git+https://host/x.git@abc"),
        ("https://host/bistill_hub-0.1.0-py3-none-any.whl", "bistill-hub @ https://host/bistill_hub-0.1.0-py3-none-any.whl"),
    ],
)  # fmt: skip
def test_a_package_is_named_as_installers_do(given, meant):
    assert requirement(given) == meant


@pytest.mark.parametrize("wrong", ["", "torch==2.13.0", "../bistill", "bistill-hub", 'bistill-hub=="1"', "git@host:x"])
def test_anything_else_is_refused(wrong):
    with pytest.raises(InputError, match="package = "):
        requirement(wrong)


@pytest.mark.parametrize(
    ("origin", "meant"),
    [
        (None, "bistill-hub==0.1.0"),
        (
            {"url": "https://host/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "bistill-hub @ git+https://host/x.git@abc",
        ),
        ({"url": "https://host/x.whl", "archive_info": {}}, "bistill-hub @ https://host/x.whl"),
        ({"url": "file:///home/me/x", "dir_info": {"editable": True}}, None),
    ],
)
def test_without_a_package_the_job_installs_what_is_installed_here(monkeypatch, origin, meant):
    text = None if origin is None else json.dumps(origin)
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))
    if meant is not None:
        assert installed_requirement() == requirement(None) == meant
    else:
        with pytest.raises(InputError, match=r"package = 'file:///home/me/x'.*git\+https"):
            installed_requirement()


def test_every_field_that_names_a_file_of_this_machine_is_named(tmp_path):
    (tmp_path / "teacher").mkdir()
    recipe = load_recipe("en_sw").only(["ner"])
    check_portable(recipe)
    here = recipe.replace(
        {
            "teacher.model": str(tmp_path / "teacher"),
            "teacher.language_deltas": {"sw": "legacy:./sw.delta", "en": "org/en-delta"},
            "source.text": "en.txt",
            "tasks.ner.test_target": "$DATA/test.conll",
            "tasks.ner.teacher.model": "~/tuned",
            "further_languages": [{"code": "ha", "name": "Hausa", "text": "ha.txt"}],
        }
    )
    with pytest.raises(InputError) as refused:
        check_portable(here)
    said = str(refused.value)
    for part in (
        "source.text.path (en.txt)",
        "tasks.ner.test_target.path ($DATA/test.conll)",
        f"teacher.model ({tmp_path / 'teacher'})",
        "teacher.language_deltas.sw (legacy:./sw.delta)",
        "tasks.ner.teacher.model (~/tuned)",
        "further_languages.Hausa.text.path (ha.txt)",
        "Put the data on the Hub",
    ):
        assert part in said
    for absent in ("org/en-delta", "target.text.path", "tasks.ner.train"):
        assert absent not in said


@pytest.fixture(scope="module")
def tiny(text_files, ner_files, tmp_path_factory):
    """A recipe of seconds, with files of this machine, which a job would be refused."""
    part = {"train": "train", "validation": "dev", "test_source": "test"}
    changes = {
        "source.text": {"path": str(text_files["en"]), "limit": 100},
        "target.text": {"path": str(text_files["sw"]), "limit": 100},
        "teacher.model": str(untrained("bert", tmp_path_factory.mktemp("job") / "teacher")),
        "bilingual.steps": 2,
        "bilingual.block_size": 32,
        "speed.seconds": 0,
        "speed.length": 16,
        "student.min_token_probability": 1e-6,
        "tasks.ner.max_length": 48,
        "tasks.ner.teacher.epochs": 1,
        "tasks.ner.distillation.dense_epochs": 1,
        "tasks.ner.distillation.sparse_epochs": 1,
        **{f"tasks.ner.{name}": {"path": str(ner_files["en"][split]), "limit": 16} for name, split in part.items()},
        "tasks.ner.test_target": {"path": str(ner_files["sw"]["test"]), "limit": 16},
        "unverified": [],
    }
    return load_recipe("en_sw").only(["ner"]).replace(changes)


def test_the_script_goes_on_from_the_bucket_to_a_checked_package(tiny, tmp_path):
    kept, machine = tmp_path / "bucket" / "bistill-en-sw", tmp_path / "machine"
    machine.mkdir()
    run(tiny, kept, until="student", progress=False)  # what an earlier job has left
    file = tmp_path / "en_sw.py"
    script = Script(recipe=tiny, requirement="bistill-hub==0.1.0", mount=str(kept.parent))
    file.write_text(script.text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(file), "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(machine)},
    )
    assert done.returncode == 0, done.stderr
    assert "finished before" in next(line for line in done.stdout.splitlines() if "student" in line)
    assert "no findings" in done.stdout
    here = machine / "runs" / "bistill-en-sw"
    names = {each.relative_to(here).as_posix() for each in here.rglob("*") if each.is_file()} - {".running"}
    pair = "package/repository"
    assert names >= {f"{pair}/{name}" for name in ("README.md", "model.safetensors", "tasks/ner/delta.safetensors")}
    for name in names:
        assert (kept / name).read_bytes() == (here / name).read_bytes()
    assert "bistill run en_sw" in (kept / pair / "README.md").read_text(encoding="utf-8")


def test_the_script_ends_with_the_status_of_what_failed_and_keeps_nothing_without_a_bucket(tiny, tmp_path):
    missing = tiny.replace({"source.text": "nowhere.txt"})
    script = Script(recipe=missing, requirement="bistill-hub==0.1.0", mount=str(tmp_path / "none"))
    (tmp_path / "en_sw.py").write_text(script.text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "en_sw.py", "--quiet"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "source.text" in done.stderr
    assert (tmp_path / "runs" / "bistill-en-sw").is_dir()
    assert not (tmp_path / "none").exists()
