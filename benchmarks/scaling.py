"""How the ratio to the forward pass changes with blocks, vocabulary, k and tokens: one at a time.

    python -m benchmarks.scaling [--rounds 5] [--cache FOLDER]

The middle is 12 blocks of width 512, V 20,000, 4 x 128 tokens, k = 5. Writes benchmarks/results/scaling.json
and scaling.png. CPU time on one thread.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import models, table
from benchmarks.machine import machine, today, versions
from benchmarks.methods import Found, differing, every_method
from benchmarks.peers import RESULTS
from benchmarks.timing import LEAST, clock_of, interleaved, summary
from satlens.files import whole_file, write_whole
from satlens.report.palette import INK, LINES
from satlens.survey.work import on_threads

MIDDLE = {"layers": 12, "vocabulary": 20000, "k": 5, "tokens": 512}
WIDTH, ROW = 512, 128
AXES = {
    "layers": (4, 12, 24, 48),
    "vocabulary": (5000, 20000, 50000, 100000),
    "k": (1, 2, 5, 10, 20),
    "tokens": (32, 128, 512, 2048),
}
METHODS = ("certified", "backward", "careful")


def main(arguments: list[str] | None = None) -> None:
    """Measure every point, write numbers and figure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--least", type=float, default=LEAST, help="seconds of forward a sample")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder that keeps the models (made if missing)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    record = measured(AXES, MIDDLE, WIDTH, asked)
    write_whole(asked.out / "scaling.json", json.dumps(record, indent=1) + "\n")
    draw(record, asked.out / record["figure"])
    sys.stdout.write(table.scaling(record))


def measured(
    axes: dict[str, tuple[int, ...]], middle: dict[str, int], width: int, asked: argparse.Namespace
) -> dict[str, Any]:
    """The record: every point of every axis, the middle measured once."""
    known: dict[tuple, dict[str, Any]] = {}
    points: dict[str, list[dict[str, Any]]] = {}
    for axis, values in axes.items():
        points[axis] = []
        for value in values:
            case = {**middle, axis: value}
            key = tuple(case.values())
            if key not in known:
                known[key] = point(case, width, asked)
            points[axis].append({"value": value, "methods": known[key]})
    return {
        "kind": "scaling",
        "name": "scaling",
        "about": (
            f"One size at a time, the others at {middle['layers']} blocks of width {width}, vocabulary "
            f"{middle['vocabulary']:,}, k = {middle['k']}, {middle['tokens']} tokens in rows of {ROW}. CPU "
            "time on one thread over that of the forward pass."
        ),
        "middle": middle,
        "width": width,
        "figure": "scaling.png",
        "machine": machine(),
        "versions": versions(),
        "times": {"1": {"date": today()}},
        "titles": {name: every_method()[name].title for name in METHODS},
        "points": points,
    }


@torch.no_grad()
def point(case: dict[str, int], width: int, asked: argparse.Namespace) -> dict[str, Any]:
    """The methods at one point; their events must be those of the plain scan."""
    shape = models.Shape(case["layers"], width, case["vocabulary"])
    model = models.load(shape, asked.cache, asked.seed)
    row = min(ROW, case["tokens"])
    ids = models.ids(shape, case["tokens"] // row, row, asked.seed + 2)
    every = every_method()
    with on_threads(1):
        runs = {name: every[name].build(model, case["k"]) for name in (*METHODS, "plain")}
        found: dict[str, Found] = {name: run(ids) for name, run in runs.items()}
        reference = found["plain"]
        samples = interleaved(
            lambda: model(ids, use_cache=False),
            {name: (lambda run=runs[name]: run(ids)) for name in METHODS},
            clock_of(1), asked.rounds, asked.rounds, asked.least,
        )  # fmt: skip
    rows = {name: summary(taken) for name, taken in samples.items()}
    return {
        name: {**row, "differing": differing(found[name], reference)} for name, row in rows.items()
    }


def draw(record: dict[str, Any], path: Path) -> None:
    """One panel a size: medians, and the whole range as a band; the forward pass is 1."""
    import matplotlib
    from matplotlib.figure import Figure

    ink = INK["light"]
    style = {
        "font.size": 8.5, "axes.spines.top": False, "axes.spines.right": False,
        "axes.edgecolor": ink["muted"], "axes.labelcolor": ink["ink"], "text.color": ink["ink"],
        "xtick.color": ink["muted"], "ytick.color": ink["muted"], "legend.frameon": False,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7.2, 2.6), layout="constrained")
        panels = figure.subplots(1, len(record["points"]), sharey=True)
        for axes, (axis, points) in zip(panels, record["points"].items(), strict=True):
            _panel(axes, axis, points, record["titles"], ink)
        panels[0].set_ylabel("time over the forward pass")
        figure.legend(
            *panels[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=3,
            fontsize=7.5,
            columnspacing=1.2,
        )
        with whole_file(path) as beside:
            figure.savefig(beside, format="png", dpi=200)


def _panel(axes: Any, axis: str, points: list[dict], titles: dict[str, str], ink: dict) -> None:
    values = [point["value"] for point in points]
    for (name, title), color, marker in zip(titles.items(), LINES["light"], "osD^", strict=False):
        rows = [point["methods"][name] for point in points]
        axes.fill_between(values, [r["least"] for r in rows], [r["most"] for r in rows],
                          color=color, alpha=0.2, linewidth=0)  # fmt: skip
        axes.plot(
            values, [r["median"] for r in rows], color=color, marker=marker, ms=4, label=title
        )
    axes.axhline(1, color=ink["null"], lw=1, ls="--")
    axes.set(xscale="log", yscale="log", xlabel=axis)
    axes.set_xticks(values, [f"{v:,}" if v < 10000 else f"{v // 1000}k" for v in values])
    axes.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    axes.minorticks_off()


if __name__ == "__main__":
    main()
