"""What docs/dynamics.md shows, measured again:

    python docs/dynamics/measure.py sweeps
    python docs/dynamics/measure.py track --run RUN [--name track_tiny]    RUN: of python -m satlens.zoo.train

    python docs/dynamics/measure.py tables        markdown, from the JSON
    python docs/dynamics/measure.py figure        dynamics.png, from the JSON

What is measured is written as JSON beside this file.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from shown import draw, tables

from satlens.theory import Sequences, snapshots, sweep_rates, track
from satlens.zoo import CORPUS

HERE = Path(__file__).parent
RATES = {"eta_z": (0.5, 1.0, 2.0, 3.0), "ratios": (1.0, 2.0, 5.0, 10.0)}
SEEDS = range(10)
SWEEPS = {
    # As the theory has it: plain gradient steps from zero. Long enough to see the freeze.
    "theory": {"queries": 3, "steps": 400, "momentum": 0.0, "start": "zero"},
    "theory_shuffled": {
        "queries": 3, "steps": 400, "momentum": 0.0, "start": "zero", "labels": "shuffled",
    },
    # As published: momentum, random weights, 100 steps.
    **{f"published_{queries}": {"queries": queries} for queries in (1, 3, 5)},
    "published_3_shuffled": {"queries": 3, "labels": "shuffled"},
}  # fmt: skip


def sweeps(only: str | None) -> None:
    """Every sweep that has no file yet."""
    for name, settings in SWEEPS.items():
        path = HERE / f"{name}.json"
        if path.exists() or only not in (None, name):
            continue
        training = dict(settings)
        made = {key: training.pop(key) for key in ("queries", "labels") if key in training}
        began = time.monotonic()
        sweep_rates(Sequences(**made), **RATES, seeds=SEEDS, progress=True, **training).save(path)
        sys.stderr.write(f"{name}: {time.monotonic() - began:.0f} s\n")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("sweeps", "track", "tables", "figure"))
    parser.add_argument("--only", default=None, help="one sweep")
    parser.add_argument("--run", type=Path, help="folder of python -m satlens.zoo.train")
    parser.add_argument("--name", default="track", choices=("track", "track_tiny"))
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="split at <|endoftext|>")
    parser.add_argument("--folder", type=Path, default=None, help="keeps the rows, to go on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "sweeps":
        sweeps(options.only)
        return
    if options.what == "tables":
        sys.stdout.write("\n\n".join(tables(HERE)) + "\n")
        return
    if options.what == "figure":
        draw(HERE)
        return
    texts = [one.strip() for one in options.corpus.read_text("utf-8").split("<|endoftext|>")]
    found = track(snapshots(options.run), [one for one in texts if one], folder=options.folder)
    found.save(HERE / f"{options.name}.json")


if __name__ == "__main__":
    main()
