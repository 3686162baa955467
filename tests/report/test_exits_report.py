"""Exits in words and pictures: tables, paper figures and their part of the page, on small examples."""

import json
import re

import pytest

from satlens.errors import InputError
from satlens.report.exits import captions, figures, plots, tables
from satlens.report.page import page_text
from satlens.report.validate import check_results, plain
from tests.report.example import HOSTILE, make_heatmap, make_results
from tests.report.example_exits import make_exits
from tests.report.example_parts import make_patch, make_probe
from tests.report.test_figures import words
from tests.report.test_page import Reader, blank


@pytest.fixture(scope="module")
def results():
    return plain(make_exits())


def rows(table):
    return {row[0]: row[1:] for row in table.rows}


def test_the_example_has_the_documented_form(results):
    check_results(results)
    check_results(plain(make_exits(without=("shortcut", "untrained", "stage probe"))))


class TestTables:
    def test_every_policy_with_its_gain_and_its_savings(self, results):
        found = rows(tables.frontier_table(results))
        assert list(found) == list(tables.POLICIES)
        assert found["softmax response"] == (
            "+0.010 [+0.006, +0.014]", "+0.010 [+0.006, +0.014]", "0.050 [0.030, 0.070]",
        )  # fmt: skip

    def test_the_compute_saved_at_three_agreements(self, results):
        table = tables.levels_table(results)
        assert table.head[1:4] == ("compute 99%", "compute 95%", "compute 90%")
        assert rows(table)["patience"] == ("0.010", "0.050", "0.100", "0.700 [0.680, 0.720]")

    def test_lenses_side_by_side(self, results):
        table = tables.lenses_table(results)
        assert table.head[1:] == ("logit lens", "linear shortcut", "untrained model")
        assert rows(table)["patience"][1] == "0.090 [0.070, 0.110]"
        alone = tables.lenses_table(plain(make_exits(without=("shortcut", "untrained"))))
        assert alone.head == ("", "logit lens")

    def test_one_threshold_and_the_oracle(self, results):
        given = results["studies"]["logit"]
        point = given["points"][given["near"]["stage probe"]]
        found = rows(tables.points_table(results))
        assert found["stage probe"][0] == f"{point['threshold']:.3f}"
        assert found["stage probe"][2] == "+0.05 [+0.03, +0.07]"
        assert found[tables.ORACLE][:2] == ("", "1.00 [0.98, 1.02]")
        saved = rows(tables.savings_table(results))
        assert saved["stage probe"][0] == f"{point['blocks']['value']:.2f}"
        assert saved["stage probe"][3] == "0.300"

    def test_calibration_in_a_row_a_policy(self, results):
        table = tables.calibration_table(results)
        assert table.head == ("", "at most 0.10", "at most 0.20")
        assert rows(table)["patience"] == ("never", "never")
        assert rows(table)["classifier"] == ("never", "0.900: 0.15, -0.30")
        assert "6 documents let it be said" in table.note

    def test_costs_in_blocks(self, results):
        found = rows(tables.cost_table(results))
        assert found["reading the logit lens"] == ("2,500", "2.500")
        assert found["keys and values of a skipped block"][1] == "0.166"

    @pytest.mark.parametrize(
        "change", [{}, {"n_layers": 2, "points": 2}, {"docs": 1}, {"n_layers": 48}]
    )
    def test_the_terminal_is_100_columns_and_never_nan(self, change):
        made = plain(make_exits(**change))
        made["studies"]["logit"]["oracle"] = plain(blank(made["studies"]["logit"]["oracle"]))
        text = tables.summary(made)
        assert max(map(len, text.splitlines())) <= 100
        for said in (text, tables.tables_markdown(made)):
            assert not re.search(r"\b(nan|none|inf)\b", said, re.IGNORECASE)

    def test_a_policy_of_another_name_is_shown(self):
        made = make_exits()
        study = made["studies"]["logit"]
        study["policies"].append("mine")
        study["near"]["mine"] = 0
        for frontier in study["frontiers"].values():
            frontier["policies"]["mine"] = frontier["policies"]["patience"]
        assert "mine" in rows(tables.frontier_table(made))


class TestFigures:
    @pytest.fixture(autouse=True)
    def matplotlib(self):
        pytest.importorskip("matplotlib", reason="the figures extra is not installed")

    @pytest.mark.parametrize("name", figures.FIGURES)
    def test_every_figure_names_its_sample(self, name, results):
        assert "960 tokens, 12 documents" in words(figures.FIGURES[name](results))

    def test_what_is_drawn_is_what_was_given(self, results):
        axes = figures.agreement_over_layers(results).axes[0]
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        line = axes.containers[[c.get_label() for c in axes.containers].index("patience")].lines[0]
        given = tables.points_of(results["studies"]["logit"], "patience")
        assert line.get_xdata().tolist() == [one["layers_saved"]["value"] for one in given]
        assert line.get_ydata().tolist() == [one["agreement"]["value"] for one in given]
        assert tables.COIN in labels and "oracle" in labels

    def test_what_is_missing_is_left_out(self, tmp_path):
        bare = plain(make_exits(without=("shortcut", "untrained")))
        for one in bare["studies"]["logit"]["points"]:
            one["accuracy"] = {"value": None, "ci": None}
        saved = {path.stem for path in figures.save_figures(bare, tmp_path, formats=("png",))}
        assert saved == set(figures.FIGURES) - {"shortcut_or_identity", "accuracy_over_layers"}
        with pytest.raises(InputError, match="hold no linear shortcut"):
            figures.shortcut_or_identity(bare)
        with pytest.raises(InputError, match="hold no accuracy"):
            figures.accuracy_over_layers(bare)

    def test_one_of_everything_is_drawn(self, tmp_path):
        few = plain(make_exits(n_layers=2, points=2, docs=1))
        assert len(figures.save_figures(few, tmp_path, formats=("png",))) == len(figures.FIGURES)


@pytest.mark.parametrize(
    "others", [[], [make_results], [make_probe, make_patch]], ids=["alone", "audit", "parts"]
)
def test_its_part_of_the_page_is_whole(others):
    reader = Reader(page_text([*(make() for make in others), make_exits()], make_heatmap()))
    places = [value for _, name, value in reader.attributes if name == "data-chart"]
    assert set(captions.CHARTS) <= set(places) and set(places) == set(reader.block("charts"))
    assert "{{" not in reader.text and not re.search(r"\b(NaN|None|nan)\b", reader.text)
    for verdict in make_exits()["verdicts"]:
        assert verdict["statement"] in reader.text
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert "satlens exits --from exits/settings.yaml" in reader.text
    assert "480 tokens, 12 held-out documents" in reader.text


def test_charts_hold_the_numbers():
    charts = Reader(page_text(make_exits(), [])).block("charts")
    line = next(one for one in charts["exits_compute"]["data"] if one["name"] == "stage probe")
    assert line["x"][0] == -0.4 and line["y"][0] == 1.0
    assert line["customdata"][1].startswith("threshold 0.775<br>agreement 0.843<br>interval")
    assert charts["exits_compute"]["layout"]["xaxis"]["range"] == [plots.LEFT, 1.0]
    coin = next(one for one in charts["exits_compute"]["data"] if one["name"] == "coin")
    assert coin["x"] == [0, 0.69] and coin["y"] == [1.0, 0.25]
    assert [one["name"] for one in charts["exits_lens"]["data"]] == [
        "linear shortcut", "logit lens", "mean put right",
    ]  # fmt: skip
    assert all(one["name"] != "fixed layer" for one in charts["exits_excess"]["data"])


def test_numbers_that_are_not_known_are_said_to_be_so():
    bare = make_exits()
    for key in ("studies", "shift", "calibration"):
        bare[key] = blank(bare[key])
    reader = Reader(page_text(bare, []))
    assert "not available" in reader.text
    assert not re.search(r"\b(NaN|None|nan|undefined)\b", reader.text)
    assert "NaN" not in json.dumps(reader.block("charts"))


def test_what_is_missing_is_said_in_its_place():
    bare = make_exits(without=(*tables.POLICIES, "shortcut", "untrained"))
    reader = Reader(page_text(bare, []))
    for name in captions.CHARTS:
        assert captions.MISSING[name] in reader.text, name


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_is_only_text(text):
    def around(text):
        made = make_exits()
        made["model"]["name"] = made["corpus"]["name"] = f"m{text}"
        made["settings"] |= {f"key{text}": text}
        made["notes"] = [f"note {text}"]
        made["verdicts"][0] |= {"statement": text, "why": text, "id": text, "null": text}
        for one in made["studies"]["logit"]["points"]:
            one["policy"] = one["policy"].replace("patience", f"p{text}")
        study = made["studies"]["logit"]
        study["policies"] = [name.replace("patience", f"p{text}") for name in study["policies"]]
        for frontier in (study["near"], *(f["policies"] for f in study["frontiers"].values())):
            frontier[f"p{text}"] = frontier.pop("patience")
        return page_text(made, [])

    page = around(text)
    page.encode("utf-8")
    assert Reader(page).tags == Reader(around("harmless")).tags
