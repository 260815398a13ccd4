"""The notebooks run from their first cell to their last, in a folder that has what they name."""

import json
import os
import sys
from pathlib import Path

import matplotlib
import pytest

from tools.docs.notebooks import FOLDER, cells, pages

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SLOW = ("own_data",)  # trains by all stages of a recipe


@pytest.mark.parametrize("path", [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in SLOW))
                                  for path in NOTEBOOKS], ids=lambda path: path.stem)
def test_a_notebook_runs(path, walkthrough, monkeypatch):
    monkeypatch.chdir(walkthrough)
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    matplotlib.use("agg")
    names: dict = {"__name__": "__main__"}
    for number, (kind, text) in enumerate(cells(path)):
        if kind == "code":
            exec(compile(text, f"{path.name}, cell {number}", "exec"), names)
    if path.stem in SLOW:
        assert (walkthrough / "my/egs/detection/own/exp/resnet/report.html").is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_one_that_jupyter_opens(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert content["metadata"]["kernelspec"] == {"display_name": "Python 3", "language": "python", "name": "python3"}
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids) and content["cells"][0]["cell_type"] == "markdown"
    for cell in content["cells"]:
        wanted = {"cell_type", "id", "metadata", "source"}
        assert cell.keys() == wanted | ({"execution_count", "outputs"} if cell["cell_type"] == "code" else set())
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None
        assert all(len(line) <= 130 for line in cell["source"])


def test_they_are_pages_too():
    assert len(NOTEBOOKS) == 3
    assert "```python\nscore = model.score(CLIP)\n" in pages()["notebooks/score.md"]
