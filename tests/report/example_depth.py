"""Results of a depth run in the documented form, with plausible numbers and no model."""

from tests.report.example_parts import common, estimate


def make_depth(n_layers=16, k=5, docs=12, nulls=("rotated", "exchanged"), untrained=True) -> dict:
    """What `satlens depth` writes."""
    return common("depth", n_layers=n_layers, docs=docs) | {
        "depth": {"layers": n_layers, "width": 128, "threshold": 4.417, "recommended": None},
        "loss": {"trained": estimate(2.75), "untrained": estimate(8.4) if untrained else None},
        "ranks": [
            {
                "rank": rank,
                "trained": _of_rank(0.5 + 0.08 * rank, n_layers, nulls),
                "untrained": _of_rank(0.85 + 0.02 * rank, n_layers, ()) if untrained else None,
            }
            for rank in range(1, k + 1)
        ],
        "verdicts": [
            {"id": "depth_left_after_the_answer",
             "statement": "More of the depth is left than a path leaves.",
             "verdict": "holds", "p": None, "null": nulls[0] if nulls else None,
             "effect": {"name": "share of the blocks left", **estimate(0.05)}, "why": "So says its interval."}
        ],
        "notes": ["A width of 128 is below what the line was fitted to."],
    }  # fmt: skip


def _of_rank(share, n_layers, nulls) -> dict:
    found = {
        kind: {"used": (share + 0.05) * n_layers, "excess": estimate(0.05 - 0.01 * i)}
        for i, kind in enumerate(nulls)
    }
    return {"used": estimate(share * n_layers), "after": estimate(1 - share), "nulls": found}
