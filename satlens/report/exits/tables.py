"""Tables of exits: every policy with each lens, one threshold of each in full, calibration, and costs.

Everything is read from results (see `exits/schema.json`); nothing is computed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from satlens.report.table import WIDTH, Table, cell, markdown, terminal
from satlens.report.words import NOT_AVAILABLE, count, known, number, part, visible


class Look(NamedTuple):
    """How a policy is drawn: colour and marker by its kind, a broken line for the second of a kind."""

    color: int
    dash: str
    symbol: str
    marker: str
    meaning: str


POLICIES = {
    "stage probe": Look(
        1, "solid", "circle", "o", "a probe says that stage 2 has begun: rank 1 is fixed"
    ),
    "softmax response": Look(
        2, "solid", "square", "s", "the two highest probabilities of the lens are this far apart"
    ),
    "softmax response, decaying": Look(
        2, "dash", "square-open", "s", "the same, stricter at the beginning of a document"
    ),
    "state saturation": Look(
        3, "solid", "diamond", "D", "a block hardly turned the state (cosine)"
    ),
    "classifier": Look(
        4,
        "solid",
        "triangle-up",
        "^",
        "a classifier says that the lens already has the final top-1",
    ),
    "classifier, one a layer": Look(
        4, "dash", "triangle-up-open", "^", "the same, with a classifier of its own for each layer"
    ),
    "patience": Look(
        5, "solid", "cross", "P", "the lens's top-1 stayed the same this many layers in a row"
    ),
    "fixed layer": Look(7, "solid", "x", "X", "every token leaves after one block"),
}
"""Every policy in the order of the tables; the one in question first."""
STUDIES = {"logit": "logit lens", "shortcut": "linear shortcut", "untrained": "untrained model"}
SHIFT = "mean put right"
COIN = "a coin: never, or after the first block"
ORACLE = "oracle (sees the answer)"
LEVEL, LEVELS = 0.95, (0.99, 0.95, 0.9)


def said(name: str) -> str:
    """A policy's name; in one that satlens did not give, what cannot be seen is written as its code."""
    return name if name in POLICIES else "".join(c if c == " " else visible(c) for c in name)


def policies_of(study: Mapping[str, Any] | None) -> list[str]:
    """The policies that a study holds, in the order of the tables."""
    found = part(study, "policies") or []
    return [name for name in POLICIES if name in found] + [n for n in found if n not in POLICIES]


def points_of(study: Mapping[str, Any], policy: str) -> list[Mapping[str, Any]]:
    """The points of a policy, from the threshold that lets the fewest tokens leave downwards."""
    return [one for one in study["points"] if one["policy"] == policy]


def saved_at(
    study: Mapping[str, Any] | None, frontier: str, policy: str, level: float = LEVEL
) -> Any:
    """What a policy saves at an agreement, as an estimate; None where it is not there."""
    found = part(study, "frontiers", frontier, "policies", policy, "saved") or []
    return next((one for one in found if one["agreement"] == level), None)


def frontier_table(results: Mapping[str, Any]) -> Table:
    """Every policy with the logit lens: what it gains over knowing nothing, and what it saves."""
    study = results["studies"]["logit"]
    rows = [
        (said(name), *(cell(study["frontiers"][key]["policies"][name]["gain"], 3, sign=True)
                       for key in ("agreement", "layers")), cell(saved_at(study, "layers", name), 3))
        for name in policies_of(study)
    ]  # fmt: skip
    return Table(
        "Every policy with the logit lens, thresholds chosen on other documents",
        ("", "gain, compute", "gain, layers", "layers 95 %"), tuple(rows),
        f"Gain: mean agreement over all savings of compute (of layers) above {COIN}. Compute counts "
        "the policy's own looks; layers do not. 95 %: the share of layers saved where 95 of 100 answers "
        "are the full model's. Brackets are intervals over documents.",
        left=1,
    )  # fmt: skip


def levels_table(results: Mapping[str, Any]) -> Table:
    """The compute that each policy saves at three agreements, and how often it is right at equal layers."""
    study = results["studies"]["logit"]
    rows = [
        (said(name), *(number(part(saved_at(study, "agreement", name, at), "value"), 3) for at in LEVELS),
         cell(study["frontiers"]["accuracy"]["policies"][name]["area"], 3))
        for name in policies_of(study)
    ]  # fmt: skip
    return Table(
        "Compute saved at three agreements, and the next token right",
        ("", *(f"compute {level:.0%}" for level in LEVELS), "accuracy, layers"), tuple(rows),
        "The share of the compute saved where so many answers are the full model's. Accuracy: the next "
        "token right, mean over all savings of layers (the published comparison).",
        left=1,
    )  # fmt: skip


def lenses_table(results: Mapping[str, Any]) -> Table:
    """The layers that every policy saves at 95 % agreement, lens by lens."""
    studies = {name: results["studies"].get(name) for name in STUDIES}
    there = [name for name, study in studies.items() if study]
    rows = [
        (said(policy), *(cell(saved_at(studies[name], "layers", policy), 3) for name in there))
        for policy in policies_of(studies["logit"])
    ]
    return Table(
        "Layers saved at 95 % agreement, by lens", ("", *(STUDIES[name] for name in there)), tuple(rows),
        "The lens gives the answers and the scores that policies read; exit classifiers are fitted for it. "
        "The untrained model is of the same shape, with everything fitted on its own states.",
        left=1,
    )  # fmt: skip


def _near(results: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The point of each policy whose agreement is nearest to 95 %, and the oracle."""
    study = results["studies"]["logit"]
    shown = [(name, study["points"][study["near"][name]]) for name in policies_of(study)]
    return [*shown, (ORACLE, {"threshold": None, **study["oracle"]})]


def points_table(results: Mapping[str, Any]) -> Table:
    """What one threshold of each policy gives: the one whose agreement is nearest to 95 %."""
    rows = [
        (said(name), _threshold(one), _dash(cell(one["agreement"])), _dash(cell(one["excess"], 2, sign=True)),
         _dash(number(one["accuracy"]["value"], 3)), _dash(number(one["loss"]["value"])))
        for name, one in _near(results)
    ]  # fmt: skip
    full = results["studies"]["logit"]["full"]
    return Table(
        "One threshold of each policy, nearest to 95 % agreement: what it gives",
        ("", "threshold", "agreement", "excess", "accuracy", "loss"), tuple(rows),
        "Excess: agreement above that of the same exit layers dealt to the tokens at random. The full "
        f"model's accuracy is {number(full['accuracy'], 3)}, its loss {number(full['loss'])}. The oracle "
        "leaves at the first layer whose top-1 is the final one: a bound, not a policy.",
        left=1,
    )  # fmt: skip


def savings_table(results: Mapping[str, Any]) -> Table:
    """What the same thresholds save."""
    rows = [
        (said(name), *(_dash(number(one[key]["value"], digits)) for key, digits in (
            ("blocks", 2), ("layers_saved", 3), ("compute_saved", 3), ("looking", 3),
            ("null_compute_saved", 3),
        )))
        for name, one in _near(results)
    ]  # fmt: skip
    return Table(
        "The same thresholds: what they save",
        ("", "blocks", "layers", "compute", "looking", "without looking"), tuple(rows),
        "Blocks used on average (the first one costs one); shares of the layers and of the compute saved. "
        "Looking: what the policy itself costs, as a share of the full model. Without looking: the compute "
        "that the same exit layers save if they come from nowhere.",
        left=1,
    )  # fmt: skip


def calibration_table(results: Mapping[str, Any]) -> Table:
    """The threshold that each policy may be used at, and what became of it on other documents."""
    found = {(one["policy"], one["epsilon"]): one for one in results["calibration"]}
    epsilons = list(dict.fromkeys(epsilon for _, epsilon in found))
    rows = [
        (said(name), *(_calibrated(found.get((name, epsilon))) for epsilon in epsilons))
        for name in dict.fromkeys(policy for policy, _ in found)
    ]
    split = results["split"]
    return Table(
        "Calibrated thresholds: disagreement and compute saved on other documents",
        ("", *(f"at most {number(epsilon)}" for epsilon in epsilons)), tuple(rows),
        f"The lowest threshold of which {count(split['calibration']['documents'], 'document')} let it be "
        f"said, wrong with probability {number(results['settings'].get('delta'))} at most, that on average "
        "at most this share of a new document's tokens gets another answer than the full model's; then "
        f"what was found on {count(split['test']['documents'], 'other document')}. Never: no threshold can "
        "be vouched for.",
        left=1,
    )  # fmt: skip


def _calibrated(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "-"
    if one["threshold"] is None:
        return "never"
    risk, saved = (number(part(one, key, "value")) for key in ("risk", "saved"))
    return f"{number(one['threshold'], 3)}: {risk}, {saved}"


def _dash(words: str) -> str:
    """A mark in place of the words that a number is not there: several in a row would be too wide."""
    return "-" if words == NOT_AVAILABLE else words


def _threshold(one: Mapping[str, Any]) -> str:
    return number(one["threshold"], 3) if known(one["threshold"]) else ""


def cost_table(results: Mapping[str, Any]) -> Table:
    """What one token costs, in multiply-adds and in blocks."""
    cost = results["cost"]
    block = sum(cost["per_token"]) / len(cost["per_token"])
    width = results["model"]["d_model"]
    stages = results["settings"].get("stages")
    looks = {
        f"reading the {STUDIES[name]}": values[0]
        for name, values in cost["look"].items() if name != "untrained" and values
    }  # fmt: skip
    rows = {
        "one block": block,
        "attention, for each position attended to": sum(cost["per_pair"]) / len(cost["per_pair"]),
        "keys and values of a skipped block": sum(cost["kv"]) / len(cost["kv"]),
        **looks,
        "a look of the stage probe": width * stages if known(stages) else None,
        "a look of a classifier": width,
        "a look of state saturation": 3 * width,
    }
    shown = tuple(
        (name, f"{value:,.0f}", number(value / block if block else None, 3))
        for name, value in rows.items() if known(value)
    )  # fmt: skip
    return Table("What one token costs", ("", "multiply-adds", "blocks"), shown,
                 "Mean over layers. A policy that reads scores pays a reading of the lens at every look.",
                 left=1)  # fmt: skip


def exits_tables(results: Mapping[str, Any]) -> tuple[Table, ...]:
    """Every table of exits, in the order of reading."""
    return (
        frontier_table(results), levels_table(results), lenses_table(results), points_table(results),
        savings_table(results), calibration_table(results), cost_table(results),
    )  # fmt: skip


def summary(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """All of it for the terminal, at most ``width`` columns."""
    return terminal(results, exits_tables(results), width)


def tables_markdown(results: Mapping[str, Any]) -> str:
    """The same tables in Markdown."""
    return markdown(results, exits_tables(results))
