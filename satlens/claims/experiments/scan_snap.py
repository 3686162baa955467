"""One attention layer that learns which tokens to read: `satlens.theory.dynamics` under pairs of rates.

No model is asked: the layer is trained here, as the theory has it (plain gradient steps from zero) and as the
paper ran it (momentum, random weights). A claim stands for every pair of rates, so the weakest decides.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satlens.claims.experiments.base import Experiment, Of
from satlens.models import ResidualModel
from satlens.resampling import finite
from satlens.theory.dynamics import Claim, Sequences, judge_sweep, sweep_rates
from satlens.verdicts import weakest

NAMES = {
    "attention leaves common tokens": "scan_leaves_common",
    "the more frequent rise more": "scan_frequent_first",
    "the rare are dropped first": "scan_rare_dropped",
    "it snaps": "snap_freezes",
    "no winner takes all": "snap_no_winner",
    "the ratio alone decides where it freezes": "snap_ratio_decides",
}
"""The claims that are judged, of those that a sweep answers."""
THEORY = {"momentum": 0.0, "start": "zero"}
PUBLISHED = {"momentum": 0.9, "start": "uniform"}


@dataclass(frozen=True)
class ScanSnapSettings:
    """What decides what comes out.

    Attributes:
        eta_z, ratios: rates of the attention, and of the decoder over it.
        seeds: trainings under each pair. steps: of plain training; published_steps: of the paper's.
    """

    eta_z: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0)
    ratios: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    seeds: int = 10
    steps: int = 400
    published_steps: int = 100
    queries: int = 3


def make(of: Of, model: ResidualModel | None, out: Path, progress: bool) -> dict[str, Any]:
    """Both settings, each with its null of shuffled next tokens."""
    own: ScanSnapSettings = of("scan_snap")
    ours = swept(own, own.steps, progress, **THEORY)
    theirs = swept(own, own.published_steps, progress, **PUBLISHED)
    return {"verdicts": [*judged(ours, ""), *judged(theirs, "_as_published")], "notes": []}


def swept(own: ScanSnapSettings, steps: int, progress: bool, **training: Any) -> list[Claim]:
    """A sweep and its null, judged."""
    sweep, null = (
        sweep_rates(
            Sequences(queries=own.queries, labels=labels), own.eta_z, own.ratios,
            seeds=range(own.seeds), steps=steps, progress=progress, **training,
        )
        for labels in ("own", "shuffled")
    )  # fmt: skip
    return judge_sweep(sweep, null)


def judged(claims: list[Claim], ending: str) -> list[dict[str, Any]]:
    """One verdict a statement, that of the pair of rates which says least for it."""
    made = []
    for statement, name in NAMES.items():
        every = [said(one, name + ending) for one in claims if one.statement == statement]
        made.append(weakest(every))
    return made


def said(one: Claim, name: str) -> dict[str, Any]:
    """As results.json has it."""
    rates = "" if one.eta_z is None else f", eta_Z {one.eta_z:g} and eta_Y / eta_Z {one.ratio:g}"
    difference = one.statement.startswith("the ratio alone")
    return {
        "id": name, "statement": f"{one.statement[0].upper()}{one.statement[1:]}.",
        "verdict": one.verdict, "effect": {"name": f"effect{rates}", **one.effect.to_dict()},
        "p": None if difference else finite(one.effect.p),
        "why": f"{one.why}{f' ({rates[2:]})' if rates else ''}",
        "null": "next tokens drawn at random" if name.startswith("scan_leaves") else None,
    }  # fmt: skip


SCAN_SNAP = Experiment(make, ScanSnapSettings, takes=())
