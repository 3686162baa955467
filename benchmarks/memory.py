"""Peak memory of one method, in a process of its own.

    peak   = highest resident set while it runs - resident set before     (the model and static parts in both)
    static = what building it left behind

The highest resident set is VmHWM of /proc/self/status, set back by writing 5 to /proc/self/clear_refs
(``ru_maxrss`` would be inherited from the process that started this one). Linux only.
"""

import argparse
import ctypes
import ctypes.util
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import models
from benchmarks.methods import Method, NotHere, every_method
from satlens.models import fast_linears

ROOT = Path(__file__).parents[1]
FEW = (1, 8)
"""Rows and tokens of the first run, which builds what is left."""


def here() -> bool:
    """Whether this system tells a process its own peak, and lets it be set back."""
    return Path("/proc/self/clear_refs").exists()


def in_own_process(method: str, arguments: list[str]) -> dict[str, Any]:
    """`measure` by a fresh interpreter, arguments as in `add_arguments`; or {"missing": why}."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", method, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[3:])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_of(run: Callable[[], Any]) -> int:
    """Bytes that the resident set rises above where it is now."""
    _settle()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    run()
    return max(_status("VmHWM") - before, 0)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {name}: this needs Linux.")


def _settle() -> None:
    """Give back what was freed, so that it is not counted as room already there."""
    gc.collect()
    libc = ctypes.CDLL(ctypes.util.find_library("c"))
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


@torch.no_grad()
def measure(asked: argparse.Namespace) -> dict[str, int]:
    """Peak and static bytes of one method on one batch."""
    torch.set_num_threads(1)
    shape = models.shape_of(asked.shape)
    model = models.load(shape, asked.cache, asked.seed)
    ids = models.ids(shape, asked.batch, asked.tokens, asked.seed + 2)
    few = ids[: FEW[0], : FEW[1]]
    method = every_method()[asked.method]
    _rehearse(method, few)
    with fast_linears(model) if asked.onednn else nullcontext():
        model(few, use_cache=False)
        _settle()
        loaded = _status("VmRSS")
        run = method.build(model, asked.k)
        run(method.given(model, few))
        _settle()
        static = max(_status("VmRSS") - loaded, 0)
        given = method.given(model, ids)
        return {"peak": peak_of(lambda: run(given)), "static": static}


def _rehearse(method: Method, few: Tensor) -> None:
    """The method on a toy: what it imports and sets up is neither its peak nor its static part."""
    toy = models.make(models.SHAPES["tiny"])
    method.build(toy, 2)(method.given(toy, few % models.SHAPES["tiny"].vocabulary))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The case that is measured: model and batch."""
    parser.add_argument("shape", help=f"{', '.join(models.SHAPES)}, or as 12x768x50257")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=128, help="in each row of the batch")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--onednn",
        action="store_true",
        help="the model's linear layers through oneDNN, in every row",
    )
    parser.add_argument("--cache", type=Path, help="folder that keeps the models (made if missing)")


def main(arguments: list[str] | None = None) -> None:
    """Print the numbers of one method as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method")
    add_arguments(parser)
    try:
        numbers = measure(parser.parse_args(arguments))
    except NotHere as message:
        numbers = {"missing": str(message)}
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
