"""Results of a rerank in the documented form, with plausible numbers and no model."""

from tests.report.example_parts import common, estimate, missing

NULLS = {"shuffled": 0.001, "rotated": 0.004, "exchanged": 0.006, "untrained": 0.002}
VARIANTS = {
    "model": 3.21,
    "temperature": 3.18,
    "ranks": 3.17,
    "shuffled": 3.171,
    "saturation": 3.15,
}
PAIRS = (
    ("temperature", "model"), ("ranks", "temperature"), ("saturation", "model"),
    ("saturation", "temperature"), ("saturation", "ranks"), ("saturation", "shuffled"),
)  # fmt: skip
FEATURES = ("constant", "log p", "entropy", "lead", "fixed only at the last layer")


def make_rerank(n_layers=16, k=4, docs=12, without=()) -> dict:
    """What `satlens rerank` writes; the nulls named in ``without`` were not available."""
    return common("rerank", n_layers=n_layers, docs=docs) | {
        "positions": {"positions": docs * 79, "documents": docs, "wrong": docs * 48,
                      "accuracy": estimate(0.39), "loss": estimate(3.21)},
        "early": [_rank(rank, n_layers, docs * 48) for rank in range(2, k + 1)],
        "nulls": {kind: _null(gain, kind not in without) for kind, gain in NULLS.items()},
        "reranker": {
            "folds": 5,
            "variants": {name: {"loss": estimate(loss), "accuracy": estimate(0.39 + (3.21 - loss) / 10),
                                "beta": 1.0 if name == "model" else 0.8, "parameters": 5 * i}
                         for i, (name, loss) in enumerate(VARIANTS.items())},
            "differences": [{"of": of, "against": against,
                             "loss": estimate(VARIANTS[against] - VARIANTS[of], 0.004),
                             "accuracy": estimate((VARIANTS[against] - VARIANTS[of]) / 10, 0.004)}
                            for of, against in PAIRS],
            "strictest": {"loss": "ranks", "accuracy": "shuffled"},
            "weights": {"beta": 0.8, "features": list(FEATURES),
                        "ranks": [[0.1 * i, -0.2, 0.05, 0.3, -0.4] for i in range(k)]},
        },
        "verdicts": [
            _verdict("early_rank_right", "Rank 2 is right more often when it was fixed early.",
                     "holds", "gain of rank 2 over shuffled layers", 0.021, "shuffled", 0.004),
            _verdict("early_rank_right_beyond_converging", "An early rank 2 is right beyond converging.",
                     "does not hold", "gain of rank 2 over the strictest null", 0.003, "exchanged"),
            _verdict("early_rank_right_as_published", "Early rank 2 is right by the published test.",
                     "holds as published only", "difference of the two shares", 0.1, None, 1e-9),
            _verdict("reranking_lowers_loss", "The saturation layers lower the held-out loss.",
                     "holds", "loss saved, nats a token", 0.02, "ranks"),
            _verdict("reranking_raises_accuracy", "The saturation layers raise the held-out accuracy.",
                     "cannot be told here", "accuracy gained", 0.001, "shuffled"),
        ],
        "notes": ["The nulls were drawn for the first 10 documents."],
    }  # fmt: skip


def _verdict(name, statement, verdict, effect, value, null, p=None) -> dict:
    return {"id": name, "statement": statement, "verdict": verdict, "p": p, "null": null,
            "effect": {"name": effect, **estimate(value)}, "why": "So says its interval."}  # fmt: skip


def _rank(rank, n_layers, positions) -> dict:
    gaps = range(1, n_layers)
    early = [positions // (g + 2) for g in gaps]
    return {
        "rank": rank, "positions": positions, "right": estimate(0.4 / rank), "expected": estimate(0.5 / rank),
        "last": estimate(0.3 + 0.1 * rank),
        "published": {"gap": min(7, n_layers - 1), "early": 64, "early_right": 20, "early_share": 0.3125,
                      "last": 200, "last_right": 30, "last_share": 0.15, "z": 2.9, "p": 0.0037},
        "adjusted": {"gain": estimate(0.04 / rank, 0.012), "slope": estimate(0.2), "spread": 2.6, "p": 0.004,
                     "p_shuffled": 0.001, "shuffles": 999},
        "sweep": [{"gap": g, "early": n, "last": 200, "difference": estimate(0.05 + 0.01 * g),
                   "odds_ratio": estimate(1.5, 0.3), "matched": estimate(0.002 * g),
                   "matched_odds_ratio": estimate(1.1, 0.3)}
                  for g, n in zip(gaps, early, strict=True)],
        "by_lead": [{"lead": e, "positions": 0 if e == 3 else 30,
                     "right": missing() if e == 3 else estimate(0.2 + 0.01 * e),
                     "expected": missing() if e == 3 else estimate(0.25 + 0.01 * e)}
                    for e in range(n_layers)],
    }  # fmt: skip


def _null(gain, there) -> dict:
    values = [gain - 0.002, gain, gain + 0.002]
    return {
        "draws": 3 if there else 0, "tokens": 400 if there else 0, "gain": gain if there else None,
        "values": values if there else [], "real": 0.02 if there else None,
        "excess": estimate(0.02 - gain) if there else missing(),
    }  # fmt: skip
