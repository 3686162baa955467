"""The tables, pinned on a small example, and the view of one text."""

import re

import pytest

from satlens.errors import InputError
from satlens.report.audit.frames import nulls_frame, saturation_frame, verdicts_frame
from satlens.report.audit.tables import (
    coverage_table,
    nulls_table,
    order_table,
    saturation_table,
    summary,
    tables_markdown,
)
from satlens.report.detect_view import detect_table, detect_text, token_texts
from satlens.report.table import verdicts_text
from satlens.report.validate import plain
from satlens.report.words import number, visible
from satlens.saturation.events import SaturationEvents
from tests.report.example import HOSTILE, make_events, make_results


@pytest.fixture(scope="module")
def results():
    return plain(make_results())


def small():
    """Two ranks of one layer table, filled by hand."""
    results = plain(make_results(docs=2, tokens=3, n_layers=4, k=2, nulls=False))

    def rank(i, mean, ci, censored, median):
        return {
            "rank": i, "mean_layer": mean, "ci": ci, "median_layer": median,
            "coverage": {"value": 1 - censored, "ci": None}, "censored": {"value": censored, "ci": None},
        }  # fmt: skip

    results["saturation"]["trained"]["ranks"] = [
        rank(1, 1.5, [1.0, 2.0], 0.25, 1.0), rank(2, None, None, 1.0, None),
    ]  # fmt: skip
    results["saturation"]["untrained"] = None
    return results


def test_saturation_table_pinned():
    lines = saturation_table(small()).text(60).splitlines()
    assert lines == [
        "Saturation layer per rank",
        "  rank         mean layer  median  censored",
        "  1     1.50 [1.00, 2.00]       1      0.25",
        "  2         not available       -      1.00",
        "  Layers are 0 .. 3, the state after block l. Censored: the",
        "  share of tokens seen fixed only at the output (layer 3);",
        "  the mean counts them as 3 and is a lower bound. Brackets",
        "  are intervals over documents.",
    ]


def test_markdown_pinned():
    lines = saturation_table(small()).markdown().splitlines()
    assert lines[:6] == [
        "**Saturation layer per rank**", "",
        "| rank | mean layer | median | censored |", "| :-- | --: | --: | --: |",
        "| 1 | 1.50 [1.00, 2.00] | 1 | 0.25 |", "| 2 | not available | - | 1.00 |",
    ]  # fmt: skip


def test_the_untrained_model_stands_beside_the_trained(results):
    table = saturation_table(results)
    assert table.head == ("rank", "mean layer", "median", "censored", "untrained", "censored")
    fresh = results["saturation"]["untrained"]["ranks"][2]
    assert table.rows[2][4].startswith(number(fresh["mean_layer"]))


def test_nulls_table_holds_every_null_with_its_excess(results):
    rows = {row[0]: row for row in nulls_table(results).rows}
    assert list(rows) == ["this model", "ranks permuted", "path rotated", "path exchanged",
                          "random walk", "straight line", "untrained model"]  # fmt: skip
    assert rows["path exchanged"][5] == "+0.035 [+0.015, +0.055]"
    assert rows["untrained model"][1] == "3"


def test_no_nulls_is_said():
    assert "nothing to be held against" in nulls_table(small()).text()


def test_verdicts_in_words(results):
    text = verdicts_text(results)
    for verdict in results["verdicts"]:
        assert f"{verdict['verdict'].upper()}: {verdict['statement']}" in text
    assert "excess concordance 0.035 [0.015, 0.055], against path exchanged, p < 0.001" in text
    assert "difference of concordance not available" in text


@pytest.mark.parametrize("make", [make_results, small], ids=["whole", "small"])
def test_the_terminal_is_100_columns_and_never_nan(make):
    results = plain(make())
    text = summary(results)
    assert max(map(len, text.splitlines())) <= 100
    assert not re.search(r"\b(nan|none|inf)\b", text, re.IGNORECASE)
    markdown = tables_markdown(results)
    assert not re.search(r"\b(nan|inf)\b", markdown, re.IGNORECASE)


def test_one_rank_has_no_order_but_has_tables():
    results = plain(make_results(k=1, n_layers=1))
    results["order"] = {"trained": None}
    assert saturation_table(results).rows and not order_table(results).rows[0][1:]
    assert "Saturation layer per rank" in summary(results)


def test_frames_hold_the_numbers(results):
    frame = saturation_frame(results)
    assert frame.groupby("model").size().to_dict() == {"trained": 5, "untrained": 5}
    assert (
        frame.loc[0, "mean_layer_low"]
        < frame.loc[0, "mean_layer"]
        < frame.loc[0, "mean_layer_high"]
    )
    nulls = nulls_frame(results).set_index("null")
    assert nulls.loc["rotated", "excess"] == results["nulls"]["rotated"]["excess"]["value"]
    assert verdicts_frame(results)["verdict"].tolist() == [
        v["verdict"] for v in results["verdicts"]
    ]
    assert coverage_table(results).rows[0][:2] == ("trained", "1")


def test_detect_view_marks_censored_and_shows_every_character():
    events = make_events(docs=1, tokens=len(HOSTILE), n_layers=4)
    text = detect_text(events, HOSTILE, HOSTILE[::-1])
    lines = text.splitlines()
    assert len(lines) == len(HOSTILE) + 2
    assert all(
        ord(char) >= 32 and char not in "\u202e\u2028\ud800\x7f" for line in lines for char in line
    )
    for row, line in zip(events.censored, lines[1:], strict=False):
        assert line[:45].count("*") == row.sum()


def test_detect_view_with_no_room():
    events = make_events(docs=2, tokens=3, k=20)
    text = detect_text(events, ["a"] * 6, width=80, rows=4)
    assert "2 more tokens not shown." in text and "15 more ranks found no room." in text
    assert text.splitlines()[4] == ""  # a new document
    assert max(map(len, text.splitlines())) <= 80


def test_detect_view_wants_one_text_a_token():
    with pytest.raises(InputError, match="read has 1 texts for events of 6 tokens"):
        detect_text(make_events(docs=2, tokens=3), ["a"])


class Pieces:
    """Decodes like a SentencePiece tokenizer: the space in front of a single token is lost."""

    def convert_ids_to_tokens(self, token):
        return ["▁the", "cat", "<0x0A>"][token]

    def decode(self, ids, clean_up_tokenization_spaces=False):
        return ["the", "cat", "\n"][ids[0]]


def test_token_texts_keep_the_space_in_front():
    assert token_texts(Pieces(), [0, 1, 2, -1]) == [" the", "cat", "\n", ""]
    assert token_texts(None, [5]) == ["#5"]


def test_detect_table_without_a_tokenizer_shows_ids():
    events = SaturationEvents([[0]], [[7]], [0], [0], n_layers=2, input=[3])
    assert "#3" in detect_table(events) and "#7" in detect_table(events)


@pytest.mark.parametrize(
    "char", ["\x00", "\x7f", "\u200b", "\u2028", "\ue000", "\udfff", "\U000e0001"]
)
def test_what_has_no_picture_is_written_as_its_code(char):
    seen = visible(char)
    assert seen.startswith("\\") and seen.isascii() and seen.isprintable()
