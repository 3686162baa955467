"""The hook recipes as one page: what each gives, its file, and what the tests that call it gave.

The words come from hooks/README.md, the code from hooks/, the results from a run of tests/hooks: that of
the tests just before (SATLENS_NOTEBOOKS), if it was of these very files, else one of the build's own.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.hooks.outcomes import Outcomes, read

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| \[(\w+)\.py\]\(\w+\.py\) \| (.+) \|$", re.MULTILINE)
TABLE = re.compile(r"^\|.*\n(?:\|.*\n)+", re.MULTILINE)


def results(run: bool) -> tuple[str, Outcomes]:
    """The version of TransformerLens and every test's outcome; nothing where no run is at hand."""
    folder = os.environ.get("SATLENS_NOTEBOOKS")
    if folder and (found := read(Path(folder)))[1]:
        return found
    if not run:
        return "", {}
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, "-m", "pytest", "tests/hooks", "-q", "-p", "no:cacheprovider"]
        environment = {**os.environ, "SATLENS_NOTEBOOKS": made}
        subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)
        return read(Path(made))


def page(host: str, outcomes: Outcomes) -> str:
    """The page in Markdown: the README around one section a recipe."""
    readme = (ROOT / "hooks" / "README.md").read_text(encoding="utf-8")
    rows = dict(ROW.findall(readme))
    calls = callers()
    index = "\n".join(f"* [{name}](#{anchor(name)}): {gives}" for name, gives in rows.items())
    before, after = TABLE.split(readme.split("\n", 2)[2], maxsplit=1)
    parts = [before, index, after, "## Their tests", state(host, outcomes)]
    parts += [section(name, gives, calls[name], outcomes) for name, gives in rows.items()]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def anchor(name: str) -> str:
    return name.replace("_", "-")


def state(host: str, outcomes: Outcomes) -> str:
    """What the run as a whole gave."""
    said = "Each recipe below names the tests that call it."
    if not outcomes:
        return f"{said} They were not run for this build of the page."
    reasons = sorted({why for outcome, why in outcomes.values() if outcome == "skipped"})
    skipped = f" ({'; '.join(reasons)})" if reasons else ""
    return (
        f"{said} All of `tests/hooks`, beside TransformerLens {host}, with the files as they are here: "
        f"{counted(outcomes)}{skipped}."
    )


def counted(outcomes: Outcomes) -> str:
    found = Counter(outcome for outcome, _ in outcomes.values())
    return ", ".join(
        f"{found[kind]} {kind}" for kind in ("passed", "failed", "skipped") if found[kind]
    )


def section(name: str, gives: str, tests: list[tuple[str, str]], outcomes: Outcomes) -> str:
    """One recipe: what it gives, its file, its tests."""
    code = (ROOT / "hooks" / f"{name}.py").read_text(encoding="utf-8")
    own, lines = {}, []
    for file, test in tests:
        given = {
            key: value
            for key, value in outcomes.items()
            if key.partition("[")[0] == f"{file}::{test}"
        }
        own |= given
        words = test.removeprefix("test_").replace("_", " ")
        result = counted(given) or "not run"
        lines.append(f"* {words} (`tests/hooks/{file}`): {result if outcomes else 'a test'}")
    head = f"{len(tests)} tests" + (f": {counted(own)}" if own else "")
    return (
        f"## {name}\n\n{gives[0].upper()}{gives[1:]}: {{download}}`{name}.py <../hooks/{name}.py>`\n\n"
        f"```python\n{code}```\n\n<details><summary>{head}</summary>\n\n"
        + "\n".join(lines)
        + "\n\n</details>"
    )


def callers() -> dict[str, list[tuple[str, str]]]:
    """The tests that call each recipe, by its name: (file, test), by way of helpers in the file too."""
    found: dict[str, list[tuple[str, str]]] = {
        path.stem: [] for path in (ROOT / "hooks").glob("*.py")
    }
    for path in sorted((ROOT / "tests" / "hooks").glob("test_*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        recipe = {
            alias.name: node.module.removeprefix("hooks.")
            for node in body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hooks.")
            for alias in node.names
        }
        functions = {node.name: words(node) for node in body if isinstance(node, ast.FunctionDef)}
        for test in functions:
            if test.startswith("test_"):
                for name in sorted(
                    {recipe[word] for word in reached(test, functions) if word in recipe}
                ):
                    found[name].append((path.name, test))
    return found


def words(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def reached(test: str, functions: dict[str, set[str]]) -> set[str]:
    """Every name that a test uses, and that the functions of its file use which it calls."""
    found, todo = set(), [test]
    while todo:
        new = functions[todo.pop()] - found
        found |= new
        todo += [word for word in new if word in functions]
    return found
