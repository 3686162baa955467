"""The tables of docs/dynamics.md are those of the JSON beside its script."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_shows_what_was_measured():
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("shown", DOCS / "dynamics" / "shown.py")
    shown = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shown)
    page = (DOCS / "dynamics.md").read_text(encoding="utf-8")
    found = shown.tables(DOCS / "dynamics")
    assert len(found) == 5
    rows = [row for table in found for row in table.splitlines() if not row.startswith("| :--")]
    assert len(rows) > 40
    assert not [row for row in rows if row not in page]
