"""The claims on early exit on real weights, as docs/findings.md reports them: a changed verdict fails.

The page's own settings, without the untrained model and with fewer draws.
"""

import pytest

from satlens import exits
from satlens.exits.study.judging import DECAYING
from satlens.lenses import split_documents
from satlens.models import load_model, wrap
from satlens.runs import ExitsSettings
from satlens.runs.exits import StageFitter
from satlens.survey import read_corpus


def exit_report(name, corpus, tokens):
    settings = ExitsSettings(str(name), str(corpus), max_tokens=tokens)
    model = wrap(load_model(name))
    batches = model.batches(list(read_corpus(corpus).documents), 8).first(tokens)
    held_out, training = split_documents(batches, settings.test_share, settings.seed)
    fit_stage = StageFitter(settings)
    return exits.report(
        model, training, held_out, fit_stage=fit_stage, untrained_seeds=0, draws=300
    )


def verdict(report, name):
    return next(v for v in report.verdicts if v["id"] == name)


@pytest.fixture(scope="module")
def tiny():
    return exit_report("tiny", "bundled", 20_000)


@pytest.mark.claims
def test_the_stage_probe_gains_a_little_at_equal_compute_in_tiny(tiny):
    found = verdict(tiny, "stage_exit")
    assert found["verdict"] == "holds"
    assert found["effect"]["value"] == pytest.approx(0.013, abs=0.012)
    gains = dict(zip((made := tiny.studies["logit"].agreement).names, made.gain.value, strict=True))
    assert all(abs(gain) < 0.004 for name, gain in gains.items() if name != "stage probe")


@pytest.mark.claims
def test_it_gives_the_next_token_right_less_often_at_equal_layers_in_tiny(tiny):
    found = verdict(tiny, "stage_exit_as_published")
    assert found["verdict"] == "does not hold" and found["effect"]["ci"][1] < 0


@pytest.mark.claims
def test_softmax_response_knows_most_and_costs_more_than_it_saves_in_tiny(tiny):
    table = tiny.studies["logit"].evaluation.table()
    best = table.groupby("policy").excess.max()
    assert best["softmax response"] == pytest.approx(0.145, abs=0.03)
    assert best["softmax response"] > 1.5 * best.drop(
        ["softmax response", DECAYING, exits.ORACLE]
    ).max()  # fmt: skip
    near = table[(table.policy == "softmax response") & (table.agreement > 0.9)]
    assert (near.compute_saved < -1).all()


@pytest.mark.claims
def test_linear_shortcuts_save_more_layers_in_tiny(tiny):
    for name in ("shortcut_saves_layers", "shortcut_saves_layers_as_published"):
        assert verdict(tiny, name)["verdict"] == "holds"
        assert verdict(tiny, name)["effect"]["value"] == pytest.approx(0.024, abs=0.02)
