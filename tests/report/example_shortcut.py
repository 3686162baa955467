"""Results of a shortcut in the documented form, with plausible numbers and no model."""

from tests.report.example_parts import common, estimate

LENSES = {
    "identity": (0.48, 0, None), "shift": (0.47, 1920, None), "shortcut": (0.55, 245_760, None),
    "low_rank": (0.32, 61_440, 16), "low_rank_residual": (0.51, 61_440, 16),
    "one_map": (0.3, 4096, 16), "tuned": (0.58, 247_680, None), "mean": (0.06, 1920, None),
    "shuffled": (0.05, 245_760, None),
}  # fmt: skip
KINDS = {"norm1": 0.7, "attention": 0.62, "norm2": 0.58, "mlp": 0.68}
MEASURES = {"precision@1": 1.0, "precision@5": 1.5, "precision@10": 1.7, "surprisal": 5.0,
            "kl": 2.0, "r2": 0.9}  # fmt: skip


def make_shortcut(n_layers=16, docs=12, without=(), k=5) -> dict:
    """What `satlens shortcut` writes; lenses named in ``without`` were not measured."""
    layers = list(range(n_layers - 1))
    runs = runs_of(layers)
    lenses = {name: one for name, one in LENSES.items() if name not in without}
    verdicts = [
        _verdict(f"shortcut_{run}", f"A linear shortcut tells more, {run}.", 0.06, "shift")
        for run in runs
    ]
    return common("shortcut", n_layers=n_layers, docs=docs) | {
        "split": {"train": {"documents": docs - docs // 3, "tokens": 640},
                  "test": {"documents": docs // 3, "tokens": 320}},
        "layers": layers,
        "runs": runs,
        "lenses": {
            name: {"parameters": parameters, "rank": rank, "test": curves(level, layers, runs),
                   "train": curves(level + 0.01, layers, runs)}
            for name, (level, parameters, rank) in lenses.items()
        },
        "gains": {name: curves(level - 0.48, layers, runs) for name, (level, *_) in lenses.items()
                  if name not in ("identity", "mean", "shuffled")},
        "submodules": {
            "layers": layers[::2], "documents": 2, "tokens": 101,
            "kinds": {kind: {"map": curves(level, layers[::2], {}),
                             "mean": curves(level - 0.1, layers[::2], {}),
                             "gain": curves(0.1, layers[::2], {})} for kind, level in KINDS.items()},
        },
        "saturation": {
            "k": k, "documents": docs // 3, "tokens": 320,
            "lenses": {name: [{"rank": i + 1, "layer": estimate(8 + i + at), "censored": estimate(0.1 * i)}
                              for i in range(k)]
                       for at, name in enumerate(("shortcut", "identity", "tuned"))},
        },
        "verdicts": [
            *verdicts,
            _verdict("shortcut_as_published", "A linear shortcut tells more, all layers.", 0.061,
                     "identity"),
            _verdict("shortcut_explains_more", "A linear shortcut explains more.", 0.012, "identity"),
            _verdict("attention_tolerates_best", "Attention tolerates a linear map best.", -0.08, "norm1",
                     "does not hold"),
        ],
        "notes": ["norm2 replaced behind layer 0: the states of up to 101 of 101 tokens overflow."],
    }  # fmt: skip


def runs_of(layers) -> dict:
    if len(layers) < 3:
        return {"all": layers}
    third = -(-len(layers) // 3)
    return {
        "early": layers[:third],
        "middle": layers[third : 2 * third],
        "late": layers[2 * third :],
    }


def curves(level, layers, runs) -> dict:
    return {
        measure: {
            "by_layer": [estimate(factor * (level + 0.01 * i)) for i in range(len(layers))],
            "by_run": {run: estimate(factor * level) for run in [*runs, "all"]},
        }
        for measure, factor in MEASURES.items()
    }


def _verdict(name, statement, value, null, verdict="holds") -> dict:
    return {"id": name, "statement": statement, "verdict": verdict, "p": None, "null": null,
            "effect": {"name": f"precision@1 above the {null}", **estimate(value)},
            "why": "So says its interval."}  # fmt: skip
