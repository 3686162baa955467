"""Tables of a patch: what each state put in does, by offset, and what each direction does, by strength.

Everything is read from results (see `patch/schema.json`); nothing is computed. The tables by offset and
by strength are too wide for a terminal with their intervals: ``intervals=True`` is for the page.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from satlens.report.table import WIDTH, Table, cell, markdown, terminal
from satlens.report.words import CONDITION_NAMES, DIRECTION_NAMES, count, number

ELSEWHERE = " Intervals over documents: on the page and in results.json."


def patching_table(results: Mapping[str, Any]) -> Table:
    """Every state that is put in at the donor's own saturation layer, with intervals."""
    patching, rows = results["patching"], []
    at = nearest(patching["offsets"], 0)
    for name, found in shown(patching["conditions"], CONDITION_NAMES).items():
        rows.append((
            CONDITION_NAMES.get(name, name), str(found["n"][at]), cell(found["published"][at]),
            cell(found["forced"][at]),
            cell(_at(patching["excess"].get(name), at), sign=True) if name in patching["excess"] else "",
        ))  # fmt: skip
    return Table(
        f"What is put in, at offset {signed(patching['offsets'][at])}",
        ("", "pairs", "published", "forced", "paired beyond it"), tuple(rows),
        f"{_pairs(results)} Published: rank 1 now saturates at the patched layer and the top-1 is "
        "kept; near-circular, since a saturated state decodes to the answer by construction: look at what "
        "the controls reach. Forced: the token's own rank 2 settles earlier than without the patch, and "
        "ranks 1 and 2 are its own. Paired beyond it: share forced, paired donor minus control. Brackets are "
        "intervals over documents.",
        left=1,
    )  # fmt: skip


def published_table(results: Mapping[str, Any], intervals: bool = False) -> Table:
    """Published success by offset, paired and every control."""
    return _by_offset(results, "Published success, by offset", lambda found: found["published"], intervals,
                      "The share of pairs that pass the published rule.")  # fmt: skip


def forced_table(results: Mapping[str, Any], intervals: bool = False) -> Table:
    """The share forced by offset, paired and every control."""
    return _by_offset(results, "Forced, by offset", lambda found: found["forced"], intervals,
                      "The share of pairs whose own rank 2 settles earlier than before.")  # fmt: skip


def advance_table(results: Mapping[str, Any], intervals: bool = False) -> Table:
    """Layers by which rank 2 settles earlier, by offset, paired and every control."""
    return _by_offset(results, "Rank 2 earlier, in layers, by offset", rank_two, intervals,
                      "Layers by which rank 2 settles before it would have; negative: later.",
                      sign=True)  # fmt: skip


def kept_table(results: Mapping[str, Any], intervals: bool = False) -> Table:
    """The share of pairs whose final top-1 is unchanged, by offset."""
    return _by_offset(results, "Top-1 kept, by offset", lambda found: found["kept"], intervals,
                      "The share of pairs whose final top-1 is unchanged.")  # fmt: skip


def steering_table(results: Mapping[str, Any]) -> Table:
    """Every direction at strength 1, with intervals."""
    steering, rows = results["steering"], []
    at, stage = nearest(steering["alphas"], 1), steering["stage"]
    for name, found in shown(steering["conditions"], DIRECTION_NAMES).items():
        rows.append((
            DIRECTION_NAMES.get(name, name), cell(found["forced"][at]),
            number(found["transition"][at]["value"]), number(found["kept"][at]["value"]),
            cell(_at(steering["excess"].get(name), at), sign=True) if name in steering["excess"] else "",
        ))  # fmt: skip
    return Table(
        f"Steering to stage {stage + 1}, at alpha {steering['alphas'][at]:g}",
        ("direction", "forced", "transition", "top-1 kept", "means beyond it"), tuple(rows),
        f"{count(steering['n'], 'token')} of {count(steering['documents'], 'document')}, in stage {stage} "
        "with layers of it left. Transition: the share whose stage ends at the next layer. Forced: the same, "
        "with the model's own answer. Means beyond it: share forced by the mean difference minus the "
        "direction's.",
        left=1,
    )  # fmt: skip


def dose_table(results: Mapping[str, Any], intervals: bool = False) -> Table:
    """The share forced by strength, every direction."""
    steering = results["steering"]
    named = shown(steering["conditions"], DIRECTION_NAMES)
    rows = [
        (signed(alpha), *(_words(found["forced"][i], intervals) for found in named.values()))
        for i, alpha in enumerate(steering["alphas"])
    ]
    note = "The share of tokens whose stage ends at the next layer, with the model's own answer."
    note += "" if intervals else ELSEWHERE
    return Table("Forced, by alpha", ("alpha", *named), tuple(rows), note, left=1)


def patch_tables(results: Mapping[str, Any], intervals: bool = False) -> tuple[Table, ...]:
    """Every table of a patch, in the order of reading."""
    return (
        patching_table(results), published_table(results, intervals), forced_table(results, intervals),
        advance_table(results, intervals),
        kept_table(results, intervals), steering_table(results), dose_table(results, intervals),
    )  # fmt: skip


def summary(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The whole patch for the terminal, at most ``width`` columns."""
    return terminal(results, patch_tables(results), width)


def tables_markdown(results: Mapping[str, Any]) -> str:
    """The same tables in Markdown, with intervals."""
    return markdown(results, patch_tables(results, intervals=True))


def shown(found: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The conditions that these results hold, in the order of the tables."""
    return {name: found[name] for name in names if name in found}


def signed(value: float) -> str:
    """An offset or a strength with its sign; 0 has none.

    >>> signed(3), signed(-0.5), signed(0)
    ('+3', '-0.5', '0')
    """
    return f"{value:+g}" if value else "0"


def rank_two(found: Mapping[str, Any]) -> Sequence[Any]:
    """The advance of rank 2 by offset; nothing known where only one rank was followed."""
    advance = found["advance"]
    return advance[1] if len(advance) > 1 else [None] * len(found["published"])


def _by_offset(
    results: Mapping[str, Any], title: str, pick: Callable[[Any], Any], intervals: bool, note: str,
    sign: bool = False,
) -> Table:  # fmt: skip
    patching = results["patching"]
    named = shown(patching["conditions"], CONDITION_NAMES)
    rows = [
        (signed(offset), *(_words(pick(found)[i], intervals, sign) for found in named.values()))
        for i, offset in enumerate(patching["offsets"])
    ]
    head = ("offset", *(name.replace("_", " ") for name in named))
    return Table(title, head, tuple(rows), note + ("" if intervals else ELSEWHERE), left=1)


def _words(entry: Any, intervals: bool, sign: bool = False) -> str:
    known = entry or {"value": None}
    text = cell(entry, sign=sign) if intervals else number(known["value"], sign=sign)
    return "-" if known["value"] is None else text


def _pairs(results: Mapping[str, Any]) -> str:
    pairs = results["pairs"]
    where = {True: "of two documents", False: "of one document", None: "of any documents"}[
        pairs["across"]
    ]
    return (
        f"{pairs['used']:,} of {count(pairs['found'], 'pair')} {where}, {count(pairs['gap'], 'layer')} or "
        f"more apart: donors saturate at layer {number(pairs['donor_layer'], 1)} in the mean, recipients at "
        f"{number(pairs['recipient_layer'], 1)}."
    )


def nearest(grid: Sequence[float], wanted: float) -> int:
    """Where the grid is nearest to the value at which the verdict is taken."""
    return min(range(len(grid)), key=lambda i: abs(grid[i] - wanted))


def _at(estimates: Sequence[Any] | None, i: int) -> Any:
    return estimates[i] if estimates else None
