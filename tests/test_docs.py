"""What the documentation points at is there."""

import re
from pathlib import Path

import pytest

from satlens.claims import CLAIMS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("*.md")])
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


def test_some_are_named():
    assert len(NAMED) > 10


def test_the_page_of_claims_has_a_row_for_each():
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    for claim in CLAIMS.values():
        assert f"| `{claim.id}` | {claim.statement} |" in page
    assert len(re.findall(r"^\| `\w+` \|", page, re.M)) == len(CLAIMS)
