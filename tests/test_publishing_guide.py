"""The commands of docs/publishing.md, given in its order, take a finished run to a merged pull request."""

import re
import shutil
import time

import pytest
from doc_pages import at_a_terminal, claimed, executed, given
from hubserver import environment
from hubserver.visitor import own, serving
from huggingface_hub import HfApi

SNIPPETS = claimed(__name__, "docs/publishing.md")
COMMANDS = [command for snippet in SNIPPETS if snippet.language == "bash" for command in snippet.commands]
PYTHON = [snippet for snippet in SNIPPETS if snippet.language == "python"]
QUICK = {"max_length": 64, "teacher.epochs": 1, "distillation.dense_epochs": 1, "distillation.sparse_epochs": 1}
REPO = "org/bistill-en-sw"


@pytest.fixture
def place(runs, tiny_teacher_dirs, ner_files, tmp_path, monkeypatch):
    shutil.copytree(runs["bert"].repository.parents[1], tmp_path / "runs" / "mine")
    shutil.copytree(tiny_teacher_dirs["bert"], tmp_path / "teacher")
    for split in ("train", "dev", "test"):
        shutil.copyfile(ner_files["en"][split], tmp_path / f"{split}.en.conll")
    shutil.copyfile(ner_files["sw"]["test"], tmp_path / "test.sw.conll")
    for file in list(tmp_path.glob("*.conll")):  # names are proper nouns, and of other words the part is not known
        tagged = re.sub(r"\t[BI]-\w+$", "\tPROPN", file.read_text(), flags=re.MULTILINE)
        (tmp_path / f"pos.{file.name}").write_text(re.sub(r"\tO$", "\tX", tagged, flags=re.MULTILINE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setenv("COLUMNS", "200")  # tables do not break names
    return tmp_path


def test_the_guide_goes_from_a_run_to_a_merged_pull_request(place, monkeypatch):
    commands = iter(COMMANDS)
    with serving(monkeypatch, place / "home") as hub:
        hub.organization("org", alice="write")
        token = hub.user("alice").token
        answers = {"Paste an access token": "2", "input will not be visible": f"{token}\n"}
        said = at_a_terminal(next(commands), answers, **environment(hub, place / "home"))
        assert "Login successful" in said
        assert token not in said
        for name, *expected in (
            ("check", "othing"),
            ("check", "othing"),
            ("push", "model.safetensors"),
            ("push", REPO),
        ):
            words = next(commands)
            assert words[1] == name
            output = given(words)
            assert all(each in output for each in expected), output
        assert "refs/tags/v1" in hub.repositories[REPO].refs
        executed(PYTHON[0])
        assert REPO in given(next(commands)).replace("\n", "")

        monkeypatch.setenv("HF_TOKEN", hub.user("bob").token)
        before = own(hub.commits(REPO)[0].tree)
        quick = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
        given(next(commands), "--teacher", "teacher", "--quiet", *quick)
        monkeypatch.setenv("HF_TOKEN", hub.user("alice").token)
        given(next(commands))
        HfApi(endpoint=hub.endpoint).merge_pull_request(REPO, 1)
        after = own(hub.commits(REPO)[0].tree)
        added = {"tasks/pos/delta.safetensors", "tasks/pos/results.json"}
        assert set(after) == set(before) | added
        changed = {path for path in before if after[path].content != before[path].content}
        assert (
            {"README.md", "card.json"} <= changed <= {"README.md", "card.json", *(p for p in before if "assets/" in p)}
        )

        given(next(commands))
        assert own(hub.commits("org/bistill-en-sw-ner")[0].tree)
        assert next(commands, None) is None
