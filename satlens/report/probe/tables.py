"""Tables of a probe: class counts, accuracy beside every control, accuracy by stage.

Everything is read from results (see `probe/schema.json`); nothing is computed.
"""

from collections.abc import Mapping
from typing import Any

from satlens.report.table import WIDTH, Table, cell, markdown, terminal
from satlens.report.words import CONTROL_NAMES, count, known, number

PROBES = {"probe": "one probe, all layers", "per_layer": "one probe a layer"}
"""The two probes, by their keys in the results."""


def counts_table(results: Mapping[str, Any]) -> Table:
    """States of each stage at each layer before balancing, and which layers are used."""
    labels = results["labels"]
    used = set(labels["layers"])
    head = ("layer", *(f"stage {i + 1}" for i in range(labels["stages"])), "used")
    rows = [
        (str(layer), *(f"{n:,}" for n in counts), "yes" if layer in used else "no")
        for layer, counts in enumerate(labels["counts"])
    ]
    return Table("States of each stage, by layer", head, tuple(rows), _counts_note(labels), left=1)


def _counts_note(labels: Mapping[str, Any]) -> str:
    policy = labels["policy"]
    return (
        f"Before balancing. A layer is used where its rarest stage has enough states; there every stage "
        f"gives the same number, together {labels['states']:,} states ({labels['per_stage']:,} of each "
        f"stage), so chance is {number(labels['chance'])}. Of {count(labels['tokens'], 'token')}, "
        f"{labels['out_of_order']:,} fix a rank before a higher one (policy: {policy['out_of_order']}) and "
        f"{labels['tied']:,} fix two at one layer (policy: {policy['ties']}); stages that end at the output: "
        f"{policy['censored']}."
    )


def accuracy_table(results: Mapping[str, Any]) -> Table:
    """The accuracy of the probe beside chance and every control, with the excess over each."""
    rows = []
    for key, name in PROBES.items():
        probed = results[key]
        rows.append((name, cell(probed["accuracy"], 3), _auc(probed), "", "", ""))
    rows.append(("chance", number(results["labels"]["chance"], 3), "0.500", "", "", ""))
    for name, control in shown_controls(results).items():
        rows.append((
            CONTROL_NAMES.get(name, name), cell(control["accuracy"], 3), _auc(control),
            str(control["draws"]), cell(control["excess"], 3, sign=True),
            "yes" if control["in_verdict"] else "no",
        ))  # fmt: skip
    return Table(
        "Balanced accuracy beside every control",
        ("", "accuracy", "AUC", "draws", "excess", "verdict"), tuple(rows),
        "Brackets are intervals over documents; no document is in training and test at once. Excess: the "
        "probe's accuracy minus the control's. A control made of other states (untrained, paths) is held "
        "against a probe fitted again on as many states of the same layers, so its excess need not be the "
        "difference of two numbers of this table. Verdict: whether it is among the controls that "
        "the verdict is taken against.",
        left=1,
    )  # fmt: skip


def stages_table(results: Mapping[str, Any]) -> Table:
    """The share of each stage that is recognised."""
    rows = []
    for i in range(results["labels"]["stages"]):
        shares = [_at(results[key]["per_stage"], i) for key in PROBES]
        rows.append((str(i + 1), *shares))
    return Table("Share recognised, by stage", ("stage", *PROBES.values()), tuple(rows),
                 f"Chance is {number(results['labels']['chance'])} for every stage.", left=1)  # fmt: skip


def shown_controls(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The controls that these results hold, in the order of the tables."""
    found = results["controls"]
    return {name: found[name] for name in CONTROL_NAMES if name in found}


def probe_tables(results: Mapping[str, Any]) -> tuple[Table, ...]:
    """Every table of a probe, in the order of reading."""
    return counts_table(results), accuracy_table(results), stages_table(results)


def summary(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The whole probe for the terminal, at most ``width`` columns."""
    return terminal(results, probe_tables(results), width)


def tables_markdown(results: Mapping[str, Any]) -> str:
    """The same tables in Markdown."""
    return markdown(results, probe_tables(results))


def _auc(entry: Mapping[str, Any]) -> str:
    return number(entry["auc"], 3) if known(entry["auc"]) else "-"


def _at(estimates: Any, i: int) -> str:
    return cell(estimates[i] if i < len(estimates) else None, 3)
