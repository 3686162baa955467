"""Results of a route run in the documented form, with plausible numbers and no model."""

from tests.report.example_parts import common, estimate, missing

LOSSES = {"open": 4.1, "soft": 4.08, "hard": 4.2, "random": 4.5}


def make_route(
    n_layers=16, docs=12, penalties=(0.3, 0.1), seeds=(0,), nulls=("rotated", "exchanged")
) -> dict:
    """What `satlens route` writes."""
    blocks = range(1, n_layers)
    return common("route", n_layers=n_layers, docs=docs) | {
        "runs": [_run(penalty, seed, n_layers, docs, nulls) for seed in seeds for penalty in penalties],
        "saturation": {
            "correlation": estimate(0.04), "partial": estimate(0.065),
            "null": dict.fromkeys(nulls, 0.025), "excess": {kind: estimate(0.04) for kind in nulls},
            "by_block": [
                {"block": b, "fixed": b / n_layers, "skip": 0.4, "skip_fixed": 0.45,
                 "skip_other": 0.35 if b > 1 else None}
                for b in blocks
            ],
            "difference": estimate(0.014), "tokens": docs * 70,
        },
        "verdicts": [
            _verdict("router_beats_chance", "The router chooses better than chance.", "holds",
                     "loss of random skips minus the router's", 0.3, "random"),
            _verdict("router_skips_the_fixed", "The router skips tokens whose answer is fixed.",
                     "cannot be told here", "partial rank correlation", 0.065, None),
        ],
        "notes": [],
    }  # fmt: skip


def _verdict(name, statement, verdict, effect, value, null) -> dict:
    return {"id": name, "statement": statement, "verdict": verdict, "p": None, "null": null,
            "effect": {"name": effect, **estimate(value)}, "why": "So says its interval."}  # fmt: skip


def _run(penalty, seed, n_layers, docs, nulls) -> dict:
    share = 0.5 + 0.1 * penalty
    ways = {
        way: {"loss": estimate(loss), "accuracy": estimate(0.4), "active": estimate(1 - share),
              "saved": estimate(0.0 if way == "open" else share), "by_layer": [0.5] * (n_layers - 1)}
        for way, loss in LOSSES.items()
    }  # fmt: skip
    kinds = {"word start": {"tokens": 700, "runs": [0.56] + [0.5] * (n_layers - 1)},
             "punctuation": {"tokens": 140, "runs": [0.4] + [0.4] * (n_layers - 1)}}  # fmt: skip
    return {
        "penalty": penalty, "seed": seed, **ways,
        "excess_loss": {f"{way} - open": estimate(LOSSES[way] - 4.1) for way in ("soft", "hard", "random")},
        "classes": {way: kinds for way in LOSSES}, "documents": docs, "tokens": docs * 72,
        "parameters": 62_415,
        "early_exit": {"loss": estimate(4.9), "blocks": estimate(8.0), "saved": 0.5},
        "over_random": estimate(0.3), "over_exit": estimate(0.7) if penalty else missing(),
        "skipping": {"correlation": estimate(0.02), "partial": estimate(0.04),
                     "excess": {kind: estimate(0.03) for kind in nulls}},
        "history": [{"step": 50, "loss": 4.0, "active": 0.6}],
    }  # fmt: skip
