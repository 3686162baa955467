"""The claims on linear shortcuts on real weights, as docs/findings.md reports them: a changed verdict fails.

Smaller runs than the page's: what is asserted are verdicts, signs, and values with room for the choice of
documents.
"""

import pytest

from satlens.lenses import report
from satlens.models import load_model, wrap
from satlens.survey import read_corpus


def reported(name, corpus, tokens, **settings):
    model = wrap(load_model(name))
    batches = model.batches(list(read_corpus(corpus).documents), 8).first(tokens)
    return report(model, batches, tuned_steps=0, draws=500, **settings)


def verdicts(found):
    return {one["id"]: one["verdict"] for one in found.verdicts}


def holds_throughout(found):
    """Nearer than the identity in every run of layers, in whatever it is measured."""
    said = verdicts(found)
    runs = [said[f"shortcut_{run}"] for run in found.runs]
    assert runs == ["holds"] * len(runs) and said["shortcut_as_published"] == "holds"
    every = found.test.layers
    for measure, sign in (("precision@10", 1), ("r2", 1), ("kl", -1), ("surprisal", -1)):
        gain = found.test.difference("shortcut", "identity", measure, every)[0]
        assert sign * gain.value > 0 and gain.low * gain.high > 0, measure
    # A map to another token's last state is no better than the mean one.
    null = found.test.difference("shuffled", "mean", "precision@1", every)[0]
    assert null.value < 0.01
    # Late, a low rank forgets what the state already says.
    assert (
        found.test.difference("low_rank", "identity", "precision@1", found.runs["late"])[0].high
        < -0.2
    )


@pytest.mark.claims
def test_a_linear_shortcut_is_nearer_than_the_identity_in_tiny():
    found = reported("tiny", "bundled", 4_000, submodule_tokens=300, submodule_layers=3)
    holds_throughout(found)
    gain = found.test.difference("shortcut", "identity", "precision@1", found.test.layers)[0]
    assert gain.value == pytest.approx(0.06, abs=0.03)
    # The published claim on sub-modules does not hold here: a norm tolerates it better.
    assert verdicts(found)["attention_tolerates_best"] == "does not hold"
    assert found.submodules.sums.lost[found.submodules.methods.index("norm2"), 0] > 0
