"""Detection on a GPU beside the forward pass and loops by hand: time, peak memory, equal events.

    python -m benchmarks.gpu [SHAPE] [--batch 32] [--tokens 512] [--dtypes float32 bfloat16] [--rounds 7]

Wall time between synchronisations, every method right after a forward pass of its own; peak memory is what
torch allocated above the model and the static parts. Writes benchmarks/results/gpu-SHAPE.json,
the events of ``plain`` being what all others are checked against. float32 is float32: no TF32, in no row.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import models, ours, table, tools, torch_loops
from benchmarks.machine import machine, today, versions
from benchmarks.methods import Method, NotHere, Run, differing
from benchmarks.peers import RESULTS, when_fixed
from benchmarks.timing import interleaved, summary
from satlens import wrap
from satlens.files import write_whole
from satlens.lenses import LogitLens
from satlens.saturation import gpu
from satlens.saturation.method import Scan


def _in_pieces(model: nn.Module, k: int) -> Run:
    """The certified scan by torch's own products alone."""
    run = ours.METHODS["certified"].build(model, k)
    screen = Scan(LogitLens(wrap(model)), "certified").static.screen("bfloat16")
    fused, triton = screen.fused, gpu.triton

    def without(ids: Tensor) -> Any:
        screen.fused, gpu.triton = False, None
        try:
            return run(ids)
        finally:
            screen.fused, gpu.triton = fused, triton

    return without


def methods() -> dict[str, Method]:
    """The rows."""
    pieces = Method("satlens.detect, certified, without the Triton kernels", _in_pieces)
    ours_here, loops = dict(ours.METHODS), torch_loops.METHODS
    of_tools = {name: row for name, row in tools.METHODS.items() if name.startswith("tl_")}
    del ours_here["alone_backward"]
    return {**torch_loops.FORWARDS, **ours_here, "pieces": pieces, **loops, **of_tools}


@torch.no_grad()
def measured(model: nn.Module, shape: models.Shape, asked: argparse.Namespace) -> dict[str, Any]:
    """One precision: every method checked, its peak read, then timed by turns."""
    ids = models.ids(shape, asked.batch, asked.tokens, asked.seed + 2).cuda()
    calls: dict[str, Callable[[], Any]] = {}
    found, rows = {}, {}
    rows_asked = {name: m for name, m in methods().items() if name in asked.methods}
    for name, method in rows_asked.items():
        try:
            run, given = method.build(model, asked.k), method.given(model, ids)
        except NotHere as message:
            sys.stderr.write(f"{name} is left out: {message}\n")
            continue
        calls[name] = partial(run, given)
        events = calls[name]()
        if events is not None:
            found[name] = tuple(part.cpu() for part in events)
        rows[name] = {"peak": _peak(calls[name])}
    samples = interleaved(
        lambda: model(ids, use_cache=False),
        calls,
        _clock,
        asked.rounds,
        asked.slow_rounds,
        asked.least,
    )
    for name, taken in samples.items():
        rows[name] |= summary(taken) | {"quiet": True}  # what the CPU's other users do is no matter
    for name, events in found.items():
        rows[name]["differing"] = differing(events, found[methods()[name].reference])
    static = Scan(LogitLens(wrap(model)), "auto")
    return {
        "methods": rows,
        "chosen": f"{static.method} ({static.kind})",
        "products_ms": {name: 1000 * s for name, s in static.static.fastest.items() if s < 1e9},
        "saturation": when_fixed(found["plain"], shape.layers),
    }


def _clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def _peak(run: Callable[[], Any]) -> int:
    """Bytes allocated at most, above what was before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() - before


def main(arguments: list[str] | None = None) -> None:
    """Measure, write, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("shape", nargs="?", default="gpt2-small")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=512, help="in each row of the batch")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slow-rounds", type=int, default=2)
    parser.add_argument("--least", type=float, default=0.1, help="seconds of forward a sample")
    parser.add_argument("--methods", nargs="+", default=list(methods()), choices=list(methods()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder that keeps the models (made if missing)")
    parser.add_argument("--name", help="of the result; gpu-SHAPE by default")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        raise SystemExit("No GPU is here: torch.cuda.is_available() is False.")
    torch.set_float32_matmul_precision("highest")
    shape = models.shape_of(asked.shape)
    made = models.load(shape, asked.cache, asked.seed)
    record = {
        "kind": "gpu", "name": asked.name or f"gpu-{asked.shape}", "date": today(),
        "case": {name: getattr(asked, name) for name in ("shape", "batch", "tokens", "k", "seed")},
        "gpu": torch.cuda.get_device_name(), "machine": machine(),
        "versions": versions() | {"cuda": torch.version.cuda},
        "titles": {name: method.title for name, method in methods().items()}, "parts": {},
    }  # fmt: skip
    for dtype in asked.dtypes:
        model = copy.deepcopy(made).to("cuda", getattr(torch, dtype))
        record["parts"][dtype] = measured(model, shape, asked)
        del model
        write_whole(asked.out / f"{record['name']}.json", json.dumps(record, indent=1) + "\n")
    sys.stdout.write(table.gpu(record))


if __name__ == "__main__":
    main()
