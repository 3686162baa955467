"""satlens and its peers side by side: time over the forward pass, equal events, peak memory.

    python -m benchmarks.peers SHAPE [--parts 1 2 memory] [--cache FOLDER] [--rounds 5] [--slow-rounds 2]

SHAPE is gpt2-small, deep, small or tiny, or blocks x width x vocabulary. A part is a number of threads, or
"memory". Results go to benchmarks/results/NAME.json; parts and rows (--methods) measured later on the same
machine and case are added to it, or take the place of what is there. What is not installed is skipped, with a
line that says what to install.
"""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from benchmarks import memory, models, table
from benchmarks.machine import machine, today, versions
from benchmarks.methods import Found, Method, NotHere, differing, every_method
from benchmarks.ours import static_parts
from benchmarks.timing import LEAST, clock_of, interleaved, summary
from satlens.files import write_whole
from satlens.models import fast_linears
from satlens.survey.work import on_threads

RESULTS = Path(__file__).parent / "results"
REFERENCES = ("plain", "still_plain", "tl_plain")


def main(arguments: list[str] | None = None) -> None:
    """Measure the parts asked for, write the results, print their table."""
    asked = _parser().parse_args(arguments)
    path = asked.out / f"{asked.name or asked.shape}.json"
    record = opened(path, asked)
    methods = {name: m for name, m in every_method().items() if _chosen(name, asked)}
    record["titles"].update({name: method.title for name, method in methods.items()})
    for part in asked.parts:
        if part == "memory":
            record["memory"].update(measured_memory(methods, asked, record["skipped"]))
        else:
            before = record["times"].get(part, {}).get("methods", {})
            found = measured_times(methods, asked, int(part), record)
            found["methods"] = {**before, **found["methods"]}  # --methods: the other rows stay
            record["times"][part] = found
        write_whole(path, json.dumps(record, indent=1) + "\n")
    sys.stdout.write(table.peers(record))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    memory.add_arguments(parser)
    parser.add_argument("--parts", nargs="+", default=["1", "2", "memory"], type=_part)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--least", type=float, default=LEAST, help="seconds of forward a sample")
    parser.add_argument("--slow-rounds", type=int, default=2)
    parser.add_argument(
        "--methods", nargs="+", default=list(every_method()), choices=every_method()
    )
    parser.add_argument("--name", help="of the result; the shape by default")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def _part(text: str) -> str:
    if text != "memory" and not (text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f'{text!r} is neither a number of threads nor "memory"')
    return text


def _chosen(name: str, asked: argparse.Namespace) -> bool:
    return name in asked.methods or name in ("forward", *REFERENCES)


def opened(path: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """The record to add to: the one at ``path`` if it is of this case and machine, or a new one.

    Peak memory alone may be taken on another machine than the times; the record then says on which.
    """
    case = {
        name: getattr(asked, name) for name in ("shape", "batch", "tokens", "k", "seed", "onednn")
    }
    new = {
        "kind": "peers",
        "name": path.stem,
        "case": case,
        "machine": machine(),
        "versions": versions(),
        "titles": {},
        "skipped": {},
        "times": {},
        "memory": {},
    }
    if not path.is_file():
        return new
    old = json.loads(path.read_text(encoding="utf-8"))
    elsewhere = asked.parts == ["memory"]
    for key in ("kind", "case", "versions", *(() if elsewhere else ("machine",))):
        if old.get(key) != new[key]:
            raise SystemExit(
                f"{path} is of another {key}: {old.get(key)}, here {new[key]}. Give this one a --name of "
                "its own, or remove that file."
            )
    if elsewhere and old["machine"] != new["machine"]:
        old["memory_machine"] = new["machine"]
    return old


@torch.no_grad()
def measured_times(
    methods: dict[str, Method], asked: argparse.Namespace, threads: int, record: dict[str, Any]
) -> dict[str, Any]:
    """Every method checked once, which also warms it up, then timed by turns."""
    shape = models.shape_of(asked.shape)
    model = models.load(shape, asked.cache, asked.seed)
    ids = models.ids(shape, asked.batch, asked.tokens, asked.seed + 2)
    with on_threads(threads), fast_linears(model) if asked.onednn else nullcontext():
        static = static_parts(model)
        calls, found = ready(methods, model, ids, asked.k, record["skipped"])
        samples = interleaved(
            lambda: model(ids, use_cache=False),
            calls,
            clock_of(threads),
            asked.rounds,
            asked.slow_rounds,
            asked.least,
        )
    rows = {name: summary(taken) for name, taken in samples.items()}
    for name, events in found.items():
        rows[name]["differing"] = differing(events, found[methods[name].reference])
    return {
        "date": today(),
        "clock": "CPU time" if threads == 1 else "wall time",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "slots": asked.batch * asked.tokens * asked.k,
        "static": static,
        "saturation": when_fixed(found["plain"], shape.layers),
        "methods": rows,
    }


def ready(
    methods: dict[str, Method], model: Any, ids: Any, k: int, skipped: dict[str, str]
) -> tuple[dict[str, Callable[[], Any]], dict[str, Found]]:
    """Each method as a call without arguments, run once; and the events that it found."""
    calls: dict[str, Callable[[], Any]] = {}
    found: dict[str, Found] = {}
    for name, method in methods.items():
        try:
            run = method.build(model, k)
        except NotHere as message:
            skip(name, message, skipped)
            continue
        skipped.pop(name, None)
        given = method.given(model, ids)
        calls[name] = lambda run=run, given=given: run(given)
        events = calls[name]()
        if events is not None:
            found[name] = events
    return calls, found


def skip(name: str, message: Any, skipped: dict[str, str]) -> None:
    """Say once what is left out, and keep it in the record."""
    if name not in skipped:
        sys.stderr.write(f"{name} is left out: {message}\n")
    skipped[name] = str(message)


def when_fixed(found: Found, layers: int) -> list[dict[str, float]]:
    """By rank: the median saturation layer over L - 1, and the share fixed only at the output."""
    layer, last = found[0], max(layers - 1, 1)
    return [
        {
            "median": float(rank.float().median()) / last,
            "only_at_output": float((rank == layers - 1).float().mean()),
        }
        for rank in layer.T
    ]


def measured_memory(
    methods: dict[str, Method], asked: argparse.Namespace, skipped: dict[str, str]
) -> dict[str, dict[str, int]]:
    """Peak and static bytes of every method that is here, one process after the other."""
    if not memory.here():
        sys.stderr.write("No peak memory: it is read from /proc/self, which is Linux only.\n")
        return {}
    case = [asked.shape]
    for name in ("batch", "tokens", "k", "seed"):
        case += [f"--{name}", str(getattr(asked, name))]
    case += ["--onednn"] * asked.onednn
    if asked.cache:  # the other process has another working folder
        case += ["--cache", str(asked.cache.resolve())]
    found = {}
    for name in methods:
        if name in asked.methods and name not in skipped:
            numbers = memory.in_own_process(name, case)
            if "missing" in numbers:
                skip(name, numbers["missing"], skipped)
            else:
                found[name] = numbers
    return found


if __name__ == "__main__":
    main()
