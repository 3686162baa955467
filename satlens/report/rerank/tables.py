"""Tables of a rerank: ranks where top-1 is wrong, how early against matched, the nulls, the reranker.

Everything is read from results (see `rerank/schema.json`); nothing is computed.
"""

from collections.abc import Mapping
from typing import Any

from satlens.report.table import WIDTH, Table, cell, markdown, terminal
from satlens.report.words import (
    RERANK_NULL_NAMES,
    VARIANT_NAMES,
    count,
    known,
    number,
    p_value,
)

MOST_GAPS = 16
"""Rows of a sweep that a reader can still take in; of deeper models some gaps are shown."""


def ranks_table(results: Mapping[str, Any]) -> Table:
    """Each rank where top-1 is wrong: how often right, and what being early adds."""
    rows = [
        (str(one["rank"]), cell(one["right"], 3), number(one["expected"]["value"], 3),
         number(one["last"]["value"]), cell(one["adjusted"]["gain"], 3, sign=True),
         _p(one["adjusted"]["p"]), _p(one["adjusted"]["p_shuffled"]))
        for one in results["early"]
    ]  # fmt: skip
    found = results["positions"]
    return Table(
        "Where top-1 is wrong, by rank",
        ("rank", "right", "expected", "last", "gain", "p", "p shuffled"), tuple(rows),
        f"{found['wrong']:,} of {count(found['positions'], 'position')} of "
        f"{count(found['documents'], 'document')} have a wrong top-1. Right: the share of them where this "
        "rank is the next token; expected: the same by the model's own probability. Last: the share where it "
        "is fixed only at the last layer. Gain: share right per standard deviation of how early, given what "
        "the final output says (probability, margins, entropy); p: one-sided, documents as units, and with "
        "layers shuffled among positions of like final output. Brackets are intervals over documents.",
    )  # fmt: skip


def published_table(results: Mapping[str, Any]) -> Table:
    """The published two-proportion test, of each rank."""
    rows = [
        (str(one["rank"]), f"{found['early']:,}", number(found["early_share"], 3), f"{found['last']:,}",
         number(found["last_share"], 3), number(found["z"], 2, sign=True), _p(found["p"]))
        for one in results["early"] if (found := one["published"])
    ]  # fmt: skip
    gap = results["early"][0]["published"]["gap"] if results["early"] else 0
    return Table(
        "As published: early against fixed only at the last layer",
        ("rank", "early", "right", "last", "right", "z", "p"), tuple(rows),
        f"Early: fixed {count(gap, 'layer')} or more before the end. The test takes positions as independent "
        "and does not hold the final output fixed: an early rank is also a likelier one.",
    )  # fmt: skip


def sweep_table(results: Mapping[str, Any], rank: int = 2) -> Table:
    """The differences at every gap, as they are and matched."""
    one = of_rank(results, rank)
    entries = one["sweep"] if one else []
    step = -(-len(entries) // MOST_GAPS) or 1
    rows = [
        (str(found["gap"]), f"{found['early']:,}", cell(found["difference"], 3, sign=True),
         number(found["odds_ratio"]["value"]), cell(found["matched"], 3, sign=True),
         number(found["matched_odds_ratio"]["value"]))
        for found in entries[::step]
    ]  # fmt: skip
    last = entries[0]["last"] if entries else 0
    return Table(
        f"Rank {rank}: right more often the earlier it was fixed?",
        ("gap", "early", "difference", "odds", "matched", "odds matched"), tuple(rows),
        f"Gap: layers before the end that count as early. Difference: share right of the early ones minus "
        f"that of the {last:,} fixed only at the last layer. Matched: the same inside strata of like final "
        "probability, entropy and margin, above what the model itself expects. Odds: ratio of the odds of "
        "being right. No gap is chosen: the verdict is taken on the gain, which uses all of them.",
    )  # fmt: skip


def nulls_table(results: Mapping[str, Any]) -> Table:
    """The gain of rank 2 under every null, and what the real layers have above it."""
    rows = []
    for kind, found in shown_nulls(results).items():
        rows.append((
            RERANK_NULL_NAMES[kind], str(found["draws"]), f"{found['tokens']:,}",
            number(found["gain"], 3, sign=True), number(found["real"], 3, sign=True),
            cell(found["excess"], 3, sign=True),
        ))  # fmt: skip
    return Table(
        "Gain of rank 2 beside layers that know nothing of the question",
        ("", "draws", "positions", "gain", "real", "excess"), tuple(rows),
        "Real: the gain of the real layers at the same positions; excess: real minus null.", left=1,
    )  # fmt: skip


def variants_table(results: Mapping[str, Any]) -> Table:
    """Loss and accuracy of every distribution on held-out documents."""
    rows = []
    for name, found in shown_variants(results).items():
        beta = found["beta"]
        rows.append((
            VARIANT_NAMES[name], cell(found["loss"], 4), cell(found["accuracy"], 4),
            number(1 / beta if known(beta) and beta else None, 3), str(found["parameters"]),
        ))  # fmt: skip
    return Table(
        "On documents that nothing was fitted to",
        ("", "loss, nats a token", "top-1 accuracy", "T", "numbers"), tuple(rows),
        f"{results['reranker']['folds']} parts of the documents, each judged by fits on the others. T: "
        "temperature. Numbers: how many were fitted.", left=1,
    )  # fmt: skip


def differences_table(results: Mapping[str, Any]) -> Table:
    """Paired differences between two distributions."""
    rows = [
        (_variant(one["of"]), _variant(one["against"]),
         cell(one["loss"], 4, sign=True), cell(one["accuracy"], 4, sign=True))
        for one in results["reranker"]["differences"]
    ]  # fmt: skip
    return Table(
        "What each step saves", ("", "against", "loss saved", "accuracy gained"), tuple(rows),
        "Paired, at the same positions; brackets are intervals over documents, which draw the "
        "documents again and not the fits.", left=2,
    )  # fmt: skip


def weights_table(results: Mapping[str, Any]) -> Table:
    """What the reranker adds to the log-probability of each rank."""
    weights = results["reranker"]["weights"]
    rows = [
        (str(i + 1), *(number(one, 2, sign=True) for one in row))
        for i, row in enumerate(weights["ranks"])
    ]
    return Table(
        "Weights of the reranker, fitted on all positions", ("rank", *weights["features"]), tuple(rows),
        "Added to the log-probability of the rank at the fitted temperature, before all outputs are made to "
        "sum to 1. Lead: layers before the end over L - 1.",
    )  # fmt: skip


def rerank_tables(results: Mapping[str, Any]) -> tuple[Table, ...]:
    """Every table of a rerank, in the order of reading."""
    return (
        ranks_table(results), published_table(results), sweep_table(results), nulls_table(results),
        variants_table(results), differences_table(results), weights_table(results),
    )  # fmt: skip


def summary(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The whole rerank for the terminal, at most ``width`` columns."""
    return terminal(results, rerank_tables(results), width)


def tables_markdown(results: Mapping[str, Any]) -> str:
    """The same tables in Markdown."""
    return markdown(results, rerank_tables(results))


def of_rank(results: Mapping[str, Any], rank: int) -> Mapping[str, Any] | None:
    """What was found of one rank; None where it was not followed."""
    return next((one for one in results["early"] if one["rank"] == rank), None)


def shown_nulls(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The nulls that these results hold, in the order of the tables."""
    found = results["nulls"]
    return {kind: found[kind] for kind in RERANK_NULL_NAMES if kind in found}


def shown_variants(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The distributions that these results hold, in the order of the tables."""
    found = results["reranker"]["variants"]
    return {name: found[name] for name in VARIANT_NAMES if name in found}


def beyond_temperature(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The paired differences beside temperature's own, by what they are of and against, in words."""
    return {
        " over ".join(_variant(one[end]) for end in ("of", "against")): one
        for one in results["reranker"]["differences"]
        if one["against"] != "model"
    }


def _variant(name: str) -> str:
    return VARIANT_NAMES.get(name, name)


def _p(p: Any) -> str:
    return p_value(p) if known(p) else "-"
