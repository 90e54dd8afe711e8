"""The notebook runs from its first cell to its last in a kernel of its own, and leaves a pair with a card."""

import json
import os

import pytest
from doc_pages import DOCS

NOTEBOOK = DOCS / "notebooks" / "from_two_text_files.ipynb"


def test_the_notebook_is_kept_without_outputs():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    names = [cell["id"] for cell in content["cells"]]
    assert len(set(names)) == len(names)


def shown(cell, kind):
    """What a cell shows of a kind, such as text/markdown; "stream" is what it prints."""
    if kind == "stream":
        return "".join(output["text"] for output in cell.outputs if output.output_type == "stream")
    return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]


@pytest.mark.whole
def test_the_notebook_runs_top_to_bottom_to_a_card_and_a_pair(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient
    from transformers import AutoModelForTokenClassification

    from bistill_hub import check_pair
    from bistill_hub.evaluation.results import read_results

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(DOCS.parent), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    client = NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()

    cells = {cell.id: cell for cell in notebook.cells}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert "en: 1,500 lines" in shown(cells["look"], "stream")
    assert "layers 6 -> 3, the teacher's (1, 3, 5)" in shown(cells["cut"], "stream")
    assert shown(cells["distil"], "stream").splitlines()[:2] == ["student", "phase 1"]
    repository = tmp_path / "runs" / "notebook" / "run" / "package" / "repository"
    results = read_results(repository / "tasks" / "ner" / "results.json")
    assert {(result.model, result.language) for result in results} == {
        (model, language) for model in ("teacher", "student") for language in ("en", "sw")
    }
    for result in results:
        assert f"{100 * result.score:.1f}" in shown(cells["tune"], "stream")
        assert result.n == 150
    (card,) = shown(cells["card"], "text/markdown")
    assert card.strip().startswith("**Synthetic")
    assert "bistill-en-sw-notebook" in card
    assert len(shown(cells["card"], "image/png")) == len(list((repository / "assets").glob("*.png"))) > 0
    assert "no findings" in shown(cells["check"], "stream")
    assert check_pair(repository).findings == ()
    assert len(shown(cells["load"], "stream").splitlines()) > 1
    assert type(AutoModelForTokenClassification.from_pretrained(repository)).__name__ == "BertForTokenClassification"
