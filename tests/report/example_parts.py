"""Results of a probe and of a patch in the documented form, with plausible numbers and no model."""

import numpy as np

from tests.report.example import make_results

CONTROLS = {"layer": 0.24, "shuffled": 0.25, "margin": 0.33, "identity": 0.35, "control_task": 0.36,
            "gaussian": 0.25, "untrained": 0.27, "rotated": 0.41, "exchanged": 0.45}  # fmt: skip
CONDITIONS = (
    "clean",
    "paired",
    "self",
    "unsaturated",
    "random_donor",
    "shuffled",
    "random_direction",
)
DIRECTIONS = ("means", "probe", "shuffled", "random", "rotated", "exchanged")
ALPHAS = (-2.0, -1.0, 1.0, 2.0, 4.0)


def common(verb, **shape):
    """The keys that every verb writes."""
    audit = make_results(docs=shape.get("docs", 12), tokens=80, n_layers=shape.get("n_layers", 16))
    keys = ("model", "corpus", "settings", "versions", "seconds")
    return {"schema": f"satlens.{verb}/1", **{key: audit[key] for key in keys}}


def make_probe(n_layers=16, stages=4, docs=12, without=(), seed=0) -> dict:
    """What `satlens probe` writes; the controls named in ``without`` were not available."""
    rng = np.random.default_rng(seed)
    layers, accuracy = list(range(n_layers // 3, max(n_layers - 1, 1))), 0.52
    named = {
        name: _control(rng, value, accuracy, stages, name not in without)
        for name, value in CONTROLS.items()
    }
    return common("probe", n_layers=n_layers, docs=docs) | {
        "labels": {
            "policy": {"out_of_order": "running_max", "ties": "skip", "censored": "keep"},
            "tokens": docs * 80, "documents": docs, "stages": stages, "chance": 1 / stages,
            "out_of_order": 301, "tied": 122, "censored": [40 + 90 * i for i in range(5)],
            "left_out": {"output layer": docs * 80},
            "counts": _counts(n_layers, stages, docs * 80), "layers": layers,
            "skipped_layers": {str(layer): "stage 4 has 3 states, fewer than min_states = 50"
                               for layer in range(layers[0])},
            "states": 120 * stages * len(layers), "per_stage": 120 * len(layers),
        },
        "probe": _probed(rng, accuracy, stages, layers),
        "per_layer": _probed(rng, accuracy + 0.03, stages, layers),
        "controls": named,
        "selectivity": estimate(0.16),
        "verdicts": [
            _verdict("stage_decodable", "The state tells its stage beyond what every control explains.",
                     "holds", "accuracy above the best control", 0.07, "exchanged"),
            _verdict("stage_decodable_as_published", "The state tells its stage better than noise does.",
                     "holds", "accuracy above the Gaussian control", 0.27, "gaussian"),
        ],
        "notes": ["The control path exchanged was drawn for the first 10 documents."],
    }  # fmt: skip


def make_patch(k=5, offsets=range(-3, 4), alphas=ALPHAS, docs=12, n_layers=16) -> dict:
    """What `satlens patch` writes."""
    offsets = list(offsets)
    shares = {"clean": 0.02, "paired": 0.8, "self": 0.02, "unsaturated": 0.3, "random_donor": 0.05,
              "shuffled": 0.1, "random_direction": 0.04}  # fmt: skip
    return common("patch", docs=docs, n_layers=n_layers) | {
        "pairs": {"found": 512, "used": 300, "documents": docs, "gap": 3, "across": None,
                  "donor_layer": 5.2, "recipient_layer": 10.4},
        "patching": {
            "k": k, "offsets": offsets,
            "conditions": {name: _condition(shares[name], k, offsets) for name in CONDITIONS},
            "excess": {name: [estimate(0.1 * i) for i, _ in enumerate(offsets)]
                       for name in CONDITIONS[3:]} if k > 1 else {},
        },
        "steering": {
            "stage": 1, "alphas": list(alphas), "n": 300, "documents": docs, "layers": [4, 5, 6],
            "conditions": {name: _direction(i, alphas) for i, name in enumerate(DIRECTIONS)},
            "excess": {name: [estimate(0.02 * alpha) for alpha in alphas] for name in DIRECTIONS[2:]},
        },
        "verdicts": [
            _verdict("transition_by_patching", "A donor's state makes one's own rank 2 settle earlier.",
                     "does not hold", "share forced above the strictest control", 0.01,
                     "random_donor"),
            _verdict("transition_by_patching_as_published", "The published rule succeeds.",
                     "holds as published only", "published success above the strictest control", 0.4,
                     "unsaturated"),
            _verdict("transition_by_steering", "The direction of the next stage ends the stage.",
                     "cannot be told here", "share forced above the strictest control", 0.01,
                     "rotated"),
        ],
        "notes": ["Censored layers count as the last layer."],
    }  # fmt: skip


def estimate(value, half=0.02) -> dict:
    return {"value": float(value), "ci": [float(value - half), float(value + half)]}


def missing() -> dict:
    return {"value": None, "ci": None}


def _verdict(name, statement, verdict, effect, value, null) -> dict:
    return {"id": name, "statement": statement, "verdict": verdict, "p": None, "null": null,
            "effect": {"name": effect, **estimate(value)}, "why": "The interval says so."}  # fmt: skip


def _counts(n_layers, stages, tokens) -> list:
    left = np.linspace(1, 0, n_layers) if n_layers > 1 else np.zeros(1)
    rows = [
        [int(tokens * share)] + [int(tokens * (1 - share) / stages)] * (stages - 1)
        for share in left
    ]
    rows[-1] = [0] * stages
    return rows


def _probed(rng, accuracy, stages, layers) -> dict:
    confusion = rng.dirichlet(np.ones(stages), stages) * 0.5 + 0.5 * np.eye(stages)
    return {
        "accuracy": estimate(accuracy), "auc": 0.77,
        "per_stage": [estimate(accuracy + 0.02 * i) for i in range(stages)],
        "confusion": confusion.tolist(),
        "layers": [{"layer": layer, "accuracy": estimate(accuracy + rng.normal(0, 0.02)),
                    "states": 120 * stages} for layer in layers],
    }  # fmt: skip


def _control(rng, value, accuracy, stages, there) -> dict:
    values = rng.normal(value, 0.004, 3).tolist()
    return {
        "accuracy": estimate(value) if there else missing(), "auc": 0.5 + value / 4 if there else None,
        "per_stage": [estimate(value)] * stages if there else [], "draws": 3 if there else 0,
        "values": values if there else [],
        "excess": estimate(accuracy - value) if there else missing(), "in_verdict": value != 0.36,
    }  # fmt: skip


def _condition(share, k, offsets) -> dict:
    n = len(offsets)
    return {
        "n": [300 - 7 * abs(o) for o in offsets],
        "published": [estimate(share * (o >= 0)) for o in offsets],
        "forced": [estimate(share / 8)] * n,
        "kept": [estimate(1 - share / 3)] * n,
        "advance": [[estimate(2 * share * (o + 4) / 7 / (i + 1)) for o in offsets] for i in range(k)],
        "stay": [[estimate(2.0 - 0.2 * i)] * n for i in range(k)],
        "own_rank2": [estimate(0.6)] * n if k > 1 else [missing()] * n,
        "donor_rank2": [estimate(0.2)] * n if k > 1 else [missing()] * n,
    }  # fmt: skip


def _direction(i, alphas) -> dict:
    return {
        "forced": [estimate(max(0.0, 0.05 * alpha) / (i + 1)) for alpha in alphas],
        "advance": [estimate(alpha / (i + 1)) for alpha in alphas],
        "transition": [estimate(max(0.0, 0.1 * alpha) / (i + 1)) for alpha in alphas],
        "kept": [estimate(1 - 0.1 * abs(alpha)) for alpha in alphas],
    }
