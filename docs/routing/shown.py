"""The tables of docs/routing.md, from the summaries that satlens.routing.reproduce wrote beside this file:

python docs/routing/shown.py
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
TOYS = ("copy", "sort")


def said(one: dict, digits: int = 3) -> str:
    """A number with its interval."""
    if one["ci"] is None:
        return f"{one['value']:.{digits}f}"
    low, high = one["ci"]
    return f"{one['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def table(summary: dict) -> list[str]:
    """A row a run: score open, soft, hard and at random, and what is saved."""
    score = "accuracy" if summary["task"] in TOYS else "loss"
    heads = [
        "seed", "lambda", f"{score}, soft", f"{score}, hard", f"{score}, as many at random",
        "saved, soft", "saved, hard", "without gates", "early exit at the cost of hard gates",
    ]  # fmt: skip
    rows = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    bases = {run["seed"]: run for run in summary["runs"] if run["penalty"] is None}
    for run in summary["runs"]:
        if run["penalty"] is None:
            continue
        found, base = run["measured"], bases[run["seed"]]
        exits = base["early_exit"][f"{run['penalty']:g}"]
        cells = [
            str(run["seed"]), f"{run['penalty']:g}",
            *(said(found[way][score]) for way in ("soft", "hard", "random")),
            percent(found["soft"]["saved"]["value"]), percent(found["hard"]["saved"]["value"]),
            said(base["measured"]["open"][score]), said(exits[score]),
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def layers(summary: dict) -> list[str]:
    """Hard share of tokens that run each block."""
    rows = []
    for run in summary["runs"]:
        if run["penalty"] is not None:
            share = " ".join(f"{x:.2f}" for x in run["measured"]["hard"]["by_layer"])
            rows.append(f"  seed {run['seed']}, lambda {run['penalty']:g}: {share}")
    return rows


def classes(summary: dict) -> list[str]:
    """Hard share of blocks run, by class of token."""
    rows = []
    for run in summary["runs"]:
        if run["penalty"] is not None and run["measured"]["classes"]:
            each = run["measured"]["classes"]["hard"]
            text = ", ".join(f"{name} {one['runs'][0]:.3f}" for name, one in each.items())
            rows.append(f"  seed {run['seed']}, lambda {run['penalty']:g}: {text}")
    return rows


if __name__ == "__main__":
    for path in sorted(HERE.glob("*.json")):
        summary = json.loads(path.read_text(encoding="utf-8"))
        parts = [path.stem, *table(summary), *layers(summary), *classes(summary), ""]
        sys.stdout.write("\n".join(parts) + "\n")
