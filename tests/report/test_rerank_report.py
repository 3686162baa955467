"""A rerank in words and pictures: tables, paper figures and its part of the page, on small examples."""

import json
import re

import pytest

from satlens.errors import InputError
from satlens.report.page import page_text
from satlens.report.rerank import captions, figures, tables
from satlens.report.validate import check_results, plain
from tests.report.example import HOSTILE, make_heatmap, make_results
from tests.report.example_parts import make_patch, make_probe, missing
from tests.report.example_rerank import make_rerank
from tests.report.test_figures import words
from tests.report.test_page import Reader, blank


@pytest.fixture(scope="module")
def results():
    return plain(make_rerank(without=("exchanged",)))


def rows(table):
    return {row[0]: row for row in table.rows}


def test_the_example_has_the_documented_form(results):
    check_results(results)


def test_every_rank_stands_with_what_the_model_expects_of_it(results):
    table = tables.ranks_table(results)
    assert rows(table)["2"] == (
        "2", "0.200 [0.180, 0.220]", "0.250", "0.50", "+0.020 [+0.008, +0.032]", "0.004", "0.001",
    )  # fmt: skip
    assert "576 of 948 positions of 12 documents have a wrong top-1" in table.note
    assert rows(tables.published_table(results))["3"] == (
        "3", "64", "0.312", "200", "0.150", "+2.90", "0.004",
    )  # fmt: skip
    assert "Early: fixed 7 layers or more before the end" in tables.published_table(results).note


def test_the_sweep_holds_every_gap_or_some_of_a_deep_model(results):
    found = rows(tables.sweep_table(results))
    assert list(found) == [str(g) for g in range(1, 16)]
    assert found["7"][2:] == ("+0.120 [+0.100, +0.140]", "1.50", "+0.014 [-0.006, +0.034]", "1.10")
    deep = tables.sweep_table(plain(make_rerank(n_layers=48)))
    assert len(deep.rows) == 16 and [row[0] for row in deep.rows][:3] == ["1", "4", "7"]


def test_nulls_stand_beside_the_real_layers(results):
    found = rows(tables.nulls_table(results))
    assert list(found) == ["layers shuffled", "path rotated", "path exchanged", "untrained model"]
    assert found["path rotated"] == (
        "path rotated", "3", "400", "+0.004", "+0.020", "+0.016 [-0.004, +0.036]",
    )  # fmt: skip
    assert found["path exchanged"][1:] == (
        "0",
        "0",
        "not available",
        "not available",
        "not available",
    )


def test_variants_differences_and_weights(results):
    found = rows(tables.variants_table(results))
    assert found["temperature"][3] == "1.250" and found["the model"][4] == "0"
    steps = [row[:2] for row in tables.differences_table(results).rows]
    assert steps[0] == ("temperature", "the model")
    assert tables.differences_table(results).rows[4][2] == "+0.0200 [+0.0160, +0.0240]"
    assert rows(tables.weights_table(results))["2"][1:] == (
        "+0.10", "-0.20", "+0.05", "+0.30", "-0.40",
    )  # fmt: skip


@pytest.mark.parametrize("change", [{}, {"n_layers": 3}, {"k": 2, "docs": 1}, {"n_layers": 48}])
def test_the_terminal_is_100_columns_and_never_nan(change):
    made = plain(make_rerank(**change))
    made["early"][0]["adjusted"] = plain(blank(made["early"][0]["adjusted"]))
    text = tables.summary(made)
    assert max(map(len, text.splitlines())) <= 100
    for said in (text, tables.tables_markdown(made)):
        assert not re.search(r"\b(nan|none|inf)\b", said, re.IGNORECASE)


def test_a_null_is_named_as_its_verdict_names_it(results):
    text = tables.summary(results, width=200)
    assert "against layers shuffled, p 0.004" in text and "against ranks alone" in text
    assert "p < 0.001" in text


class TestFigures:
    @pytest.fixture(autouse=True)
    def matplotlib(self):
        pytest.importorskip("matplotlib", reason="the figures extra is not installed")

    @pytest.mark.parametrize("name", figures.FIGURES)
    def test_every_figure_names_its_sample(self, name):
        assert "960 tokens, 12 documents" in words(figures.FIGURES[name](plain(make_rerank())))

    def test_what_is_drawn_is_what_was_given(self, results):
        def drawn(figure, label):
            axes = figure.axes[0]
            labels = [text.get_text() for text in axes.get_legend().get_texts()]
            return axes.containers[labels.index(label)].lines[0].get_ydata().tolist()

        by_lead = [one for one in results["early"][0]["by_lead"] if one["positions"]]
        assert drawn(figures.right_by_lead(results), "is the next token") == [
            one["right"]["value"] for one in by_lead
        ]
        assert drawn(figures.early_against_last(results), "matched on the final output") == [
            one["matched"]["value"] for one in results["early"][0]["sweep"]
        ]
        text = words(figures.gain_and_nulls(results))
        assert "rank 2, path rotated" in text and "path exchanged" not in text
        text = words(figures.loss_saved(results))
        assert "saturation layers over ranks alone" in text and "the model" not in text

    def test_what_is_missing_is_left_out(self, tmp_path):
        bare = plain(make_rerank())
        bare["early"] = bare["early"][1:]
        for one in bare["early"]:
            one["adjusted"]["gain"] = missing()
        saved = figures.save_figures(bare, tmp_path, formats=("png",))
        assert {path.stem for path in saved} == {"loss_saved", "accuracy_gained"}
        with pytest.raises(InputError, match="do not follow rank 2"):
            figures.right_by_lead(bare)
        with pytest.raises(InputError, match="hold no gain of any rank"):
            figures.gain_and_nulls(bare)

    def test_one_of_everything_is_drawn(self, tmp_path):
        few = plain(make_rerank(n_layers=2, k=2, docs=1, without=("shuffled",)))
        few["early"][0]["sweep"][0]["difference"]["ci"] = None
        assert len(figures.save_figures(few, tmp_path, formats=("png",))) == 5


@pytest.mark.parametrize(
    "others", [[], [make_results], [make_probe, make_patch]], ids=["alone", "audit", "parts"]
)
def test_its_part_of_the_page_is_whole(others):
    reader = Reader(page_text([*(make() for make in others), make_rerank()], make_heatmap()))
    places = [value for _, name, value in reader.attributes if name == "data-chart"]
    assert set(captions.CHARTS) <= set(places) and set(places) == set(reader.block("charts"))
    assert "{{" not in reader.text and not re.search(r"\b(NaN|None|nan)\b", reader.text)
    for verdict in make_rerank()["verdicts"]:
        assert verdict["statement"] in reader.text
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert "satlens rerank --from rerank/settings.yaml" in reader.text
    assert "+0.021" in reader.text and "+0.0200" in reader.text  # the tiles
    assert "576 positions where top-1 is wrong, 12 documents" in reader.text


def test_charts_hold_the_numbers():
    charts = Reader(page_text(make_rerank(), [])).block("charts")
    line = charts["rerank_sweep"]["data"][1]
    assert line["name"] == "matched on the final output" and line["y"][6] == 0.014
    assert line["customdata"][6].startswith("7: 0.014<br>interval -0.006 to 0.034<br>64 early")
    assert [one["y"][0] for one in charts["rerank_loss"]["data"]][-1] == (
        "saturation layers over layers shuffled"
    )


def test_numbers_that_are_not_known_are_said_to_be_so():
    bare = make_rerank()
    for key in ("positions", "early", "nulls", "reranker"):
        bare[key] = blank(bare[key])
    reader = Reader(page_text(bare, []))
    assert "not available" in reader.text
    assert not re.search(r"\b(NaN|None|nan|undefined)\b", reader.text)
    assert "NaN" not in json.dumps(reader.block("charts"))


def test_what_is_missing_is_said_in_its_place():
    bare = make_rerank(without=make_rerank()["nulls"])
    bare["early"] = []
    bare["reranker"]["differences"] = []
    reader = Reader(page_text(bare, []))
    for name in captions.CHARTS:
        assert captions.MISSING[name] in reader.text, name


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_is_only_text(text):
    def around(text):
        made = make_rerank()
        made["model"]["name"] = made["corpus"]["name"] = f"m{text}"
        made["settings"] |= {f"key{text}": text}
        made["notes"] = [f"note {text}"]
        made["verdicts"][0] |= {"statement": text, "why": text, "id": text, "null": text}
        return page_text(made, [])

    page = around(text)
    page.encode("utf-8")
    assert Reader(page).tags == Reader(around("harmless")).tags
