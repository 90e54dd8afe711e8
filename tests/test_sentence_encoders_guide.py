"""The commands and snippets of docs/sentence_encoders.md, given in its order, do what it says."""

import json
import re

import pytest
import torch
from doc_pages import claimed, executed, given
from miniature import write_lines
from sentence_transformers import SentenceTransformer
from untrained import WIDTH, untrained_sentence_encoder

SNIPPETS = claimed(__name__, "docs/sentence_encoders.md")
QUICK = {
    "trim": ["--speed-seconds", "0", "--quiet"],
    "run": ["--set=bilingual.steps=4", "--set=bilingual.block_size=32", "--set=speed.seconds=0", "--quiet"],
    "export": [],
}
QUERY, PASSAGES = "query: Where does Juma live?", ["passage: Juma lives in Nairobi.", "passage: Juma anaishi Nairobi."]


@pytest.fixture
def place(world_lines, tmp_path, monkeypatch):
    for folder, kind in (("intfloat/multilingual-e5-small", "e5"), ("sentence-transformers/LaBSE", "labse")):
        (tmp_path / folder).parent.mkdir()
        untrained_sentence_encoder(kind, tmp_path / folder)
    shown = [line.partition(": ")[2] for line in (QUERY, *PASSAGES)]  # which the pair is to know, but for the prompts
    for code, lines in world_lines.items():
        write_lines(tmp_path / f"{code}.txt", [*lines, *shown])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def embed(folder, lines):
    return SentenceTransformer(str(folder), device="cpu").encode(lines, convert_to_tensor=True)


def test_the_guide_makes_students_that_embed(place, capsys):
    for snippet in SNIPPETS:
        if snippet.language == "python":
            executed(snippet)
            continue
        for command in snippet.commands:
            given(command, *QUICK[command[1]])

    teacher = place / "intfloat" / "multilingual-e5-small"
    trimmed = place / "runs" / "e5-trimmed" / "package" / "repository"
    lines = [QUERY, *PASSAGES]
    expected = embed(teacher, lines)
    torch.testing.assert_close(embed(trimmed, lines), expected, atol=1e-6, rtol=1e-5)
    printed = capsys.readouterr().out
    assert f"(1, {WIDTH})" in printed
    shown = re.search(r"tensor\(\[\[(.*?), (.*?)\]\]\)", printed)
    found = torch.tensor([float(shown[1]), float(shown[2])])
    torch.testing.assert_close(found, expected[0] @ expected[1:].T, atol=1e-3, rtol=0)

    cut = SentenceTransformer(str(place / "runs" / "e5-cut" / "package" / "repository"), device="cpu")
    assert cut[0].config.num_hidden_layers == 1
    vectors = cut.encode(lines, convert_to_tensor=True)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
    plain = json.loads((place / "e5-small-en-sw" / "config.json").read_text(encoding="utf-8"))
    assert plain["model_type"] == "xlm-roberta"
    assert "auto_map" not in plain
    torch.testing.assert_close(embed(place / "e5-small-en-sw", lines), vectors)

    text = (place / "sw.txt").read_text(encoding="utf-8").splitlines()[:5]
    student = embed(place / "labse-en-sw", text)
    torch.testing.assert_close(student, embed(place / "sentence-transformers" / "LaBSE", text), atol=1e-6, rtol=1e-5)
