"""What the documentation points at is there."""

import ast
import hashlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

from satlens import errors
from satlens.claims import CLAIMS
from satlens.zoo import TINY
from tests.hooks.outcomes import Recorder, read

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("docs/usage/*.md"), *ROOT.glob("*.md")])
NAMED = [
    (page, *found)
    for page in PAGES
    for found in re.findall(r"`(tests/[\w/.]*)(?:::(\w+))?`", page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(
    ("page", "path", "test"), NAMED, ids=lambda part: getattr(part, "name", part)
)
def test_a_test_that_a_page_names_is_there(page, path, test):
    assert (ROOT / path).exists(), f"{page.name} names {path}"
    if test:
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{page.name}: {test}"


def shown():
    path = ROOT / "docs" / "claims" / "shown.py"
    spec = importlib.util.spec_from_file_location("shown_claims", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_claims_are_those_that_were_measured():
    tables = shown()
    found = tables.loaded()
    assert "tiny" in found and tables.ALONE in found
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    for text in (tables.by_model(found), tables.alone(found)):
        assert text in page
    assert tables.of_tiny(found) in (ROOT / "README.md").read_text(encoding="utf-8")
    asked = {row.id for row in (*found["tiny"].rows, *found[tables.ALONE].rows)}
    assert asked == {one.id for one in CLAIMS.values() if "text" in one.takes or not one.takes}
    for name in found:
        assert "/" not in found[name].settings["model"] + found[name].settings["corpus"]


def test_some_are_named():
    assert len(NAMED) > 10


def test_the_page_of_claims_has_a_row_for_each():
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    for claim in CLAIMS.values():
        assert f"| `{claim.id}` | {claim.statement} |" in page
    listed = page[page.index("## The claims") : page.index("## What came out")]
    assert len(re.findall(r"^\| `\w+` \|", listed, re.M)) == len(CLAIMS)


@pytest.fixture
def recipes():
    return load("recipes")


def load(name):
    """A module of docs/, which makes a page."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(test, outcome, when="call", why=None):
    node = f"tests/hooks/test_gate.py::{test}"
    return pytest.TestReport(node, ("", 0, ""), {}, outcome, why and ("", 0, why), when)


GATE = "test_it_is_what_token_gates_do"
RUN = [
    report(f"{GATE}[one]", "passed"),
    report(f"{GATE}[two]", "passed", "setup"),
    report(f"{GATE}[two]", "failed"),
    report(f"{GATE}[two]", "passed", "teardown"),
    report(f"{GATE}[three]", "skipped", "setup", "Skipped: no such host"),
    report(f"{GATE}[four]", "passed"),
    report(f"{GATE}[four]", "failed", "teardown"),
]


def test_the_page_of_recipes_has_what_the_tests_gave(recipes, tmp_path):
    recorder = Recorder(tmp_path)
    for one in RUN:
        recorder.note(one)
    recorder.write()
    host, outcomes = read(tmp_path)
    page = recipes.page(host, outcomes)
    assert "1 passed, 2 failed, 1 skipped (no such host)." in page
    assert f"TransformerLens {host}" in page and host[0] in "34"
    line = "* it is what token gates do (`tests/hooks/test_gate.py`): 1 passed, 2 failed, 1 skipped"
    assert line in page.splitlines()
    assert "(`tests/hooks/test_steer.py`): not run" in page


def test_results_of_other_files_are_not_shown(recipes, tmp_path):
    recorder = Recorder(tmp_path)
    recorder.note(RUN[0])
    recorder.digest = "of what the files were before"
    recorder.write()
    assert read(tmp_path) == ("", {})
    page = recipes.page(*read(tmp_path))
    assert "They were not run for this build" in page and "passed" not in page.split("## Their")[1]


def test_the_page_of_recipes_has_all_of_them_with_their_tests(recipes):
    page, calls = recipes.page("", {}), recipes.callers()
    for path in ROOT.glob("hooks/*.py"):
        assert f"## {path.stem}\n" in page and path.read_text(encoding="utf-8") in page
        assert len(calls[path.stem]) >= 3
    assert ("test_hooks.py", "test_no_hook_is_left_behind") in calls["freeze_after_saturation"]
    assert not any(test == GATE for _, test in calls["steer_to_next_stage"])


def test_every_gotcha_has_its_test_and_every_test_its_gotcha():
    page = (ROOT / "docs" / "gotchas.md").read_text(encoding="utf-8")
    parts = re.split(r"^### .+$", page, flags=re.M)[1:]
    named = [re.findall(r"^Test: `(tests/[\w/.]+)::(\w+)`$", part, flags=re.M) for part in parts]
    assert parts and all(len(found) == 1 for found in named)
    here = "tests/test_gotchas.py"
    tests = re.findall(r"^def (test_\w+)\(", (ROOT / here).read_text(encoding="utf-8"), re.M)
    assert sorted(test for [(file, test)] in named if file == here) == sorted(tests)


def test_the_page_of_models_has_the_bundled_ones_card():
    """The page includes the card below its front matter, and says its licence and its depth itself."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    options = re.search(r"{include} (\S+/README\.md)\n:start-line: (\d+)", page)
    card = (ROOT / "docs" / options[1]).resolve()
    assert card == TINY / "README.md"
    lines = card.read_text(encoding="utf-8").splitlines()
    front, rest = lines[: int(options[2])], lines[int(options[2]) :]
    assert front[0] == front[-1] == "---" and rest[0] == "# tiny"
    (licence,) = re.findall(r"^license: (.+)$", "\n".join(front), re.M)
    assert f"tiny: {licence.upper().replace('SHARING', 'Sharing')}," in page
    settings = json.loads((TINY / "settings.json").read_text(encoding="utf-8"))["settings"]
    assert f"deep enough ({settings['layers']} blocks)" in page


def test_every_file_of_the_bundled_model_is_named_on_its_page():
    cards = load("model_cards")
    assert set(cards.HOLDS) == {path.name for path in TINY.iterdir()}
    weights = hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()
    assert f"sha256 `{weights}`" in cards.files()


def messages():
    """Every string of satlens, a ``{}`` of an f-string as a space."""
    for path in (ROOT / "satlens").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else " " for v in node.values]
                yield "".join(parts)


def test_errors_are_found_by_their_words():
    """What stands between the dots of each quotation of the page is in a message of satlens."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").partition("## Found by")[2]
    text = "\n".join(" ".join(message.split()) for message in messages())
    terms = [line for line in page.splitlines() if line.startswith('"')]
    quoted = [one for line in terms for one in re.findall(r'"((?:[^"\\]|\\.)+)"', line)]
    assert len(quoted) > 80
    parts = {
        part.strip(" ,;:") for quote in quoted for part in quote.replace('\\"', '"').split("...")
    }
    host = "HookedTransformer is deprecated"  # said by TransformerLens
    assert not [part for part in parts - {host} if part not in text]


def test_every_kind_of_error_is_on_its_page():
    """The page takes them from satlens/errors.py; each says there what it is."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert "automodule:: satlens.errors\n   :members:" in page
    kinds = [one for one in vars(errors).values() if isinstance(one, type)]
    assert len(kinds) >= 8
    for kind in kinds:
        assert issubclass(kind, errors.SatlensError) and kind.__doc__.endswith(".")
