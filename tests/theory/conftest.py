"""A hub cache built by hand."""

import pytest

from tests.models.hub import write_cache


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A cache with three revisions of org/small, which huggingface_hub reads from."""
    return write_cache(tmp_path / "hub", monkeypatch)
