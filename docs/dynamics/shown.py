"""The tables and the figure of docs/dynamics.md, from the JSON beside this file."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from satlens.resampling import Estimate
from satlens.theory import RateSweep, Track, judge_sweep
from satlens.theory.dynamics import Claim

COLOURS = ("#4477aa", "#228833", "#ccbb44", "#ee6677")


def span(one: Estimate, digits: int = 3, sign: bool = False) -> str:
    """A number with its interval."""
    form = f"{'+' if sign else ''}.{digits}f"
    if not np.isfinite(one.value):
        return "-"
    if np.isnan(one.low):
        return f"{one.value:{form}}"
    return f"{one.value:{form}} [{one.low:{form}}, {one.high:{form}}]"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown, numbers to the right."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def freezes(sweep: RateSweep) -> str:
    """When and where attention freezes, by rate."""
    rows = []
    for rate, (eta_z, ratio) in enumerate(sweep.rates.tolist()):
        step = sweep.estimate("freeze", rate)
        rows.append([
            f"{eta_z:g}", f"{ratio:g}", span(step, 0), f"{step.value * eta_z:.0f}",
            *(span(sweep.estimate(name, rate)) for name in
              ("common_freeze", "common_end", "entropy_freeze", "after")),
        ])  # fmt: skip
    head = ["eta_Z", "eta_Y / eta_Z", "freeze step", "step x eta_Z", "on common tokens there",
            "at the end", "entropy there", "way of Z after it"]  # fmt: skip
    return table(head, rows)


def verdicts(folder: Path) -> str:
    """How many rates each claim holds under, and over all rates its effect, for both kinds of training."""
    said = []
    for name in ("theory", "published_3"):
        pair = [RateSweep.load(folder / f"{name}{end}.json") for end in ("", "_shuffled")]
        claims = judge_sweep(*pair)
        own = {statement: [one for one in claims if one.statement == statement]
               for statement in dict.fromkeys(one.statement for one in claims)}  # fmt: skip
        said.append({statement: verdict_cells(found) for statement, found in own.items()})
    rows = [[statement, *cells, *said[1][statement]] for statement, cells in said[0].items()]
    return table(
        ["claim", "plain steps from zero", "effect", "as published, 3 queries", "effect"], rows
    )


def verdict_cells(found: list[Claim]) -> list[str]:
    """The verdicts on one claim, counted, and the effect or the range of effects."""
    if len(found) == 1:
        return [found[0].verdict, span(found[0].effect, 3, sign=True)]
    words = [one.verdict for one in found]
    values = [one.effect.value for one in found if np.isfinite(one.effect.value)]
    counts = ", ".join(f"{word} {words.count(word)}" for word in dict.fromkeys(words))
    return [counts, f"{min(values):+.3f} .. {max(values):+.3f}" if values else "-"]


def entropies(folder: Path) -> str:
    """The published figure's quantity: mean entropy of attention after 100 steps."""
    rows = []
    for queries in (1, 3, 5):
        sweep = RateSweep.load(folder / f"published_{queries}.json")
        for eta_z in np.unique(sweep.rates[:, 0]):
            own = np.flatnonzero(sweep.rates[:, 0] == eta_z)
            cells = [span(sweep.estimate("entropy_end", rate)) for rate in own]
            rows.append([f"{queries} / {2 * queries}", f"{eta_z:g}", *cells])
    ratios = [f"ratio {ratio:g}" for ratio in np.unique(sweep.rates[:, 1])]
    return table(["queries / next tokens", "eta_Z", *ratios], rows)


def checkpoints(track: Track) -> str:
    """A row a checkpoint."""
    rows = []
    for one in track.rows:
        layers = [span(one.mean_layer[rank], 2) for rank in (0, 4)]
        excess = [
            span(one.excess[kind], 3, sign=True) if kind in one.excess else "not drawn"
            for kind in ("rotated", "exchanged")
        ]
        rows.append([
            f"{one.step:,}", span(one.loss, 2), *layers, span(one.concordance),
            f"{one.comparable.value:.2f}", *excess, one.verdict,
        ])  # fmt: skip
    head = ["step", "loss", "rank 1", "rank 5", "concordance", "comparable",
            "excess, path rotated", "excess, path exchanged", "order"]  # fmt: skip
    return table(head, rows)


def tables(folder: Path) -> list[str]:
    """Every table of the page, in its order."""
    return [
        verdicts(folder), freezes(RateSweep.load(folder / "theory.json")), entropies(folder),
        *(checkpoints(Track.load(folder / f"{name}.json")) for name in ("track", "track_tiny")),
    ]  # fmt: skip


def draw(folder: Path) -> None:
    """Attention over steps; where and when it freezes."""
    sweep = RateSweep.load(folder / "theory.json")
    null = RateSweep.load(folder / "theory_shuffled.json")
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    rate = int(np.flatnonzero((sweep.rates == (1.0, 5.0)).all(1))[0])
    masses(axes[0], sweep, null, rate)
    eta_z, ratio = sweep.rates.T
    for colour, eta in zip(COLOURS, np.unique(eta_z), strict=True):
        own = np.flatnonzero(eta_z == eta)
        for axis, name in zip(axes[1:], ("freeze", "common_freeze"), strict=True):
            found = [sweep.estimate(name, one) for one in own]
            value = np.array([one.value for one in found])
            ends = np.array([[one.low, one.high] for one in found]).T
            axis.errorbar(
                ratio[own], value, np.abs(ends - value), color=colour, marker="o", markersize=3,
                capsize=2, linewidth=1, label=f"$\\eta_Z$ = {eta:g}",
            )  # fmt: skip
    axes[1].set(xscale="log", yscale="log", title="step of the freeze")
    axes[2].set(xscale="log", title="attention on common tokens there")
    for axis in axes[1:]:
        axis.set(
            xlabel="$\\eta_Y / \\eta_Z$", xticks=[1, 2, 5, 10], xticklabels=["1", "2", "5", "10"]
        )
        axis.minorticks_off()
    axes[1].legend(frameon=False, fontsize=8)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "dynamics.png", dpi=110)


def masses(axis: plt.Axes, sweep: RateSweep, null: RateSweep, rate: int) -> None:
    """Mass on common, on rarer and on more frequent distinct tokens over steps; dotted: labels shuffled."""
    names = {
        "common": "common",
        "frequent": "distinct, frequent half",
        "rare": "distinct, rare half",
    }
    for colour, (name, words) in zip(COLOURS, names.items(), strict=False):
        axis.plot(sweep.at[1:], sweep.curves[name][rate][1:], color=colour, label=words)
        axis.plot(null.at[1:], null.curves[name][rate][1:], color=colour, linestyle=":")
    axis.axvline(sweep.estimate("freeze", rate).value, color="grey", linewidth=0.8)
    axis.set(
        xscale="log", xlabel="step", ylim=(0, 0.8),
        title="attention on ... ($\\eta_Z$ = 1, $\\eta_Y$ = 5)",
    )  # fmt: skip
    axis.legend(frameon=False, fontsize=8)
