"""A model that a function in a Python file makes: ``load_model("path/to/file.py:function")``.

The file is run, and the function called without arguments. It returns a module that `satlens.wrap` knows, or
a `ResidualModel` for one of your own. Modules in the file's folder can be imported from it. Name only files
whose code you trust.
"""

import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from satlens.errors import InputError, ModelError
from satlens.models.protocol import ResidualModel
from satlens.models.wrap import check_host, verify

FORM = "path/to/file.py:function"


def in_file(asked: str) -> tuple[Path, str] | None:
    """The file and the function that are asked for; None for any other name of a model.

    >>> in_file("models/kwt.py:build")[1], in_file("EleutherAI/pythia-70m")
    ('build', None)
    """
    found = re.fullmatch(r"(.+\.py)(?::(.*))?", asked, re.S)
    return None if found is None else (Path(found[1]).expanduser(), found[2] or "")


def load_from_file(path: Path, name: str) -> nn.Module | ResidualModel:
    """What the function gives, checked as `satlens.wrap` checks a model.

    Raises:
        ModelError: no such file or function, code that raises, or anything but a model in evaluation mode.
        ReadoutError: a `ResidualModel` whose readout does not give the model's own scores.
        NumericsError: NaN or infinite weights.
    """
    asked = f"{path}:{name}"
    if not path.is_file():
        raise ModelError(f"There is no file {path}, which {asked!r} names. Write {FORM}.")
    with folder_importable(path.resolve().parent):
        module = run_file(path)
        function = find_function(module, path, name)
        try:
            model = function()
        except (Exception, SystemExit) as cause:
            raise ModelError(f"{asked} raised {told(cause, path)}.") from cause
    host = model.host if isinstance(model, ResidualModel) else model
    if not isinstance(host, nn.Module) or next(host.parameters(), None) is None:
        kind = "None" if host is None else f"a {type(host).__name__}"
        without = " without weights" if isinstance(host, nn.Module) else ""
        raise ModelError(
            f"{asked} returned {kind}{without}; it must return a module that satlens.wrap "
            "takes, or a satlens.models.ResidualModel."
        )
    check_host(host)
    return verify(model) if isinstance(model, ResidualModel) else model


def run_file(path: Path) -> ModuleType:
    """The file as a module, run anew; its name is its place, so that it stands in no other's way."""
    place = str(path.resolve())
    name = f"satlens_file_{hashlib.sha256(place.encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses, among others, look their module up while it runs
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as cause:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise ModelError(f"{path} cannot be run: it raised {told(cause, path)}.") from cause
    return module


def find_function(module: ModuleType, path: Path, name: str) -> Callable[[], Any]:
    """The function of this name, which can be called without arguments."""
    function = getattr(module, name, None) if name else None
    if not callable(function):
        own = [
            key for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
            and not key.startswith("_")
        ]  # fmt: skip
        asked = (
            f"{path} has no function {name!r}" if name else f"{path} is named without a function"
        )
        has = f"it has {', '.join(own)}" if own else "it has no functions of its own"
        raise ModelError(f"{asked}; {has}. Write {FORM}.")
    try:
        inspect.signature(function).bind()
    except ValueError:  # built in; calling it will tell
        return function
    except TypeError as cause:
        raise ModelError(
            f"{path}:{name} is called without arguments, and cannot be: {cause}. Give them defaults."
        ) from cause
    return function


@contextmanager
def folder_importable(folder: Path) -> Generator[None, None, None]:
    """Modules in this folder can be imported inside; installed ones of the same name come first."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        for place in range(len(sys.path) - 1, -1, -1):  # the last one is ours
            if sys.path[place] == str(folder):
                del sys.path[place]
                break


def told(cause: BaseException, path: Path) -> str:
    """The kind of an error, the first line of its message, and the line of the file that it comes from."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    said = f"{type(cause).__name__}: {lines[0][:200]}" if lines else type(cause).__name__
    place = str(path.resolve())
    steps = [
        step.lineno for step in traceback.extract_tb(cause.__traceback__) if step.filename == place
    ]
    return f"{said.rstrip('.')} (line {steps[-1]})" if steps else said.rstrip(".")


def check_not_moved(
    model: nn.Module | ResidualModel,
    asked: str,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    bridge: bool,
) -> None:
    """Refuse a device, a type or a host that the function did not choose: the model is as it made it."""
    host = model.host if isinstance(model, ResidualModel) else model
    first = next(host.parameters())
    wrong = []
    if bridge and "TransformerBridge" not in (base.__name__ for base in type(host).__mro__):
        wrong.append(f"bridge=True was asked for and it gives a {type(host).__name__}")
    if dtype is not None and first.dtype != dtype:
        wrong.append(f"dtype={dtype} was asked for and its weights are {first.dtype}")
    if device is not None and not same_device(first.device, torch.device(device)):
        wrong.append(f"device={str(device)!r} was asked for and its weights are on {first.device}")
    if wrong:
        raise InputError(
            f"The function of {asked} decides how its model is made: {'; '.join(wrong)}. Change the "
            "function, or leave it out."
        )


def same_device(one: torch.device, other: torch.device) -> bool:
    """Whether they are one; a device without a number, "cuda", is any of its type."""
    return one.type == other.type and None in (one.index, other.index) or one == other
