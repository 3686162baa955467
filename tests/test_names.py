"""The public names of satlens: all there, the right ones, and imported when they are asked for."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import satlens


@pytest.mark.parametrize("name", satlens.__all__)
def test_every_public_name_is_there(name):
    assert name in dir(satlens)
    found = getattr(satlens, name)
    home = satlens._HOMES.get(name)
    if home is None:
        assert found is importlib.import_module(f"satlens.{name}")
    else:
        assert found is getattr(importlib.import_module(f"satlens.{home}"), name)


def test_checkers_see_the_same_names():
    tree = ast.parse(Path(satlens.__file__).read_text())
    (seen,) = [node for node in tree.body if isinstance(node, ast.If)]
    names = {alias.name for node in seen.body for alias in node.names}
    assert names == set(satlens.__all__)
    for node in seen.body:
        for alias in node.names:
            home = satlens._HOMES.get(alias.name)
            assert node.module == (f"satlens.{home}" if home else "satlens")


def test_rooms_that_are_not_public_names_are_there_too():
    assert satlens.models.load_model is satlens.load_model
    assert satlens.nulls is importlib.import_module("satlens.nulls")


@pytest.mark.parametrize("name", ["detct", "_private", "__wrapped__"])
def test_a_name_that_is_none_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module 'satlens' has no attribute '{name}'"):
        getattr(satlens, name)
    with pytest.raises(ImportError, match="cannot import name 'detct' from 'satlens'"):
        from satlens import detct  # noqa: F401


def test_torch_is_not_waited_for():
    code = (
        "import sys, satlens, satlens.cli.main; print('torch' in sys.modules, satlens.__version__)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.split() == ["False", satlens.__version__]


def test_what_a_room_lacks_is_not_hidden(monkeypatch):
    monkeypatch.delitem(sys.modules, "satlens.reranking", raising=False)
    monkeypatch.delitem(vars(satlens), "reranking", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    for name in [one for one in sys.modules if one.startswith("satlens.reranking.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError, match="sklearn"):
        satlens.reranking  # noqa: B018
