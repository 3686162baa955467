"""Sphinx settings. Pages are made here from what they describe, so that they cannot disagree: the keys
of results.json from the schemas, the notebooks from the tutorials, the recipes from hooks/ and its tests,
the tables of the models from their files.
"""

import os
import sys
import zlib
from pathlib import Path
from typing import Any

import jupytext
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

DOCS = Path(__file__).parent
ROOT = DOCS.parent
MADE = DOCS / "_made"
sys.path[:0] = [str(ROOT), str(DOCS)]
# The notebook runs from docs/_made and imports the recipes beside the tutorials.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

import model_cards  # noqa: E402
import recipes  # noqa: E402
from schema_table import keys_of_results  # noqa: E402

from satlens.report.validate import VERBS, schema  # noqa: E402
from satlens.version import __version__  # noqa: E402

project = "satlens"
author = copyright = "The satlens developers"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "jupyter_execute", "_made/*.md"]
html_theme = "furo"
html_title = f"satlens {version}"
default_role = "code"
myst_enable_extensions = ["deflist"]  # formulas are code: the pages open offline
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes are in the docstrings
napoleon_use_rtype = False
napoleon_use_ivar = True

nb_execution_mode = "force"
nb_execution_excludepatterns = []  # those that the tests ran just before, where `.ci/run` says so
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
# Progress bars and third-party notes are not part of the tutorial; an error raises and stops the build.
nb_output_stderr = "remove"


def made() -> None:
    """Write the generated pages."""
    MADE.mkdir(exist_ok=True)
    schemas = {verb: schema(verb) for verb in VERBS.values()}
    (MADE / "results_keys.md").write_text(keys_of_results(schemas), encoding="utf-8")
    (MADE / "tiny_files.md").write_text(model_cards.files(), encoding="utf-8")
    (MADE / "training_settings.md").write_text(model_cards.settings(), encoding="utf-8")
    for source in sorted((ROOT / "tutorials").glob("[0-9]*.py")):
        notebook = jupytext.read(source)
        if executed := executed_before(source.stem, notebook):
            notebook = executed
            nb_execution_excludepatterns.append(f"_made/{source.stem}.ipynb")
        jupytext.write(notebook, MADE / f"{source.stem}.ipynb", fmt="ipynb")


def executed_before(name: str, notebook: Any) -> Any:
    """The notebook as the tests ran it (SATLENS_NOTEBOOKS), if it is of the same cells; else None."""
    folder = os.environ.get("SATLENS_NOTEBOOKS")
    path = Path(folder) / f"{name}.ipynb" if folder else None
    if path is None or not path.is_file():
        return None
    executed = jupytext.read(path)
    cells = [[(cell.cell_type, cell.source) for cell in one.cells] for one in (executed, notebook)]
    return executed if cells[0] == cells[1] else None


def make_recipes(app: Sphinx, config: Config) -> None:
    """Write the page of the recipes; a build that executes no notebook runs no test either."""
    host, outcomes = recipes.results(run=config.nb_execution_mode != "off")
    if failed := [test for test, (outcome, _) in outcomes.items() if outcome == "failed"]:
        logging.getLogger(__name__).warning("Tests of the recipes failed: %s", ", ".join(failed))
    (MADE / "recipes.md").write_text(recipes.page(host, outcomes), encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.connect("config-inited", make_recipes)


def local_inventory() -> str:
    """The one page of TransformerLens' documentation that ours points to, for builds offline."""
    head = "# Sphinx inventory version 2\n# Project: TransformerLens\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    entries = "index std:doc -1 index.html TransformerLens\n"
    path = MADE / "transformer_lens.inv"
    path.write_bytes(head.encode() + zlib.compress(entries.encode()))
    return str(path)


made()
# The real inventory where it can be had, else the local one: an offline build warns of nothing.
intersphinx_mapping = {
    "transformer_lens": (
        "https://transformerlensorg.github.io/TransformerLens/",
        (None, local_inventory()),
    )
}
intersphinx_timeout = 5
