"""Paper figures of a rerank, drawn from results (see `rerank/schema.json`). Nothing is computed here."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satlens.errors import InputError
from satlens.report.paper import (
    COLORS,
    Figures,
    legend_below,
    need,
    numbers,
    paper,
    save,
    spread,
    ticker_module,
)
from satlens.report.rerank.tables import beyond_temperature, of_rank, shown_nulls
from satlens.report.words import RERANK_NULL_NAMES, known

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAD_AXIS = "fixed so many layers before the end"


def right_by_lead(results: Mapping[str, Any]) -> "Figure":
    """How often rank 2 is right by how early it was fixed, beside the model's own expectation."""
    entries = [one for one in _rank(results)["by_lead"] if one["positions"]]
    if not entries:
        raise InputError("These results hold no position where top-1 is wrong.")
    lead = [one["lead"] for one in entries]
    with paper(results, "Rank 2 where top-1 is wrong") as (figure, axes):
        _line(axes, lead, [one["expected"] for one in entries], "expected by the model",
              color=COLORS["fresh"], marker="s", ls="--", mfc="white", offset=0.08)  # fmt: skip
        _line(axes, lead, [one["right"] for one in entries], "is the next token",
              color=COLORS["model"], marker="o", offset=-0.08)  # fmt: skip
        axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))
        axes.set(xlabel=f"{LEAD_AXIS}; 0: only at the last", ylabel="share of positions")
        axes.set_ylim(bottom=0)
        legend_below(axes, 2)
    return figure


def early_against_last(results: Mapping[str, Any]) -> "Figure":
    """The published difference at every gap, and the same matched on the final output."""
    entries = _rank(results)["sweep"]
    if not any(known(one["difference"]["value"]) for one in entries):
        raise InputError("These results hold no gap with positions on both sides.")
    gaps = [one["gap"] for one in entries]
    with paper(results, "Rank 2: early against fixed only at the last layer") as (figure, axes):
        _line(axes, gaps, [one["difference"] for one in entries], "as published",
              color=COLORS["fresh"], marker="s", ls="--", mfc="white", offset=0.08)  # fmt: skip
        _line(axes, gaps, [one["matched"] for one in entries], "matched on the final output",
              color=COLORS["model"], marker="o", offset=-0.08)  # fmt: skip
        axes.axhline(0, color=COLORS["null"], lw=1)
        axes.axvline(_rank(results)["published"]["gap"], color=COLORS["null"], lw=1, ls=":")
        axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))
        axes.set(xlabel="early: at least so many layers before the end; dotted: published",
                 ylabel="difference of shares right")  # fmt: skip
        legend_below(axes, 2)
    return figure


def gain_and_nulls(results: Mapping[str, Any]) -> "Figure":
    """The gain of every rank with its interval, above the draws of every null of rank 2."""
    every = need(results, "early")
    nulls = {kind: one for kind, one in shown_nulls(results).items() if one["draws"]}
    if not any(known(one["adjusted"]["gain"]["value"]) for one in every):
        raise InputError("These results hold no gain of any rank.")
    rows = [f"rank {one['rank']}" for one in every]
    rows += [f"rank 2, {RERANK_NULL_NAMES[kind]}" for kind in nulls]
    with paper(results, "Right more often when early, given the final output?",
               (4.8, 1.0 + 0.27 * len(rows))) as (figure, axes):  # fmt: skip
        for one, row in zip(every, reversed(range(len(nulls), len(rows))), strict=True):
            gain, first = one["adjusted"]["gain"], one["rank"] == 2
            axes.errorbar(numbers([gain["value"]]), [row], xerr=spread([gain]), fmt="o", ms=5, capsize=2,
                          color=COLORS["model"] if first else COLORS["ink"],
                          mfc=COLORS["model"] if first else "white")  # fmt: skip
        for (_, one), row in zip(nulls.items(), reversed(range(len(nulls))), strict=True):
            axes.plot(numbers(one["values"]), [row] * len(one["values"]), "|", color=COLORS["null"], ms=9,
                      mew=1)  # fmt: skip
            axes.plot(numbers([one["gain"]]), [row], "D", color=COLORS["ink"], ms=4)
        axes.axvline(0, color=COLORS["null"], lw=1, ls="--")
        axes.set_yticks(range(len(rows)), rows[::-1])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("gain: share right per standard deviation of how early")
    return figure


def loss_saved(results: Mapping[str, Any]) -> "Figure":
    """Paired differences of held-out loss, the steps beyond temperature."""
    return _differences(results, "loss", "Loss saved on held-out documents", "nats a token")


def accuracy_gained(results: Mapping[str, Any]) -> "Figure":
    """Paired differences of held-out top-1 accuracy, the steps beyond temperature."""
    title = "Top-1 accuracy gained on held-out documents"
    return _differences(results, "accuracy", title, "share of positions")


def _differences(results: Mapping[str, Any], key: str, title: str, label: str) -> "Figure":
    rows = beyond_temperature(results)
    if not any(known(one[key]["value"]) for one in rows.values()):
        raise InputError(f"These results hold no differences of {key}.")
    with paper(results, title, (4.8, 1.0 + 0.27 * len(rows))) as (figure, axes):
        for row, one in enumerate(reversed(rows.values())):
            own = one["against"] in ("ranks", "shuffled")
            axes.errorbar(numbers([one[key]["value"]]), [row], xerr=spread([one[key]]), fmt="o", ms=5,
                          capsize=2, color=COLORS["model"] if own else COLORS["ink"],
                          mfc=COLORS["model"] if own else "white")  # fmt: skip
        axes.axvline(0, color=COLORS["null"], lw=1, ls="--")
        axes.set_yticks(range(len(rows)), list(rows)[::-1])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(ticker_module().MaxNLocator(4))
        axes.set_xlabel(label)
    return figure


FIGURES: Figures = {
    "right_by_lead": right_by_lead, "early_against_last": early_against_last,
    "gain_and_nulls": gain_and_nulls, "loss_saved": loss_saved, "accuracy_gained": accuracy_gained,
}  # fmt: skip
"""Every figure by its file name."""


def save_figures(
    results: Mapping[str, Any],
    folder: str | os.PathLike[str],
    formats: Sequence[str] = ("png", "pdf", "svg"),
) -> list[Path]:
    """Draw every figure that these results hold the numbers for; returns the files written.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    return save(FIGURES, results, folder, formats)


def _rank(results: Mapping[str, Any]) -> Mapping[str, Any]:
    found = of_rank(results, 2)
    if found is None:
        raise InputError("These results do not follow rank 2.")
    return found


def _line(
    axes: Any, x: Sequence[float], estimates: Sequence[Any], label: str, offset: float, **look: Any
) -> None:
    """One line with intervals, set a little aside so that two can be told apart."""
    axes.errorbar(
        [at + offset for at in x], numbers(one["value"] for one in estimates), yerr=spread(estimates),
        label=label, capsize=1.5, ms=4, elinewidth=0.8, **look,
    )  # fmt: skip
