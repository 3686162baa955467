"""Each notebook holds what its source says; a test file of its own runs it, so that workers share them."""

from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).parents[2] / "tutorials"
SOURCES = sorted(FOLDER.glob("[0-9]*.py"))


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
def test_there_is_a_test_that_runs_it(source):
    test = Path(__file__).parent / f"test_{source.stem}.py"
    assert f'run("{source.stem}")' in test.read_text(encoding="utf-8")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_its_first_cell_says_what_it_asks_and_how_to_install(source):
    kind, text = cells(jupytext.read(source))[0]
    assert kind == "markdown" and text.startswith("# ")
    assert '`pip install ".[figures]"` in a clone' in text and '`%pip install ".[figures]"`' in text
