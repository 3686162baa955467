"""What the tests of the recipes gave, kept for the documentation where SATLENS_NOTEBOOKS names a folder.

    FOLDER/recipes-WORKER.json = {"digest", "transformer_lens", "tests": {test: [outcome, reason]}}

A result is of the files that it was made with: `read` takes none of any other digest.
"""

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = "tests/hooks/"
WORST = ("failed", "passed", "skipped")
"""A test reports its setup, its call and its end; what counts is the first of these among them."""

Outcomes = dict[str, tuple[str, str]]


def digest() -> str:
    """One hash over the recipes, their tests, and the library that these compare them with."""
    found = hashlib.sha256()
    for pattern in ("hooks/*.py", "tests/*.py", "tests/hooks/*.py", "satlens/**/*.py"):
        for path in sorted(ROOT.glob(pattern)):
            found.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return found.hexdigest()


class Recorder:
    """Takes the reports of a run, and writes them at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.digest, self.tests = folder, digest(), {}

    @classmethod
    def asked_for(cls) -> "Recorder | None":
        folder = os.environ.get("SATLENS_NOTEBOOKS")
        return cls(Path(folder)) if folder else None

    def note(self, report: pytest.TestReport) -> None:
        if not report.nodeid.startswith(HERE):
            return
        if report.when != "call" and report.outcome == "passed":
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        new = report.outcome, reason.removeprefix("Skipped: ")
        test = report.nodeid.removeprefix(HERE)
        self.tests[test] = worse(new, self.tests.get(test, new))

    def write(self) -> None:
        if not self.tests:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        made = {"digest": self.digest, "transformer_lens": version("transformer-lens")}
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        path = self.folder / f"recipes-{worker}.json"
        path.write_text(json.dumps(made | {"tests": self.tests}, indent=1), encoding="utf-8")


def worse(*outcomes: tuple[str, str]) -> tuple[str, str]:
    return min(outcomes, key=lambda outcome: WORST.index(outcome[0]))


def read(folder: Path) -> tuple[str, Outcomes]:
    """The version of TransformerLens, and the outcome of every test in the folder that is of these files."""
    now, host, tests = digest(), "", {}
    for path in sorted(folder.glob("recipes-*.json")):
        made = json.loads(path.read_text(encoding="utf-8"))
        if made["digest"] != now:
            continue
        host = made["transformer_lens"]
        for test, (outcome, reason) in made["tests"].items():
            tests[test] = worse((outcome, reason), tests.get(test, (outcome, reason)))
    return host, tests
