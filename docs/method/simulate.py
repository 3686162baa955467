"""The simulation figures of docs/method.md, where the answer is known because it was put there.

    python docs/method/simulate.py            simulated.json, true_null.png and converging.png, on one core
    python docs/method/simulate.py figures    the pictures again, from the JSON

Data and functions are those of the tests (`tests/order/planted.py`).
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from satlens.files import write_whole  # noqa: E402
from satlens.nulls.block import PATH_NULLS  # noqa: E402
from satlens.order import NullSampler, concordance, excess, page_trend, paper_tau  # noqa: E402
from satlens.significance import holm  # noqa: E402
from tests.order.planted import (  # noqa: E402
    Readout,
    detect_states,
    layers_without_order,
    make_events,
    noise_paths,
    stagewise_paths,
)

SETS, NOISE, TABLES, CLAIMS = 200, 30, 4000, 20
TESTS = {
    "concordance, documents": "#4477aa", "concordance, ranks permuted": "#228833",
    "Page's trend": "#ccbb44", "published tau": "#ee6677",
}  # fmt: skip


def true_null() -> dict[str, list[float]]:
    """p-values on layers that know nothing of the rank: 40 documents of 12 tokens, a third censored."""
    rows = []
    for seed in range(SETS):
        rng = np.random.default_rng([7, seed])
        layer, doc = layers_without_order(rng, 40, 12, k=5, n_layers=16, centre=0.8)
        events = make_events(layer, 16, doc)
        own = concordance(events, draws=999, seed=seed)
        paper = paper_tau(events, draws=999, seed=seed)
        rows.append((own.by_documents.p, own.by_permutation.p, page_trend(events).p, paper.p))
    return {name: np.array(rows)[:, i].tolist() for i, name in enumerate(TESTS)}


def converging() -> dict[str, list[list[float]]]:
    """Noise that converges, and stages that were planted: concordance, and its excess over each path null."""
    return {
        "random walks, no model": [_paths(seed, planted=False) for seed in range(NOISE)],
        "stages planted": [_paths(seed, planted=True) for seed in range(NOISE)],
    }


def _paths(seed: int, planted: bool) -> list[float]:
    gen = torch.Generator().manual_seed(seed)
    if planted:
        resid, doc = stagewise_paths(gen, documents=20, tokens=10, n_layers=14, d=30, k=4)
        scores, k = (lambda states, layer: states), 4
    else:
        resid, doc = noise_paths(gen, documents=30, tokens=8, n_layers=10, d=24)
        scores, k = Readout(torch.randn(120, 24, generator=gen)), 5
    sampler = NullSampler(scores, kinds=PATH_NULLS, draws=10, seed=seed)
    sampler.update(resid, detect_states(resid, scores, doc, k))
    nulls = sampler.finish()
    own = concordance(nulls["rotated"].events, draws=100).estimate.value
    over = [excess(nulls[kind], draws=500).estimate for kind in ("rotated", "exchanged")]
    return [own, *(number for one in over for number in (one.value, one.low, one.high))]


def tables() -> dict[str, float]:
    """Of tables with 20 claims and nothing in any, the share that holds something."""
    p = np.random.default_rng(0).uniform(size=(TABLES, CLAIMS))
    return {
        "alone": float((p < 0.025).any(1).mean()),
        "Holm": float(np.mean([(holm(row) < 0.025).any() for row in p])),
    }


def draw_null(found: dict[str, list[float]]) -> None:
    """How often each test says "order" at each level, on data without order."""
    figure, axes = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
    axes.plot([0, 1], [0, 1], color="#888888", lw=1, ls=":")
    for name, p in found.items():
        axes.step(np.sort(p), np.arange(1, len(p) + 1) / len(p), color=TESTS[name], label=name)
    axes.set(
        xlabel="p", ylabel="share of data sets at or below p", xlim=(0, 1), ylim=(0, 1.01),
        title=f"{SETS} data sets without order",
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(HERE / "true_null.png", dpi=150)


def draw_converging(found: dict[str, list[list[float]]]) -> None:
    """The concordance, and its excess over both path nulls, of noise and of planted stages."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for (name, rows), colour in zip(found.items(), ("#ee6677", "#4477aa"), strict=True):
        own = np.array(rows)
        left.hist(own[:, 0], bins=np.linspace(0.45, 1, 45), color=colour, alpha=0.75, label=name)
        at = np.arange(len(own)) + (0 if name.startswith("random") else len(own) + 4)
        strict = own[:, 1:].reshape(-1, 2, 3)
        strict = strict[np.arange(len(own)), strict[:, :, 1].argmin(1)]
        right.vlines(at, strict[:, 1], strict[:, 2], color=colour, lw=2)
        right.plot(at, strict[:, 0], ".", color=colour, ms=4)
    left.axvline(0.5, color="#888888", lw=1, ls=":")
    left.set(xlabel="concordance (0.5: no order)", ylabel="data sets")
    left.legend(frameon=False, fontsize=8)
    right.axhline(0, color="#888888", lw=1, ls=":")
    right.set(xlabel="data set", ylabel="excess over the stricter path", xticks=[])
    figure.savefig(HERE / "converging.png", dpi=150)


def shown(found: dict[str, Any]) -> str:
    """The numbers that the page quotes."""
    lines = [
        f"{name}: p <= 0.05 in {np.mean(np.array(p) <= 0.05):.3f}"
        for name, p in found["true_null"].items()
    ]
    for name, rows in found["converging"].items():
        own = np.array(rows)
        low = own[:, 1:].reshape(-1, 2, 3)[:, :, 1].min(1)
        span = f"concordance {own[:, 0].min():.3f} to {own[:, 0].max():.3f}"
        lines.append(f"{name}: {span}; interval of the excess above 0 in {np.mean(low > 0):.3f}")
    return "\n".join([*lines, str(found["tables"])])


def main() -> None:
    """Entry point."""
    torch.set_num_threads(1)
    path = HERE / "simulated.json"
    if sys.argv[1:] != ["figures"]:
        made = {"true_null": true_null(), "converging": converging(), "tables": tables()}
        write_whole(path, json.dumps(made) + "\n")
    found = json.loads(path.read_text(encoding="utf-8"))
    draw_null(found["true_null"])
    draw_converging(found["converging"])
    sys.stdout.write(shown(found) + "\n")


if __name__ == "__main__":
    main()
