"""A route run in words and pictures: tables, paper figures and its part of the page, on small examples."""

import json
import re

import pytest

from satlens.errors import InputError
from satlens.report.page import page_text
from satlens.report.route import captions, figures, tables
from satlens.report.validate import check_results, plain
from tests.report.example import HOSTILE, make_heatmap, make_results
from tests.report.example_depth import make_depth
from tests.report.example_route import make_route
from tests.report.test_figures import words
from tests.report.test_page import Reader, blank

SHAPES = [
    {}, {"n_layers": 2, "docs": 1, "penalties": (1.0,)}, {"nulls": ()}, {"nulls": ("rotated",)},
    {"seeds": (0, 1, 2)}, {"penalties": (0.0,)},
]  # fmt: skip


@pytest.fixture(scope="module")
def results():
    return plain(make_route())


@pytest.mark.parametrize("change", SHAPES)
def test_the_example_has_the_documented_form(change):
    check_results(plain(make_route(**change)))


def test_every_lambda_and_seed_is_a_row(results):
    rows = tables.losses_table(plain(make_route(seeds=(0, 1)))).rows
    assert [row[:2] for row in rows] == [("0.3", "0"), ("0.1", "0"), ("0.3", "1"), ("0.1", "1")]
    assert rows[0][2].startswith("0.530 [") and rows[0][3:] == (
        "4.100",
        "4.080",
        "4.200",
        "4.500",
        "4.900",
    )
    assert "62,415 numbers of gates" in tables.losses_table(results).note
    assert tables.differences_table(results).rows[0][2].startswith("+0.100 [")


def test_skipping_beside_saturation(results):
    rows = {row[0]: row[1:] for row in tables.saturation_table(results).rows}
    assert rows["given frequency, loss and position"][1].startswith("+0.065 [")
    assert rows["above the path rotated"][0] == "+0.025"
    blocks = tables.blocks_table(results).rows
    assert blocks[0] == ("1", "0.062", "0.400", "0.450", "not available") and len(blocks) == 15
    runs = tables.runs_table(results)
    assert runs.head == ("lambda", "seed", "partial", "above path rotated", "above path exchanged")
    assert runs.rows[1][:2] == ("0.1", "0") and runs.rows[1][3].startswith("+0.030 [")
    assert tables.classes_table(results).rows[0] == ("word start", "700", "0.560")


@pytest.mark.parametrize("change", SHAPES)
def test_the_terminal_is_100_columns_and_never_nan(change):
    made = plain(make_route(**change))
    made["saturation"]["correlation"] = plain(blank(made["saturation"]["correlation"]))
    text = tables.summary(made)
    assert max(map(len, text.splitlines())) <= 100
    for said in (text, tables.tables_markdown(made)):
        assert not re.search(r"\b(nan|none|inf)\b", said, re.IGNORECASE)
    assert "against skipping at random" in re.sub(r"\s+", " ", text)


class TestFigures:
    @pytest.fixture(autouse=True)
    def matplotlib(self):
        pytest.importorskip("matplotlib", reason="the figures extra is not installed")

    @pytest.mark.parametrize("name", figures.FIGURES)
    def test_every_figure_names_its_sample(self, name):
        assert "960 tokens, 12 documents" in words(figures.FIGURES[name](plain(make_route())))

    def test_what_is_drawn_is_what_was_given(self, results):
        axes = figures.loss_and_saving(results).axes[0]
        drawn = {one.get_label(): list(one.lines[0].get_ydata()) for one in axes.containers}
        assert drawn["skipped (hard)"] == [4.2, 4.2] and drawn["early exit"] == [4.9, 4.9]
        lines = {
            one.get_label(): one for one in figures.skipping_and_saturation(results).axes[0].lines
        }
        assert list(lines["of those fixed before it"].get_ydata()) == [0.45] * 15

    def test_what_is_missing_is_left_out(self, tmp_path):
        bare = plain(make_route())
        for one in bare["saturation"]["by_block"]:
            one["skip"] = None
        saved = figures.save_figures(bare, tmp_path, formats=("png",))
        assert {path.stem for path in saved} == {"loss_and_saving"}
        with pytest.raises(InputError, match="no block that could be skipped"):
            figures.skipping_and_saturation(bare)


@pytest.mark.parametrize(
    "others", [[], [make_results], [make_depth]], ids=["alone", "audit", "depth"]
)
def test_its_part_of_the_page_is_whole(others):
    reader = Reader(page_text([*(make() for make in others), make_route()], make_heatmap()))
    places = [value for _, name, value in reader.attributes if name == "data-chart"]
    assert set(captions.CHARTS) <= set(places) and set(places) == set(reader.block("charts"))
    assert "{{" not in reader.text and not re.search(r"\b(NaN|None|nan)\b", reader.text)
    for verdict in make_route()["verdicts"]:
        assert verdict["statement"] in reader.text
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert "satlens route --from route/settings.yaml" in reader.text
    assert "nats a token, 0.53 of layer operations saved" in reader.text


def test_charts_hold_the_numbers():
    charts = Reader(page_text(make_route(), [])).block("charts")
    points = {one["name"]: one["y"] for one in charts["route_loss"]["data"]}
    assert points["skipped (hard)"] == [4.2, 4.2]
    assert charts["route_blocks"]["data"][1]["y"][0] is None
    assert [one["y"][0] for one in charts["route_correlation"]["data"]][
        -1
    ] == "above the path exchanged"


def test_numbers_that_are_not_known_are_said_to_be_so():
    bare = make_route()
    bare["runs"], bare["saturation"] = blank(bare["runs"]), blank(bare["saturation"])
    for one, real in zip(bare["runs"], make_route()["runs"], strict=True):
        one |= {key: real[key] for key in ("penalty", "seed", "tokens", "documents", "parameters")}
    bare["saturation"]["tokens"] = 7
    reader = Reader(page_text(bare, []))
    for name in captions.CHARTS:
        assert captions.MISSING[name] in reader.text, name
    assert not re.search(r"\b(NaN|None|nan|undefined)\b", reader.text)
    assert "NaN" not in json.dumps(reader.block("charts"))


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_is_only_text(text):
    def around(text):
        made = make_route()
        made["model"]["name"] = made["corpus"]["name"] = f"m{text}"
        made["settings"] |= {f"key{text}": text}
        made["notes"] = [f"note {text}"]
        made["verdicts"][0] |= {"statement": text, "why": text, "id": text, "null": text}
        return page_text(made, [])

    page = around(text)
    page.encode("utf-8")
    assert Reader(page).tags == Reader(around("harmless")).tags
