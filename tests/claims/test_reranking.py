"""The claims on early ranks on real weights, as docs/findings.md reports them: a changed verdict fails.

Without the path nulls of the page's runs: what is asserted are verdicts, signs, and values with room for the
choice of documents (about three times the half-width of their intervals).
"""

import pytest

import satlens
from tests.claims.test_stages import model_and_batches, verdict

QUICK = dict(null_tokens=0, untrained_seeds=0, shuffles=99)


def loss_saved(report, of, against):
    found = {(one.of, one.against): one.loss for one in report.reranked.differences}
    return found[of, against]


@pytest.mark.claims
def test_in_tiny_an_early_rank_2_is_a_likelier_one_and_no_more():
    report = satlens.reranking.report(*model_and_batches("tiny", "bundled", 9_000), **QUICK)
    published = verdict(report, "early_rank_right_as_published")
    assert published["verdict"] == "holds as published only" and published["p"] < 1e-6
    assert published["effect"]["value"] == pytest.approx(0.10, abs=0.1)
    main = verdict(report, "early_rank_right")
    assert main["verdict"] in ("does not hold", "cannot be told here")
    assert abs(main["effect"]["value"]) < 0.015  # the published difference is 0.10
    matched = report.early[0].sweep.matched[6]
    assert abs(matched.value) < 0.06 and matched.low < 0 < matched.high
    for name in ("reranking_lowers_loss", "reranking_raises_accuracy"):
        assert verdict(report, name)["verdict"] == "does not hold"
    assert loss_saved(report, "temperature", "model").low > 0.08  # tiny is too sure of itself
    assert abs(loss_saved(report, "saturation", "ranks").value) < 0.003
