"""Claims as words: the table in the terminal, in Markdown and on the page, read from results alone."""

import json

import jsonschema
import pytest

from satlens.errors import InputError
from satlens.report.claims import section, tables
from satlens.report.page import write_page
from satlens.report.validate import check_results, read_results, schema, write_results
from tests.report.example import make_results
from tests.report.example_claims import ROWS, make_claims


def test_the_form_is_the_documented_one(tmp_path):
    results = make_claims()
    jsonschema.validate(results, schema("claims"))
    write_results(results, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == json.loads(json.dumps(results))


@pytest.mark.parametrize("key", schema("claims")["$defs"]["claim_row"]["required"])
def test_a_claim_that_lacks_something_is_refused(key):
    results = make_claims()
    del results["claims"][1][key]
    with pytest.raises(InputError, match=rf"results.claims\[1\].{key} is missing"):
        check_results(results)


def test_the_terminal_has_a_line_a_claim_and_fits():
    text = tables.summary(make_claims())
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    for name, verdict, *_ in ROWS:
        (line,) = [one for one in lines if one.split()[:1] == [name]]
        assert line.split(maxsplit=1)[1].startswith(verdict)
    (untold,) = [one for one in lines if "transition_by_patching" in one]
    assert " ".join(untold.split()[1:]) == "cannot be told here not available - not run"
    (rises,) = [one for one in lines if "mean_layer_rises" in one]
    assert "+6.400 [+6.200, +6.600]" in rises and "0.002" in rises


def test_markdown_says_it_in_sentences_and_why():
    text = tables.tables_markdown(make_claims())
    assert "What order says <is so>. (Lioubashevski et al. 2025)" in text
    assert "| transition_by_patching | audit | No pair of tokens. |" in text


def test_the_page_has_the_claims_first_and_the_other_verdicts_to_be_opened(tmp_path):
    path = write_page([make_results(), make_claims()], [], tmp_path / "report.html")
    page = path.read_text()
    assert page.index('id="claims"') < page.index('id="audit"')
    assert "What order says &lt;is so&gt;." in page and "<is so>" not in page
    assert "Which claims hold?" in page and "satlens claims · audit" in page
    assert page.index("verdict-order_in_untrained") < page.index("Verdicts of each part")
    assert page.index("Verdicts of each part") < page.index("verdict-order-as-published")
    assert section.tiles(make_claims()) == [
        ("1", "of 5 claims of the papers hold here"), ("1", "hold by the paper's own test only"),
    ]  # fmt: skip


def test_a_page_of_claims_alone(tmp_path):
    page = write_page([make_claims()], [], tmp_path / "report.html").read_text()
    assert "Which claims hold?" in page
