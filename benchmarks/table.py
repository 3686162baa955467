"""Results as Markdown: every JSON file of a folder, for the page docs/benchmarks.md includes.

python -m benchmarks.table                  writes benchmarks/results/tables.md
python -m benchmarks.table FOLDER > FILE    prints those of another folder
"""

import json
import sys
from pathlib import Path
from typing import Any

from satlens.files import write_whole

RESULTS = Path(__file__).parent / "results"
MIB = 2**20


def folder(results: Path) -> str:
    """All tables of a folder, comparisons first, in order of their names."""
    records = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))
    ]
    draw = {"peers": peers, "scaling": scaling, "gpu": gpu}
    texts = [draw[kind](r) for kind in draw for r in records if r.get("kind") == kind]
    return "\n".join(texts) or "No results are in this checkout.\n"


def peers(record: dict[str, Any]) -> str:
    """One comparison: what was measured on what, and a row a method."""
    times, memory = record["times"], record["memory"]
    heads = [f"{part} thread{'s' * (part != '1')}, {times[part]['clock']}" for part in times]
    if times:
        heads.append("differing slots")
    if memory:
        heads += ["peak memory, MiB", "built once, MiB"]
    where = record["machine"]["cpu"]
    lines = [f"## {heading(record['case'])}, on {where}", "", sentence(record), ""]
    lines += [f"| | {' | '.join(heads)} |", f"| :-- |{' --: |' * len(heads)}"]
    for name, title in record["titles"].items():
        cells = _cells(name, record)
        if any(cells):
            lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", *_notes(record)]
    return "\n".join(lines) + "\n"


def heading(case: dict[str, Any]) -> str:
    """What was run, in a line."""
    text = f"{case['shape']}: batch {case['batch']} x {case['tokens']}, k = {case['k']}"
    return text + (", linear layers through oneDNN" if case["onednn"] else "")


def sentence(record: dict[str, Any]) -> str:
    """The machine, the versions, the dates."""
    m, found = record["machine"], {k: v for k, v in record["versions"].items() if v}
    fast = (
        ", ".join(name for name in ("avx512", "vnni", "bf16", "amx") if m[name]) or "none of them"
    )
    dates = sorted({part["date"] for part in record["times"].values()})
    installed = ", ".join(f"{name} {number}" for name, number in found.items())
    return (
        f"{_cpu(m)}, {m['cores']} cores, {m['memory_gib']} GiB, {m['system']}; of avx512, vnni, bf16 and amx "
        f"it has {fast}. {installed}. Measured {' and '.join(dates) or 'without times'}."
    )


def _cpu(m: dict[str, Any]) -> str:
    return f"{m['cpu']} (family {m['family']}, model {m['model']})" if m["family"] else m["cpu"]


def _cells(name: str, record: dict[str, Any]) -> list[str]:
    times, memory = record["times"], record["memory"]
    rows = [part["methods"].get(name) for part in times.values()]
    cells = [ratio(row) if row else "" for row in rows]
    if times:
        counts = [row["differing"] for row in rows if row and "differing" in row]
        cells.append(f"{max(counts)}" if counts else "")
    if memory:
        one, base = memory.get(name), memory.get("forward")
        cells += ["", ""] if one is None else [_peak(one, base), f"{one['static'] / MIB:,.0f}"]
    return cells


def ratio(row: dict[str, Any]) -> str:
    """Median [least - most] and the number of samples; ``*`` where none was quiet."""
    text = f"{row['median']:.2f} [{row['least']:.2f} - {row['most']:.2f}], n = {row['n']}"
    return text if row["quiet"] else text + " \\*"


def _peak(one: dict[str, int], forward: dict[str, int] | None) -> str:
    text = f"{one['peak'] / MIB:,.0f}"
    return text if not forward else f"{text} ({one['peak'] / max(forward['peak'], 1):.2f} x)"


def _notes(record: dict[str, Any]) -> list[str]:
    """What the columns do not say, a line each."""
    notes = []
    if "memory_machine" in record:
        notes.append(
            f"* Peak memory was read on another machine: {_cpu(record['memory_machine'])}."
        )
    for part, taken in record["times"].items():
        forward, static = taken["methods"]["forward"]["forward"], taken["static"]
        notes.append(
            f"* {part} thread{'s' * (part != '1')}: the forward pass takes {min(forward):.3g} s at its "
            f"fastest. The quantised head ({static['kind']}) is built once a model in "
            f"{static['seconds']:.2f} s and takes {static['bytes'] / MIB:.1f} MiB. "
            f"Slots in all: {taken['slots']:,}."
        )
        if not all(row["quiet"] for row in taken["methods"].values()):
            notes.append("* \\* others used the machine during every sample of this row.")
    if record["times"]:
        first = next(iter(record["times"].values()))
        fixed = [f"{r['median']:.2f} ({r['only_at_output']:.2f})" for r in first["saturation"]]
        notes.append(
            f"* In this model ({first['parameters'] / 1e6:.0f} million weights, made up) ranks 1, 2, ... are "
            f"fixed at these shares of the depth, medians, and so often only at the output: "
            f"{', '.join(fixed)}."
        )
    notes += [f"* Left out: {text}" for text in sorted(set(record["skipped"].values()))]
    return notes


def scaling(record: dict[str, Any]) -> str:
    """The curves as a table, and the figure."""
    titles = record["titles"]
    lines = ["## How it scales", "", sentence(record), "", record["about"], ""]
    lines += [f"![Ratio to the forward pass over one size at a time]({record['figure']})", ""]
    lines += [f"| | {' | '.join(titles.values())} |", f"| :-- |{' --: |' * len(titles)}"]
    for axis, points in record["points"].items():
        for point in points:
            cells = [ratio(point["methods"][name]) for name in titles]
            lines.append(f"| {axis} {point['value']:,} | {' | '.join(cells)} |")
    differing = {
        title: sum(p["methods"][name]["differing"] for ps in record["points"].values() for p in ps)
        for name, title in titles.items()
    }
    counts = "; ".join(f"{title}: {count}" for title, count in differing.items())
    lines += ["", f"Slots that differ from satlens' plain scan, all points together: {counts}."]
    return "\n".join(lines) + "\n"


def gpu(record: dict[str, Any]) -> str:
    """A column of time and one of memory a precision."""
    case, parts = record["case"], record["parts"]
    lines = [
        f"## On a GPU. {heading({**case, 'onednn': False})}",
        "",
        f"{record['gpu']}, CUDA {record['versions']['cuda']}; torch {record['versions']['torch']}, "
        f"transformers {record['versions']['transformers']}. Wall time between synchronisations over "
        "that of the forward pass in the same precision (float32 without TF32). Measured "
        f"{record['date']}.",
        "",
        f"| | {' | '.join(f'{d} | differing slots | peak memory, MiB' for d in parts)} |",
        f"| :-- |{' --: |' * 3 * len(parts)}",
    ]
    for name, title in record["titles"].items():
        rows = [part["methods"].get(name) for part in parts.values()]
        cells = [
            f"{ratio(row)} | {row.get('differing', '')} | {_peak(row, part['methods']['forward'])}"
            if row
            else " | | "
            for row, part in zip(rows, parts.values(), strict=True)
        ]
        if any(rows):
            lines.append(f"| {title} | {' | '.join(cells)} |")
    slots = case["batch"] * case["tokens"] * case["k"]
    lines += ["", f"* Slots in all: {slots:,}."]
    for dtype, part in parts.items():
        forward = min(part["methods"]["forward"]["forward"])
        lines.append(
            f'* {dtype}: the forward pass takes {1000 * forward:.3g} ms at its fastest. `method="auto"` '
            f"takes {part['chosen']}."
        )
    lines += [f"* {note}" for note in record.get("notes", ())]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Write the tables of the results kept here, or print those of another folder."""
    if arguments:
        sys.stdout.write(folder(Path(arguments[0])))
    else:
        write_whole(RESULTS / "tables.md", folder(RESULTS))


if __name__ == "__main__":
    main(sys.argv[1:])
