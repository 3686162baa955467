"""A dynamics run in words and pictures: tables, paper figures and its part of the page, on small examples."""

import json
import re

import pytest

from satlens.errors import InputError
from satlens.report.dynamics import captions, figures, tables
from satlens.report.dynamics.steps import PAGE, PAPER, positions, ticks
from satlens.report.page import page_text
from satlens.report.validate import check_results, plain
from tests.report.example import HOSTILE, make_heatmap, make_results
from tests.report.example_dynamics import STEPS, make_dynamics
from tests.report.example_parts import make_probe
from tests.report.test_figures import words
from tests.report.test_page import Reader, blank

SHAPES = [
    {},
    {"n_layers": 2, "k": 2, "docs": 1, "steps": (0, 1)},
    {"nulls": (), "appears": None},
    {"nulls": ("rotated",)},
    {"steps": (500, 1_000), "twin": False, "appears": None},
    {"steps": tuple(range(0, 144_000, 1_000))},
]


@pytest.fixture(scope="module")
def results():
    return plain(make_dynamics())


@pytest.mark.parametrize("change", SHAPES)
def test_the_example_has_the_documented_form(change):
    check_results(plain(make_dynamics(**change)))


def test_steps_stand_by_their_logarithm_behind_step_0():
    places = positions([0, 100, 1_000])
    assert places[1:] == [2.0, 3.0] and places[0] == 1.5
    assert positions([0, 1]) == [-0.5, 0.0]
    for steps in (
        [0, 7],
        [500, 1_000],
        list(range(0, 144_000, 1_000)),
        [0, *(2**i for i in range(30))],
    ):
        at, said = ticks(steps, PAPER)
        assert at == sorted(at) and len(at) == len(said) <= PAPER / 0.75 + 1
        assert set(ticks(steps, PAGE)[1]) <= {f"{step:,}" for step in steps}
        assert said[0] == f"{steps[0]:,}" and said[-1] == f"{steps[-1]:,}"
        assert all(places == positions(steps)[steps.index(int(word.replace(",", "")))]
                   for places, word in zip(at, said, strict=True))  # fmt: skip


def test_every_step_is_a_row(results):
    rows = tables.course_table(results).rows
    assert [row[0] for row in rows] == ["0 *", *(f"{step:,}" for step in STEPS[1:])]
    assert rows[0][1] == "6.90 [6.88, 6.92]" and len(rows[0]) == 4
    assert "made here with seed" in tables.course_table(results).note
    rows = tables.excess_table(results).rows
    assert rows[0][1:] == ("-0.030 [-0.050, -0.010]", "not available", "does not hold")
    assert rows[-1][1].startswith("+0.050 [") and rows[-1][-1] == "holds"
    assert "From step 518 on" in tables.excess_table(results).note
    assert tables.checkpoints_table(results).rows[1] == ("10", "checkpoint-10", "01" * 6)
    own = plain(make_dynamics(twin=False, appears=None))
    assert "*" not in tables.course_table(own).note and tables.course_table(own).rows[0][0] == "0"
    assert "no step from which on" in tables.excess_table(own).note


@pytest.mark.parametrize("change", SHAPES)
def test_the_terminal_is_100_columns_and_never_nan(change):
    made = plain(make_dynamics(**change))
    made["checkpoints"][0] |= {"loss": {"value": None, "ci": None}, "name": "x" * 90}
    made["checkpoints"][0]["verdict"] = "cannot be told here"
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
        assert "960 tokens, 12 documents" in words(figures.FIGURES[name](plain(make_dynamics())))

    def test_what_is_drawn_is_what_was_given(self, results):
        above, below = figures.loss_and_layers(results).axes
        every = results["checkpoints"]
        assert list(above.containers[0].lines[0].get_ydata()) == [
            one["loss"]["value"] for one in every
        ]
        assert [one.get_label() for one in below.containers] == [f"rank {r}" for r in range(1, 6)]
        assert list(below.containers[2].lines[0].get_ydata()) == [
            one["ranks"][2]["layer"]["value"] for one in every
        ]
        axes = figures.excess_over_steps(results).axes[0]
        drawn = {one.get_label(): list(one.lines[0].get_ydata()) for one in axes.containers}
        assert list(drawn) == ["over path rotated", "over path exchanged"]
        assert drawn["over path rotated"] == [one["excess"]["rotated"]["value"] for one in every]
        assert [tick.get_text() for tick in axes.get_xticklabels()][:2] == ["0", "10"]

    def test_what_is_missing_is_left_out(self, tmp_path):
        bare = plain(make_dynamics(nulls=(), appears=None))
        saved = figures.save_figures(bare, tmp_path, formats=("png",))
        assert {path.stem for path in saved} == {"loss_and_layers"}
        with pytest.raises(InputError, match="hold no null"):
            figures.excess_over_steps(bare)


@pytest.mark.parametrize(
    "others", [[], [make_results], [make_probe]], ids=["alone", "audit", "probe"]
)
def test_its_part_of_the_page_is_whole(others):
    reader = Reader(page_text([*(make() for make in others), make_dynamics()], make_heatmap()))
    places = [value for _, name, value in reader.attributes if name == "data-chart"]
    assert set(captions.CHARTS) <= set(places) and set(places) == set(reader.block("charts"))
    assert "{{" not in reader.text and not re.search(r"\b(NaN|None|nan)\b", reader.text)
    assert make_dynamics()["verdicts"][0]["statement"] in reader.text
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert "satlens dynamics --from dynamics/settings.yaml" in reader.text
    assert "step 518" in reader.text and "9 checkpoints" in reader.text
    assert "null: untrained model" in reader.text
    assert "no step" in Reader(page_text(make_dynamics(appears=None), [])).text


def test_charts_hold_the_numbers():
    charts = Reader(page_text(make_dynamics(), [])).block("charts")
    every = make_dynamics()["checkpoints"]
    assert charts["dynamics_loss"]["data"][0]["y"] == pytest.approx(
        [one["loss"]["value"] for one in every]
    )
    assert [line["name"] for line in charts["dynamics_layers"]["data"]] == [
        f"rank {r}" for r in range(1, 6)
    ]
    excess = {line["name"]: line["y"] for line in charts["dynamics_excess"]["data"]}
    assert excess["over path exchanged"][0] is None
    assert excess["over path rotated"][-1] == pytest.approx(0.05)
    assert charts["dynamics_excess"]["layout"]["xaxis"]["ticktext"][0] == "0"


def test_numbers_that_are_not_known_are_said_to_be_so():
    bare = make_dynamics(appears=None)
    bare["checkpoints"] = [blank(one) | {"step": one["step"]} for one in bare["checkpoints"]]
    reader = Reader(page_text(bare, []))
    for name in captions.CHARTS:
        assert captions.MISSING[name] in reader.text, name
    assert not re.search(r"\b(NaN|None|nan|undefined)\b", reader.text)
    assert "NaN" not in json.dumps(reader.block("charts"))


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_is_only_text(text):
    def around(text):
        made = make_dynamics()
        made["model"]["name"] = made["corpus"]["name"] = f"m{text}"
        made["checkpoints"][1] |= {"name": text, "why": text}
        made["notes"] = [f"note {text}"]
        made["verdicts"][0] |= {"statement": text, "why": text, "id": text, "null": text}
        return page_text(made, [])

    page = around(text)
    page.encode("utf-8")
    assert Reader(page).tags == Reader(around("harmless")).tags
