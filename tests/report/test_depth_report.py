"""A depth run in words and pictures: tables, paper figures and its part of the page, on small examples."""

import json
import re

import pytest

from satlens.errors import InputError
from satlens.report.depth import captions, figures, tables
from satlens.report.page import page_text
from satlens.report.validate import check_results, plain
from tests.report.example import HOSTILE, make_heatmap, make_results
from tests.report.example_depth import make_depth
from tests.report.example_parts import make_probe
from tests.report.test_figures import words
from tests.report.test_page import Reader, blank

SHAPES = [
    {},
    {"n_layers": 2, "k": 1, "docs": 1},
    {"nulls": ()},
    {"nulls": ("rotated",)},
    {"untrained": False},
]


@pytest.fixture(scope="module")
def results():
    return plain(make_depth())


@pytest.mark.parametrize("change", SHAPES)
def test_the_example_has_the_documented_form(change):
    check_results(plain(make_depth(**change)))


def test_the_shape_stands_beside_its_limits(results):
    rows = dict(tables.shape_table(results).rows)
    assert rows["blocks"] == "16" and rows["threshold, log3 of the width"] == "4.4"
    assert rows["fitted line, blocks for this width"] == "not available"
    assert rows["loss, nats a token, untrained"].startswith("8.400 [")
    alone = tables.shape_table(plain(make_depth(untrained=False)))
    assert not any("untrained" in name for name, _ in alone.rows)


def test_every_rank_of_both_and_of_every_null(results):
    rows = tables.ranks_table(results).rows
    assert [row[:2] for row in rows] == [
        (kind, str(rank)) for kind in ("trained", "untrained") for rank in range(1, 6)
    ]
    assert rows[0][2].startswith("9.28 [") and rows[0][3].startswith("0.420 [")
    nulls = tables.nulls_table(results).rows
    assert [row[0] for row in nulls] == ["path rotated"] * 5 + ["path exchanged"] * 5
    assert (
        nulls[0][2] == "10.08"
        and nulls[0][3].startswith("+0.050 [")
        and nulls[5][3].startswith("+0.040 [")
    )


@pytest.mark.parametrize("change", SHAPES)
def test_the_terminal_is_100_columns_and_never_nan(change):
    made = plain(make_depth(**change))
    made["ranks"][0]["trained"] = plain(blank(made["ranks"][0]["trained"]))
    text = tables.summary(made)
    assert max(map(len, text.splitlines())) <= 100
    for said in (text, tables.tables_markdown(made)):
        assert not re.search(r"\b(nan|none|inf)\b", said, re.IGNORECASE)


class TestFigures:
    @pytest.fixture(autouse=True)
    def matplotlib(self):
        pytest.importorskip("matplotlib", reason="the figures extra is not installed")

    @pytest.mark.parametrize("name", figures.FIGURES)
    def test_every_figure_names_its_sample(self, name):
        assert "960 tokens, 12 documents" in words(figures.FIGURES[name](plain(make_depth())))

    def test_what_is_drawn_is_what_was_given(self, results):
        axes = figures.blocks_used(results).axes[0]
        lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
        assert lines["path rotated"] == [
            one["trained"]["nulls"]["rotated"]["used"] for one in results["ranks"]
        ]
        drawn = {one.get_label(): list(one.lines[0].get_ydata()) for one in axes.containers}
        assert drawn["trained"] == [one["trained"]["used"]["value"] for one in results["ranks"]]
        axes = figures.left_over(results).axes[0]
        assert [one.get_label() for one in axes.containers] == [
            "over path rotated",
            "over path exchanged",
        ]

    def test_what_is_missing_is_left_out(self, tmp_path):
        bare = plain(make_depth(nulls=(), untrained=False))
        saved = figures.save_figures(bare, tmp_path, formats=("png",))
        assert {path.stem for path in saved} == {"blocks_used"}
        with pytest.raises(InputError, match="hold no null"):
            figures.left_over(bare)


@pytest.mark.parametrize(
    "others", [[], [make_results], [make_probe]], ids=["alone", "audit", "probe"]
)
def test_its_part_of_the_page_is_whole(others):
    reader = Reader(page_text([*(make() for make in others), make_depth()], make_heatmap()))
    places = [value for _, name, value in reader.attributes if name == "data-chart"]
    assert set(captions.CHARTS) <= set(places) and set(places) == set(reader.block("charts"))
    assert "{{" not in reader.text and not re.search(r"\b(NaN|None|nan)\b", reader.text)
    assert make_depth()["verdicts"][0]["statement"] in reader.text
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert "satlens depth --from depth/settings.yaml" in reader.text
    assert "of 16 blocks used until rank 1 is fixed" in reader.text and "+0.050" in reader.text


def test_charts_hold_the_numbers():
    charts = Reader(page_text(make_depth(), [])).block("charts")
    lines = {line["name"]: line["y"] for line in charts["depth_used"]["data"]}
    assert list(lines) == ["path rotated", "path exchanged", "trained", "untrained"]
    assert lines["trained"][0] == pytest.approx(9.28)
    assert [one["y"][0] for one in charts["depth_left"]["data"]][0] == "rank 1, over path rotated"


def test_an_image_is_called_an_image():
    made = make_depth()
    made["corpus"] |= {
        "reads": "images",
        "document": "image",
        "position": "class token",
        "tokens": 12,
    }
    assert "intervals over images" in Reader(page_text(made, [])).text


def test_numbers_that_are_not_known_are_said_to_be_so():
    bare = make_depth()
    for one in bare["ranks"]:
        one["trained"] = blank(one["trained"])
    reader = Reader(page_text(bare, []))
    for name in captions.CHARTS:
        assert captions.MISSING[name] in reader.text, name
    assert not re.search(r"\b(NaN|None|nan|undefined)\b", reader.text)
    assert "NaN" not in json.dumps(reader.block("charts"))


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_is_only_text(text):
    def around(text):
        made = make_depth()
        made["model"]["name"] = made["corpus"]["name"] = f"m{text}"
        made["notes"] = [f"note {text}"]
        made["verdicts"][0] |= {"statement": text, "why": text, "id": text, "null": text}
        return page_text(made, [])

    page = around(text)
    page.encode("utf-8")
    assert Reader(page).tags == Reader(around("harmless")).tags
