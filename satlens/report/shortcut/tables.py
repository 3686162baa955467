"""Tables of a shortcut: every lens with its controls, by run of layers and by layer, the sub-modules.

Everything is read from results (see `shortcut/schema.json`); nothing is computed.
"""

from collections.abc import Mapping
from typing import Any

from satlens.lenses.submodules import WORDS
from satlens.report.table import WIDTH, Table, cell, markdown, terminal
from satlens.report.words import count, known, number, part

LENS_NAMES = {
    "shortcut": "linear shortcut",
    "identity": "identity (logit lens)",
    "tuned": "tuned lens",
    "low_rank_residual": "low rank + identity",
    "low_rank": "low rank",
    "one_map": "one low-rank map",
    "shift": "identity, shifted",
    "mean": "mean state",
    "shuffled": "pairs shuffled",
}
"""Every lens with the words for it; the one in question first, nulls last."""
LENS_MEANING = {
    "shortcut": "the least-squares map from the state of a layer to the last state",
    "identity": "no map: the state is read as if it were the last one",
    "tuned": "an affine map for each layer, trained to give the final output",
    "low_rank_residual": "the state itself plus the best map of low rank for what is still to come",
    "low_rank": "the best map of low rank in place of the full one",
    "one_map": "one map of low rank that serves every layer",
    "shift": "the state plus a constant that puts its mean right",
    "mean": "the mean last state, whatever the state: it knows nothing of the token",
    "shuffled": "the least-squares map to the last state of another token",
}
NULLS = ("mean", "shuffled")
R2_FLOOR = -0.5
"""Pictures of r2 end here: far worse than the mean state is worse enough."""
KIND_NAMES = {kind: WORDS[kind] for kind in ("attention", "mlp", "norm1", "norm2")}


def shown_lenses(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The lenses that these results hold, in the order of the tables."""
    found = results["lenses"]
    return {name: found[name] for name in LENS_NAMES if name in found}


def shown_kinds(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The kinds of sub-modules that these results hold, in the order of the tables."""
    found = part(results, "submodules", "kinds") or {}
    return {name: found[name] for name in KIND_NAMES if name in found}


def lenses_table(results: Mapping[str, Any]) -> Table:
    """Every lens and every measure, on held-out documents, mean over layers."""
    rows = []
    for name, lens in shown_lenses(results).items():
        found = {one: curve["by_run"]["all"] for one, curve in lens["test"].items()}
        plain = (
            _or_dash(found[one]["value"])
            for one in ("precision@5", "precision@10", "surprisal", "kl")
        )
        rows.append((
            LENS_NAMES[name], _size(lens), cell(found["precision@1"], 3), *plain,
            _or_dash(found["r2"]["value"]),
        ))  # fmt: skip
    return Table(
        "Every lens on held-out documents, mean over layers",
        ("", "numbers", "precision@1", "@5", "@10", "surprisal", "KL", "r2"), tuple(rows),
        f"{_split(results)} Precision@k: how often the lens's top-1 is in the model's final top k; "
        "surprisal: -log of the model's own probability for it; KL: from the final output to the lens's, in "
        "nats; r2: of the final state, mean over coordinates. Numbers: what the lens consists of. Brackets "
        "are intervals over documents.",
        left=1,
    )  # fmt: skip


def runs_table(results: Mapping[str, Any]) -> Table:
    """Precision@1 of every lens in early, middle and late layers, and on the documents of the fit."""
    runs = list(results["runs"])
    rows = []
    for name, lens in shown_lenses(results).items():
        curve, seen = lens["test"]["precision@1"], lens["train"]["precision@1"]
        cells = (cell(part(curve, "by_run", run), 3) for run in runs)
        rows.append((LENS_NAMES[name], *cells, number(part(seen, "by_run", "all", "value"), 3)))
    spans = "; ".join(
        f"{name}: {_span(layers)}" for name, layers in results["runs"].items() if layers
    )
    return Table(
        "The final top-1 told (precision@1), by run of layers", ("", *runs, "as fitted"), tuple(rows),
        f"{spans}. As fitted: the mean over all layers on documents that the lens was fitted on; what is "
        "higher there than on the others was learned by heart.",
        left=1,
    )  # fmt: skip


def gains_table(results: Mapping[str, Any]) -> Table:
    """What each lens tells more than the identity, by run of layers."""
    runs = list(results["runs"])
    rows = [
        (LENS_NAMES[name],
         *(cell(part(results, "gains", name, "precision@1", "by_run", run), 3, sign=True) for run in runs))
        for name in LENS_NAMES if name in results["gains"]
    ]  # fmt: skip
    return Table("Precision@1 above the identity, held-out documents", ("", *runs), tuple(rows),
                 "On the same tokens. The shift is a control: a map that only puts the mean right.",
                 left=1)  # fmt: skip


def layers_table(results: Mapping[str, Any]) -> Table:
    """The shortcut beside the identity, layer by layer, held-out documents."""
    pair = [results["lenses"].get(name) for name in ("identity", "shortcut")]
    rows = []
    for i, layer in enumerate(results["layers"]):
        row = [str(layer)]
        for measure in ("precision@1", "surprisal", "kl", "r2"):
            row += [
                _or_dash(_at(part(one, "test", measure, "by_layer"), i, "value")) for one in pair
            ]
        gain = _at(part(results, "gains", "shortcut", "precision@1", "by_layer"), i)
        rows.append((*row, cell(gain, 3, sign=True)))
    head = (
        "layer",
        "@1 id",
        "mat",
        "surprisal id",
        "mat",
        "KL id",
        "mat",
        "r2 id",
        "mat",
        "@1 gain",
    )
    return Table("Identity (id) and linear shortcut (mat), by layer", head, tuple(rows),
                 "Held-out documents; @1: precision@1; gain: mat - id with its interval.")  # fmt: skip


def submodules_table(results: Mapping[str, Any]) -> Table:
    """Which sub-module tolerates a linear map, and what the map gives over a mean output."""
    found = results["submodules"]
    rows = []
    for kind, one in shown_kinds(results).items():
        precision = {
            by: part(one, by, "precision@1", "by_run", "all") for by in ("map", "mean", "gain")
        }
        rows.append((
            KIND_NAMES[kind], cell(precision["map"], 3), cell(precision["mean"], 3),
            cell(precision["gain"], 3, sign=True), _or_dash(part(one, "map", "kl", "by_run", "all", "value")),
        ))  # fmt: skip
    if not found:
        return Table("Precision@1 with one kind of sub-module replaced", ("",), ())
    layers = _list(found["layers"])
    note = (
        f"The model runs with linear maps (or with the mean output) in place of one kind of sub-module in "
        f"all blocks behind a layer; means over the layers {layers}. {count(found['tokens'], 'token')} of "
        f"{count(found['documents'] or 0, 'held-out document')}. Over it: what a map gives beyond a constant "
        "in the part's place."
    )
    if any(row[-1] == "-" for row in rows):
        note += " No KL (-): states overflow behind some layer, see the notes."
    return Table("Precision@1 with one kind of sub-module replaced",
                 ("", "linear map", "mean output", "over it", "KL map"), tuple(rows), note,
                 left=1)  # fmt: skip


def saturation_table(results: Mapping[str, Any]) -> Table:
    """The saturation layers as each lens tells them."""
    found = results["saturation"]
    lenses = [name for name in LENS_NAMES if name in found["lenses"]]
    rows = []
    for i in range(found["k"]):
        row = [str(i + 1)]
        for name in lenses:
            one = _at(found["lenses"][name], i) or {}
            row += [cell(one.get("layer")), _or_dash(part(one, "censored", "value"))]
        rows.append(tuple(row))
    head = ("rank", *(word for name in lenses for word in (LENS_NAMES[name], "cens.")))
    return Table("Mean saturation layer by rank, through each lens", head, tuple(rows),
                 "Held-out documents. The final ranking is the model's own in all of them. Cens.: share "
                 "seen fixed only at the output.")  # fmt: skip


def shortcut_tables(results: Mapping[str, Any]) -> tuple[Table, ...]:
    """Every table of a shortcut, in the order of reading."""
    return (
        lenses_table(results), runs_table(results), gains_table(results), layers_table(results),
        submodules_table(results), saturation_table(results),
    )  # fmt: skip


def summary(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The whole run for the terminal, at most ``width`` columns."""
    return terminal(results, shortcut_tables(results), width)


def tables_markdown(results: Mapping[str, Any]) -> str:
    """The same tables in Markdown."""
    return markdown(results, shortcut_tables(results))


def _split(results: Mapping[str, Any]) -> str:
    train, test = (results["split"][side] for side in ("train", "test"))
    return (
        f"Fitted on {count(train['documents'], 'document')} ({count(train['tokens'], 'token')}), measured on "
        f"{count(test['documents'], 'other')} ({count(test['tokens'], 'token')})."
    )


def _size(lens: Mapping[str, Any]) -> str:
    n = lens["parameters"]
    if not n:
        return "0"
    return f"{n:,}" if n < 10_000 else f"{n / 1e3:,.0f}k" if n < 1e6 else f"{n / 1e6:,.1f}M"


def _or_dash(value: Any) -> str:
    return number(value) if known(value) else "-"


def _span(layers: list[int]) -> str:
    return f"layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else f"layer {layers[0]}"


def _list(layers: list[int]) -> str:
    return ", ".join(map(str, layers))


def _at(found: Any, i: int, *keys: str) -> Any:
    """The i-th of a list that may be shorter or not there, and what it holds under the keys."""
    one = found[i] if found and i < len(found) else None
    return part(one, *keys) if keys else one
