"""The paper figures of a probe and of a patch: what is drawn is what was given, controls included."""

import numpy as np
import pytest

from satlens.errors import InputError
from satlens.report.patch import figures as patch_figures
from satlens.report.probe import figures as probe_figures
from satlens.report.validate import plain
from tests.report.example_parts import ALPHAS, make_patch, make_probe
from tests.report.test_figures import words

pytest.importorskip("matplotlib", reason="the figures extra is not installed")

FIGURES = {
    "probe": (probe_figures, plain(make_probe())), "patch": (patch_figures, plain(make_patch())),
}  # fmt: skip
NAMED = [(verb, name) for verb, (module, _) in FIGURES.items() for name in module.FIGURES]


@pytest.mark.parametrize(("verb", "name"), NAMED)
def test_every_figure_names_its_sample(verb, name):
    module, results = FIGURES[verb]
    assert "960 tokens, 12 documents" in words(module.FIGURES[name](results))


def line_of(figure, label):
    """The points of a line of an error-bar plot, found by its place in the legend."""
    axes = figure.axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    return axes.containers[labels.index(label)].lines[0]


@pytest.mark.parametrize(
    ("name", "key"), [("published_success", "published"), ("top1_kept", "kept")]
)
def test_the_offset_plot_holds_every_control_as_given(name, key):
    _, results = FIGURES["patch"]
    figure = patch_figures.FIGURES[name](results)
    for label, condition in (
        ("paired donor", "paired"),
        ("donor not yet saturated", "unsaturated"),
    ):
        given = [one["value"] for one in results["patching"]["conditions"][condition][key]]
        drawn = line_of(figure, label)
        assert drawn.get_ydata().tolist() == given
        assert np.abs(drawn.get_xdata() - np.arange(-3, 4)).max() < 0.25
    assert len(figure.axes[0].containers) == 7
    assert name != "published_success" or "near-circular" in words(figure)


def test_the_dose_response_holds_every_direction():
    _, results = FIGURES["patch"]
    drawn = line_of(patch_figures.dose_response(results), "path exchanged")
    given = results["steering"]["conditions"]["exchanged"]["forced"]
    assert drawn.get_ydata().tolist() == [one["value"] for one in given]
    assert np.abs(drawn.get_xdata() - ALPHAS).max() < 0.2


def test_accuracy_stands_above_every_control_and_chance():
    results = plain(make_probe(without=("exchanged",)))
    text = words(probe_figures.accuracy_and_controls(results))
    assert "chance 0.25" in text and "path rotated" in text and "path exchanged" not in text


def test_confusion_says_its_shares():
    _, results = FIGURES["probe"]
    text = words(probe_figures.confusion(results))
    for row in results["probe"]["confusion"]:
        assert all(f"{share:.2f}" in text for share in row)


def test_what_is_missing_is_left_out_or_said(tmp_path):
    probe = plain(make_probe(without=make_probe()["controls"]))
    probe["per_layer"] |= {"layers": [], "confusion": [], "accuracy": {"value": None, "ci": None}}
    saved = probe_figures.save_figures(probe, tmp_path, formats=("png",))
    assert {path.stem for path in saved} == {"accuracy_by_layer", "confusion", "class_counts"}
    with pytest.raises(InputError, match="hold no control"):
        probe_figures.accuracy_and_controls(probe)
    with pytest.raises(InputError, match="follow one rank"):
        patch_figures.rank_two_advance(plain(make_patch(k=1)))


def test_one_of_everything_is_drawn(tmp_path):
    patch = plain(make_patch(offsets=[0], alphas=[1.0], docs=1))
    for condition in patch["patching"]["conditions"].values():
        condition["published"] = [{"value": 0.5, "ci": None}]
    assert len(patch_figures.save_figures(patch, tmp_path, formats=("png",))) == 7
    probe = plain(make_probe(n_layers=3, stages=2))
    assert len(probe_figures.save_figures(probe, tmp_path, formats=("png",))) == 4
