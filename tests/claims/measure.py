"""The claims on real weights, small enough for a test, and what they gave at several seeds.

    python -m tests.claims.measure tiny [stories260k] [--seeds 5]

writes ``expected/NAME.json``: by claim the verdict and the effect of each seed. A seed decides the nulls, the
folds, the splits and the trainings, so the spread over seeds is what a test must allow for.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from satlens import claims
from satlens.files import write_whole

EXPECTED = Path(__file__).parent / "expected"
SEEDS = range(5)
LEFT_OUT = {"sparse": "times are of the machine that runs them"}
"""Studies whose effects are not of the model."""
SMALL: dict[str, dict[str, Any]] = {
    "audit": dict(null_tokens=1_000, untrained_seeds=1),
    "probe": dict(draws=1, untrained_seeds=1),
    "patch": dict(pairs=50, steered=50, offsets=(0,), alphas=(1.0,)),
    "shortcut": dict(splits=1, ridge=1e-2, tuned_steps=0, submodule_tokens=300, submodule_layers=3),
    "exits": dict(splits=1, points=4, fit_tokens=1_000, untrained_seeds=0),
    "rerank": dict(null_tokens=1_000, shuffles=99),
    "route": dict(penalties=(0.3,), steps=25, train_seeds=1, draws=1),
    "packing": dict(asked=8, seeds=2),
}
TOKENS = 3_000


def source(name: str, assets: Path | None) -> tuple[str, str]:
    """A model and its corpus."""
    if name == "tiny":
        return "tiny", "bundled"
    assert assets is not None, "the folder that SATLENS_ASSETS names"
    return str(assets / "models" / name), str(assets / "data" / "tinystories_2mb.txt")


def asked_of(name: str) -> list[str]:
    """The claims about a model of this kind that are the same on every machine."""
    return [
        one.id
        for one in claims.CLAIMS.values()
        if "text" in one.takes and one.study not in LEFT_OUT
    ]


def table(name: str, assets: Path | None, seed: int = 0) -> claims.ClaimTable:
    """All of them, at one seed."""
    model, corpus = source(name, assets)
    return claims.run(
        model, corpus, only=asked_of(name), max_tokens=TOKENS, seed=seed, settings=SMALL
    )


def measure(name: str, assets: Path | None, seeds: range = SEEDS) -> dict[str, Any]:
    """By claim, what every seed gave."""
    found: dict[str, Any] = {}
    for seed in seeds:
        for row in table(name, assets, seed).rows:
            one = found.setdefault(row.id, {"verdicts": [], "values": []})
            one["verdicts"].append(row.verdict)
            one["values"].append(None if row.value is None else round(row.value, 5))
    return found


def main() -> None:
    """Measure the models that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=("tiny", "stories260k"))
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    assets = os.environ.get("SATLENS_ASSETS")
    for name in asked.names:
        began = time.monotonic()
        found = measure(name, Path(assets) if assets else None, range(asked.seeds))
        said = {"tokens": TOKENS, "seeds": asked.seeds, "settings": SMALL, "claims": found,
                "seconds": round(time.monotonic() - began)}  # fmt: skip
        write_whole(EXPECTED / f"{name}.json", json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
