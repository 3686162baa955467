"""One tutorial from its first cell to its last."""

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "tutorials"
SECONDS = 900
"""A cell that hangs is stopped; how long a tutorial takes is no test, machines differ."""


def run(name: str) -> None:
    """Run it. The documentation takes what it printed, where SATLENS_NOTEBOOKS names a folder for it."""
    jupytext = pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")
    notebook = jupytext.read(FOLDER / f"{name}.py")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) <= 10
    client = nbclient.NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
    )
    # On one thread, like every test: several kernels on all cores would only get in each other's way.
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})
    for cell in code:
        assert cell.execution_count, "a cell was not run"
    pictures = [out for cell in code for out in cell.outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 2, "every tutorial draws two"
    if folder := os.environ.get("SATLENS_NOTEBOOKS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        jupytext.write(notebook, Path(folder) / f"{name}.ipynb", fmt="ipynb")
