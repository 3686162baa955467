"""Results of a dynamics run in the documented form, with plausible numbers and no model."""

from tests.report.example_parts import common, estimate

STEPS = (0, 10, 19, 37, 72, 139, 268, 518, 1_000)


def make_dynamics(
    n_layers=16, k=5, docs=12, steps=STEPS, nulls=("rotated", "exchanged"), twin=True, appears=518
) -> dict:
    """What `satlens dynamics` writes."""
    made = common("dynamics", n_layers=n_layers, docs=docs)
    return made | {
        "checkpoints": [
            _checkpoint(i, step, n_layers, k, nulls, twin, appears) for i, step in enumerate(steps)
        ],
        "appears": appears,
        "verdicts": [
            {"id": "order_appears_in_training", "statement": "Order appears in training.",
             "verdict": "holds" if appears else "does not hold", "p": 0.004,
             "null": nulls[0] if nulls else None, "effect": {"name": "excess at the end", **estimate(0.05)},
             "why": "From step 518 on."},
            {"id": "answer_moves_to_later_layers", "statement": "Training moves rank 1 to later layers.",
             "verdict": "holds", "p": 0.004, "null": "untrained",
             "effect": {"name": "share of the blocks", **estimate(0.0625)}, "why": "It lies above 0."},
        ],
        "notes": ["Left out, without a step in the name: best."],
    }  # fmt: skip


def _checkpoint(i, step, n_layers, k, nulls, twin, appears) -> dict:
    ordered = appears is not None and step >= appears
    last = n_layers - 1
    return {
        "step": step, "name": "untrained, seed 0" if twin and step == 0 else f"checkpoint-{step}",
        "twin": twin and step == 0, "weights_sha256": f"{i:02d}" * 32, "loss": estimate(6.9 - 0.4 * i),
        "ranks": [
            {"rank": rank, "layer": estimate(last * (0.3 + 0.05 * i + 0.04 * rank) / 1.5, 0.05),
             "censored": estimate(0.2 + 0.05 * rank)}
            for rank in range(1, k + 1)
        ],
        "concordance": estimate(0.75), "comparable": estimate(0.6),
        "excess": {
            kind: estimate(0.05 - 0.01 * at if ordered else -0.03 + 0.01 * at)
            for at, kind in enumerate(nulls) if not (kind == "exchanged" and step == 0)
        },
        "verdict": "holds" if ordered else "does not hold", "why": "So says its interval.",
    }  # fmt: skip
