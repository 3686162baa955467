"""The tables of claims of docs/claims.md and of the README, from the JSON beside this file.

python docs/claims/shown.py measure MODEL CORPUS NAME DIR   satlens.claims.run, into NAME.json; goes on in DIR
python docs/claims/shown.py                                 writes both tables into their pages
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from satlens import claims  # noqa: E402
from satlens.claims import CLAIMS, ClaimTable, Row  # noqa: E402
from satlens.claims.table import interval  # noqa: E402
from satlens.files import write_whole  # noqa: E402

MODELS = {"tiny": "tiny", "stories260k": "stories260k", "deit-tiny": "DeiT-tiny", "kwt1": "KWT-1"}
ALONE = "no_model"
SHORT = {
    "holds": "**holds**", "does not hold": "does not hold", "cannot be told here": "cannot be told",
    "holds as published only": "as published only",
}  # fmt: skip


def measure(model: str, corpus: str, name: str, folder: str) -> None:
    """One model's table."""
    if name == ALONE:
        found = claims.run(only=[one.id for one in CLAIMS.values() if not one.takes], out=folder)
    else:
        found = claims.run(model, corpus, out=folder, progress=False)
    said = {**found.settings, "model": name, "corpus": Path(corpus).name}
    ClaimTable(found.rows, said).save(HERE / f"{name}.json")


def loaded() -> dict[str, ClaimTable]:
    """Those that were measured."""
    names = [*MODELS, ALONE]
    return {
        name: ClaimTable.load(HERE / f"{name}.json")
        for name in names
        if (HERE / f"{name}.json").is_file()
    }


def rows_of(table: ClaimTable) -> dict[str, Row]:
    """By claim."""
    return {row.id: row for row in table.rows}


def by_model(found: dict[str, ClaimTable]) -> str:
    """A row a claim, a column a model."""
    shown = [name for name in MODELS if name in found]
    tables = {name: rows_of(table) for name, table in found.items()}
    head = ["claim", *(MODELS[name] for name in shown)]
    lines = [head, ["---"] * len(head)]
    for claim in CLAIMS.values():
        if not claim.takes:
            continue
        cells = [cell(tables[name].get(claim.id)) for name in shown]
        if any(cells):
            lines.append([f"`{claim.id}`", *(one or "" for one in cells)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def alone(found: dict[str, ClaimTable]) -> str:
    """The claims about no given model."""
    lines = [["claim", "found", "as published"], ["---"] * 3]
    for row in found[ALONE].rows:
        lines.append([f"`{row.id}`", cell(row) or "", SHORT[(row.published or {})["verdict"]]])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def cell(row: Row | None) -> str | None:
    """Verdict and effect; nothing where the claim is not about such models."""
    if row is None:
        return None
    effect = "" if row.value is None else f"<br>{interval(row)}"
    return f"{SHORT[row.verdict]}{effect}"


def of_tiny(found: dict[str, ClaimTable]) -> str:
    """For the README: sentences, effects and verdicts of the bundled model."""
    lines = [
        ["claim", "effect over what it is held against", "paper's test", "verdict"],
        ["---"] * 4,
    ]
    for row in (*found["tiny"].rows, *found[ALONE].rows):
        effect = "-" if row.value is None else f"{interval(row)}"
        theirs = (row.published or {}).get("verdict", "-").removesuffix(" as published only")
        lines.append([CLAIMS[row.id].statement.rstrip("."), effect, theirs, row.verdict])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def put(page: Path, name: str, text: str) -> None:
    """Between the marks of this name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    old = page.read_text(encoding="utf-8")
    new = re.sub(
        re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + text + end, old, flags=re.S
    )
    if begin not in old:
        raise SystemExit(f"{page} has no mark {begin.strip()}")
    write_whole(page, new)


def main() -> None:
    """Entry point."""
    if sys.argv[1:2] == ["measure"]:
        measure(*sys.argv[2:6])
        return
    found = loaded()
    put(ROOT / "docs" / "claims.md", "claims by model", by_model(found))
    put(ROOT / "docs" / "claims.md", "claims about no model", alone(found))
    put(ROOT / "README.md", "claims of tiny", of_tiny(found))


if __name__ == "__main__":
    main()
