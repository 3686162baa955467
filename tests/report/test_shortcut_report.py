"""A shortcut in words and pictures: tables, paper figures and its part of the page, on small examples."""

import json
import re

import pytest

from satlens.errors import InputError
from satlens.report.page import page_text
from satlens.report.shortcut import captions, figures, tables
from satlens.report.validate import check_results, plain
from tests.report.example import HOSTILE, make_heatmap, make_results
from tests.report.example_parts import make_patch, make_probe, missing
from tests.report.example_shortcut import make_shortcut
from tests.report.test_figures import words
from tests.report.test_page import Reader, blank


@pytest.fixture(scope="module")
def results():
    return plain(make_shortcut(without=("tuned",)))


def rows(table):
    return {row[0]: row for row in table.rows}


def test_the_example_has_the_documented_form(results):
    check_results(results)
    check_results(plain(make_shortcut(n_layers=2) | {"submodules": None}))


def test_every_lens_stands_beside_its_controls(results):
    table = tables.lenses_table(results)
    found = rows(table)
    assert list(found) == [
        "linear shortcut", "identity (logit lens)", "low rank + identity", "low rank",
        "one low-rank map", "identity, shifted", "mean state", "pairs shuffled",
    ]  # fmt: skip
    assert found["linear shortcut"] == (
        "linear shortcut", "246k", "0.550 [0.530, 0.570]", "0.83", "0.94", "2.75", "1.10", "0.50",
    )  # fmt: skip
    assert found["identity (logit lens)"][1] == "0" and found["mean state"][1] == "1,920"
    assert "Fitted on 8 documents (640 tokens), measured on 4 others (320 tokens)" in table.note


def test_runs_gains_and_layers(results):
    table = tables.runs_table(results)
    assert table.head == ("", "early", "middle", "late", "as fitted")
    assert rows(table)["low rank"][1] == "0.320 [0.300, 0.340]"
    assert rows(table)["low rank"][4] == "0.330"
    assert "early: layers 0 to 4; middle: layers 5 to 9; late: layers 10 to 14" in table.note
    gains = rows(tables.gains_table(results))
    assert gains["linear shortcut"][1] == "+0.070 [+0.050, +0.090]" and len(gains) == 5
    layer = rows(tables.layers_table(results))["2"]
    assert layer == (
        "2", "0.50", "0.57", "2.50", "2.85", "1.00", "1.14", "0.45", "0.51", "+0.090 [+0.070, +0.110]",
    )  # fmt: skip


def test_submodules_and_saturation(results):
    found = rows(tables.submodules_table(results))
    assert list(found) == ["attention", "MLP", "norm before attention", "norm before the MLP"]
    assert found["attention"] == (
        "attention", "0.620 [0.600, 0.640]", "0.520 [0.500, 0.540]", "+0.100 [+0.080, +0.120]", "1.24",
    )  # fmt: skip
    assert "101 tokens of 2 held-out documents" in tables.submodules_table(results).note
    lost = plain(make_shortcut())
    lost["submodules"]["kinds"]["norm2"]["map"]["kl"]["by_run"]["all"] = missing()
    assert rows(tables.submodules_table(lost))["norm before the MLP"][4] == "-"
    table = tables.saturation_table(results)
    assert table.head == (
        "rank", "linear shortcut", "cens.", "identity (logit lens)", "cens.", "tuned lens", "cens.",
    )  # fmt: skip
    assert rows(table)["2"][1:3] == ("9.00 [8.98, 9.02]", "0.10")


CHANGES = [{}, {"n_layers": 3}, {"n_layers": 2, "k": 2, "docs": 3}, {"n_layers": 48}]


@pytest.mark.parametrize("change", CHANGES)
def test_the_terminal_is_100_columns_and_never_nan(change):
    made = plain(make_shortcut(**change))
    made["lenses"]["shortcut"]["test"] = plain(blank(made["lenses"]["shortcut"]["test"]))
    text = tables.summary(made)
    assert max(map(len, text.splitlines())) <= 100
    for said in (text, tables.tables_markdown(made)):
        assert not re.search(r"\b(nan|none|inf)\b", said, re.IGNORECASE)


def test_without_submodules_their_table_is_left_out():
    made = plain(make_shortcut() | {"submodules": None})
    assert "sub-module replaced" not in tables.summary(made)


class TestFigures:
    @pytest.fixture(autouse=True)
    def matplotlib(self):
        pytest.importorskip("matplotlib", reason="the figures extra is not installed")

    @pytest.mark.parametrize("name", figures.FIGURES)
    def test_every_figure_names_its_sample(self, name):
        text = words(figures.FIGURES[name](plain(make_shortcut())))
        assert "960 tokens, 12 documents" in text
        if name not in ("submodule_tolerance", "saturation_by_lens"):
            assert "320 held-out tokens" in text

    def test_what_is_drawn_is_what_was_given(self, results):
        def drawn(figure, label):
            axes = figure.axes[0]
            labels = [text.get_text() for text in axes.get_legend().get_texts()]
            return axes.containers[labels.index(label)].lines[0].get_ydata().tolist()

        def values(curve):
            return [one["value"] for one in curve["by_layer"]]

        for name, measure in (("precision_by_layer", "precision@1"), ("r2_by_layer", "r2")):
            figure = figures.FIGURES[name](results)
            for label, lens in (("linear shortcut", "shortcut"), ("pairs shuffled", "shuffled")):
                given = values(results["lenses"][lens]["test"][measure])
                assert drawn(figure, label) == given
        assert "pairs shuffled" not in words(figures.kl_by_layer(results))
        assert "tuned lens" not in words(figures.precision_by_layer(results))
        figure = figures.submodule_tolerance(results)
        part = results["submodules"]["kinds"]["mlp"]
        assert drawn(figure, "MLP") == values(part["map"]["precision@1"])
        assert drawn(figure, "MLP, mean output") == values(part["mean"]["precision@1"])

    def test_far_below_zero_is_cut_and_said(self):
        made = plain(make_shortcut())
        for one in made["lenses"]["identity"]["test"]["r2"]["by_layer"]:
            one |= {"value": -40.0, "ci": [-41.0, -39.0]}
        figure = figures.r2_by_layer(made)
        assert figure.axes[0].get_ylim()[0] == -0.5 and "below -0.5 not shown" in words(figure)
        chart = captions.CHARTS["shortcut_r2"](made)
        assert chart["layout"]["yaxis"]["range"] == [-0.5, 1.03]

    def test_what_is_missing_is_left_out(self, tmp_path):
        bare = plain(make_shortcut() | {"submodules": None, "gains": {}})
        bare["saturation"]["lenses"] = {}
        saved = figures.save_figures(bare, tmp_path, formats=("png",))
        assert {path.stem for path in saved} == {
            "precision_by_layer", "kl_by_layer", "surprisal_by_layer", "r2_by_layer",
        }  # fmt: skip
        with pytest.raises(InputError, match="hold no sub-modules"):
            figures.submodule_tolerance(bare)
        with pytest.raises(InputError, match="none of the numbers that this figure draws"):
            figures.gain_over_identity(bare)

    def test_one_of_everything_is_drawn(self, tmp_path):
        few = plain(make_shortcut(n_layers=2, k=2, docs=3))
        few["lenses"]["shortcut"]["test"]["kl"]["by_layer"][0]["ci"] = None
        assert len(figures.save_figures(few, tmp_path, formats=("png",))) == 7


@pytest.mark.parametrize(
    "others", [[], [make_results], [make_probe, make_patch]], ids=["alone", "audit", "parts"]
)
def test_its_part_of_the_page_is_whole(others):
    reader = Reader(page_text([*(make() for make in others), make_shortcut()], make_heatmap()))
    places = [value for _, name, value in reader.attributes if name == "data-chart"]
    assert set(captions.CHARTS) <= set(places) and set(places) == set(reader.block("charts"))
    assert "{{" not in reader.text and not re.search(r"\b(NaN|None|nan)\b", reader.text)
    for verdict in make_shortcut()["verdicts"]:
        assert verdict["statement"] in reader.text
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert "satlens shortcut --from shortcut/settings.yaml" in reader.text
    assert "beyond the shift, layers 0 to 4" in reader.text  # the tiles
    assert "320 tokens, 4 documents." in reader.text and "101 tokens, 2 documents." in reader.text


def test_charts_hold_the_numbers():
    charts = Reader(page_text(make_shortcut(), [])).block("charts")
    line = charts["shortcut_precision"]["data"][-1]
    assert line["name"] == "linear shortcut" and line["y"][:2] == [0.55, 0.56]
    assert line["customdata"][1] == "1: 0.560<br>interval 0.540 to 0.580"
    assert [one["name"] for one in charts["shortcut_precision"]["data"]][:2] == [
        "pairs shuffled", "mean state",
    ]  # fmt: skip
    assert len(charts["shortcut_submodules"]["data"]) == 8
    assert charts["shortcut_saturation"]["data"][-1]["x"] == [1, 2, 3, 4, 5]


def test_numbers_that_are_not_known_are_said_to_be_so():
    bare = make_shortcut()
    for key in ("lenses", "gains", "submodules", "saturation"):
        bare[key] = blank(bare[key])
    bare["submodules"]["layers"] = make_shortcut()["submodules"]["layers"]
    reader = Reader(page_text(bare, []))
    assert "not available" in reader.text
    assert not re.search(r"\b(NaN|None|nan|undefined)\b", reader.text)
    assert "NaN" not in json.dumps(reader.block("charts"))


def test_what_is_missing_is_said_in_its_place():
    bare = make_shortcut() | {"submodules": None, "gains": {}}
    bare["lenses"] = blank(bare["lenses"])
    bare["saturation"]["lenses"] = {}
    reader = Reader(page_text(bare, []))
    for name in captions.CHARTS:
        assert captions.MISSING[name] in reader.text, name


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_is_only_text(text):
    def around(text):
        made = make_shortcut()
        made["model"]["name"] = made["corpus"]["name"] = f"m{text}"
        made["settings"] |= {f"key{text}": text}
        made["notes"] = [f"note {text}"]
        made["verdicts"][0] |= {"statement": text, "why": text, "id": text, "null": text}
        return page_text(made, [])

    page = around(text)
    page.encode("utf-8")
    assert Reader(page).tags == Reader(around("harmless")).tags
