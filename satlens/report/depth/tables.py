"""Tables of a depth run: the shape beside its limits, blocks used by rank, beside nulls and a twin.

Everything is read from results (see `depth/schema.json`); nothing is computed.
"""

from collections.abc import Mapping
from typing import Any

from satlens.report.table import WIDTH, Table, cell, markdown, terminal
from satlens.report.words import KINDS, NOT_AVAILABLE, NULL_NAMES, number, part


def shape_table(results: Mapping[str, Any]) -> Table:
    """The model's depth beside what theory gives its width."""
    found = results["depth"]
    line = found["recommended"]
    rows = (
        ("blocks", str(found["layers"])),
        ("width", f"{found['width']:,}"),
        ("threshold, log3 of the width", number(found["threshold"], 1)),
        ("fitted line, blocks for this width", NOT_AVAILABLE if line is None else str(line)),
        *((f"loss, nats a token, {kind}", cell(results["loss"][kind], 3))
          for kind in KINDS if part(results, "loss", kind, "value") is not None),
    )  # fmt: skip
    return Table(
        "The shape, and what theory gives it", ("", "this model"), rows,
        "Beyond the threshold, a theorem says, depth is worth no more than width, up to constants; the "
        "line was fitted to language models of 2020 trained for long, and means nothing at widths below 159.",
        left=1,
    )  # fmt: skip


def ranks_table(results: Mapping[str, Any]) -> Table:
    """Blocks used until each rank is fixed, and the share of the depth that is left."""
    rows = []
    for kind in KINDS:
        for one in results["ranks"]:
            if one[kind] is not None:
                rows.append(
                    (kind, str(one["rank"]), cell(one[kind]["used"]), cell(one[kind]["after"], 3))
                )
    return Table(
        "Blocks used until each rank is fixed", ("", "rank", "blocks used", "share left"), tuple(rows),
        f"Of {results['depth']['layers']} blocks. A rank seen fixed only at the output counts as using all "
        "of them, so blocks used are lower bounds and shares left upper ones. Brackets are intervals over "
        "documents.",
        left=1,
    )  # fmt: skip


def nulls_table(results: Mapping[str, Any]) -> Table:
    """The same under the path nulls, and what the model has left above them."""
    rows = []
    for kind in shown_nulls(results):
        for one in results["ranks"]:
            found = one["trained"]["nulls"][kind]
            rows.append((NULL_NAMES[kind], str(one["rank"]), number(found["used"]),
                         cell(found["excess"], 3, sign=True)))  # fmt: skip
    return Table(
        "Blocks used along other ways into the same end", ("", "rank", "blocks used", "share left, excess"),
        tuple(rows),
        "Excess: the share of the depth that the model leaves after the rank, minus what such a path "
        "leaves. A path knows nothing of the layers, so what it leaves is what converging gives.", left=1,
    )  # fmt: skip


def depth_tables(results: Mapping[str, Any]) -> tuple[Table, ...]:
    """Every table of a depth run, in the order of reading."""
    return shape_table(results), ranks_table(results), nulls_table(results)


def summary(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The whole run for the terminal, at most ``width`` columns."""
    return terminal(results, depth_tables(results), width)


def tables_markdown(results: Mapping[str, Any]) -> str:
    """The same tables in Markdown."""
    return markdown(results, depth_tables(results))


def shown_nulls(results: Mapping[str, Any]) -> list[str]:
    """The nulls that these results hold, in the order of the tables."""
    found = part(results["ranks"][0], "trained", "nulls") if results["ranks"] else None
    return [kind for kind in NULL_NAMES if kind in (found or {})]
