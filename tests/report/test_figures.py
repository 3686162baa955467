"""The paper figures: every one is drawn, says what censoring is, and nothing is computed."""

import sys

import pytest

from satlens.errors import InputError, MissingExtraError
from satlens.report.audit import figures
from satlens.report.palette import INK, rank_colors
from satlens.report.validate import plain
from tests.report.example import make_results

pytest.importorskip("matplotlib", reason="the figures extra is not installed")


@pytest.fixture(scope="module")
def results():
    return plain(make_results())


def words(figure):
    from matplotlib.text import Text

    return " ".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_names_its_sample(results, name):
    text = words(figures.FIGURES[name](results))
    assert "960 tokens, 12 documents" in text


def test_censoring_is_shown(results):
    assert "output" in words(figures.survival(results))
    assert "censored" in words(figures.trained_against_untrained(results))
    bars = figures.histogram(results).axes[0].patches
    assert bars[-1].get_hatch() and not bars[0].get_hatch()


def test_the_curve_drawn_is_the_curve_given(results):
    lines = figures.survival(results).axes[0].get_lines()
    given = results["saturation"]["trained"]["survival"]["curves"]
    assert [line.get_ydata().tolist() for line in lines] == [curve["fixed"] for curve in given]
    assert "layer (state after block l)" in words(figures.survival(results))


def test_save_writes_all_formats_the_same_twice(results, tmp_path):
    first = figures.save_figures(results, tmp_path / "a", formats=("svg", "pdf", "png"))
    assert len(first) == 3 * len(figures.FIGURES)
    second = figures.save_figures(results, tmp_path / "b", formats=("svg",))
    by_name = {path.name: path.read_bytes() for path in first}
    assert all(path.read_bytes() == by_name[path.name] for path in second)


def test_what_is_missing_is_left_out_or_said(tmp_path):
    results = plain(make_results(nulls=False, untrained=False, k=1, n_layers=1, docs=1))
    saved = figures.save_figures(results, tmp_path, formats=("png",))
    names = {path.stem for path in saved}
    assert "survival" in names and not names & {"against_nulls", "survival_untrained"}
    with pytest.raises(InputError, match="hold no null"):
        figures.against_nulls(results)
    with pytest.raises(InputError, match="saturation.untrained.survival"):
        figures.survival(results, "untrained")


def test_without_matplotlib_the_command_is_named(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'satlens\[figures\]'"):
        figures.survival(results)


def contrast(a, b):
    def light(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", INK)
def test_words_can_be_read_and_lines_be_seen(theme):
    ink = INK[theme]
    for name in ("ink", "muted", "good", "part", "bad", "unsure"):
        assert contrast(ink[name], ink["card"]) >= 4.5, name
    for color in (ink["model"], ink["fresh"], *rank_colors(5, theme)):
        assert contrast(color, ink["paper"]) >= 2.2, color


def test_many_ranks_still_make_figures(tmp_path):
    results = make_results(k=60)
    assert len(figures.survival(results).axes[0].get_legend().get_texts()) <= 10
    drawn = figures.histogram(results)
    assert len(drawn.axes) == 10
    assert any("the first 10 of 60 ranks" in axes.get_title(loc="left") for axes in drawn.axes)
    assert len(figures.save_figures(results, tmp_path, formats=["png"])) == len(figures.FIGURES)
