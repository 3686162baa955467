"""The tutorials run, and each notebook holds what its source says."""

from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).parents[2] / "tutorials"
SOURCES = sorted(FOLDER.glob("[0-9]*.py"))
SECONDS = 900
"""A cell that hangs is stopped; how long a tutorial takes is no test, machines differ."""


def cells(notebook) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells]


def test_there_are_tutorials():
    assert SOURCES


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_notebook_says_what_its_source_says(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert cells(notebook) == cells(jupytext.read(source)), (
        f"run: jupytext --to ipynb tutorials/{source.name}"
    )
    assert not any(cell.get("outputs") for cell in notebook.cells), "notebooks are kept empty"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_tutorial_runs(source):
    notebook = jupytext.read(source)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) <= 10
    client = nbclient.NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
    )
    client.execute()
    for cell in code:
        assert cell.execution_count, "a cell was not run"
    pictures = [out for cell in code for out in cell.outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 2, "every tutorial draws two"
