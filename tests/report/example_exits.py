"""Results of exits in the documented form, with plausible numbers and no model."""

from satlens.exits import NUMBERS
from satlens.report.exits.tables import POLICIES
from tests.report.example_parts import common, estimate

DECAYING = "softmax response, decaying"
LEVELS = (0.99, 0.95, 0.9)


def make_exits(n_layers=16, docs=12, points=5, without=()) -> dict:
    """What `satlens exits` writes; policies and studies named in ``without`` were not available."""
    names = [name for name in POLICIES if name not in without]
    lift = {"logit": 0.0, "shortcut": 0.04, "untrained": -0.1}
    studies = {
        name: _study(names, n_layers, points, more)
        for name, more in lift.items() if name not in without
    }  # fmt: skip
    layer = [1000.0] * n_layers
    size = {"documents": docs, "tokens": docs * 40}
    half = {"documents": docs // 2, "tokens": docs * 20}
    return common("exits", n_layers=n_layers, docs=docs) | {
        "split": {"training": size, "held_out": size, "calibration": half, "test": half},
        "cost": {"per_token": layer, "per_pair": [2.0] * n_layers, "kv": [166.0] * n_layers,
                 "look": {name: [2500.0] * n_layers for name in studies}},
        "studies": studies,
        "shift": None if "shortcut" in without else _points(DECAYING, n_layers, points, 0.01),
        "calibration": [_calibration(name, epsilon) for name in names for epsilon in (0.1, 0.2)],
        "verdicts": [
            _verdict("stage_exit", "The stage probe beats the others at equal compute.",
                     "cannot be told here", "mean agreement above the best other policy", 0.013,
                     "softmax response"),
            _verdict("stage_exit_as_published", "The stage probe is right more often at equal layers.",
                     "holds as published only", "mean accuracy above the better of the two", 0.021,
                     "state saturation"),
            _verdict("shortcut_saves_layers", "Linear shortcuts save more layers.", "holds",
                     "share of layers saved beyond the better of the two", 0.05, "the logit lens"),
            _verdict("shortcut_saves_layers_as_published", "The same as published.", "does not hold",
                     "share of layers saved beyond the logit lens", -0.01, "the logit lens"),
        ],
        "notes": ["untrained: no stage probe. No layer has 50 states of every stage."],
    }  # fmt: skip


def _verdict(name, statement, verdict, effect, value, null) -> dict:
    return {"id": name, "statement": statement, "verdict": verdict, "p": None, "null": null,
            "effect": {"name": effect, **estimate(value)}, "why": "So says its interval."}  # fmt: skip


def _study(names, n_layers, points, more) -> dict:
    made = [point for name in names for point in _points(name, n_layers, points, more)]
    return {
        "full": {"accuracy": 0.4, "loss": 3.2},
        "policies": names,
        "points": made,
        "near": {name: i * points + 1 for i, name in enumerate(names)},
        "coin": {"agreement": 0.25, "accuracy": 0.12, "loss": 6.0, "compute_saved": 0.69,
                 "layers_saved": 1 - 1 / n_layers},
        "oracle": _numbers(1.0, 0.4, n_layers),
        "frontiers": {
            key: _frontier(names, quality, saving, more)
            for key, quality, saving in (("agreement", "agreement", "compute_saved"),
                                         ("layers", "agreement", "layers_saved"),
                                         ("accuracy", "accuracy", "layers_saved"))
        },
    }  # fmt: skip


def _points(name, n_layers, points, more) -> list[dict]:
    made = []
    for i in range(points):
        saved = 0.9 * i / max(points - 1, 1)
        exits = [0.0] * n_layers
        exits[round((n_layers - 1) * (1 - saved))] = 1.0
        numbers = _numbers(min(1 - 0.7 * saved + more, 1.0), saved, n_layers)
        made.append({"policy": name, "threshold": 1 - saved, **numbers, "exits": exits})
    return made


def _numbers(agreement, saved, n_layers) -> dict:
    values = dict.fromkeys(NUMBERS, 0.1) | {
        "agreement": agreement, "accuracy": 0.4 * agreement, "loss": 3 + saved, "layers_saved": saved,
        "blocks": n_layers * (1 - saved), "exit_layer": n_layers * (1 - saved) - 1,
        "compute_saved": saved - 0.4, "looking": 0.3, "null_agreement": agreement - 0.05, "excess": 0.05,
        "null_compute_saved": saved - 0.1,
    }  # fmt: skip
    return {name: estimate(value) for name, value in values.items()}


def _frontier(names, quality, saving, more) -> dict:
    at = [0.0, 0.3, 0.6]
    return {
        "quality": quality, "saving": saving, "at": at,
        "policies": {
            name: {
                "height": [estimate(1 - x + more) for x in at], "area": estimate(0.7 + more),
                "gain": estimate(0.01 * i + more, 0.004), "lead": estimate(0.001 * i, 0.004),
                "saved": [{"agreement": level, **estimate(1.0 - level + more)} for level in LEVELS]
                if quality == "agreement" else [],
            }
            for i, name in enumerate(names)
        },
    }  # fmt: skip


def _calibration(name, epsilon) -> dict:
    never = name == "patience" or epsilon < 0.15
    return {
        "policy": name, "epsilon": epsilon, "delta": 0.1, "threshold": None if never else 0.9,
        "documents": 6, "bound": "betting", "tested": 3, "p_first": 0.01 if not never else 0.3,
        "why": "Too few documents." if never else "", "risk": None if never else estimate(0.15),
        "saved": None if never else estimate(-0.3),
    }  # fmt: skip
