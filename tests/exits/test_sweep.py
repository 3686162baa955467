import numpy as np
import pytest

from satlens.errors import InputError
from satlens.exits import (
    FixedLayer,
    Never,
    Patience,
    SoftmaxResponse,
    StateSaturation,
    evaluate,
    sweep,
)
from tests.exits.toys import documents, unit_costs, whole_numbers


def test_thresholds_are_even_in_depth(tiny_host):
    from satlens.survey.corpus import read_corpus

    texts = list(read_corpus("bundled").documents)[:6]
    for policy in (SoftmaxResponse(), StateSaturation()):
        swept = sweep(tiny_host, texts, policy, n=6)
        blocks = evaluate(tiny_host, texts, swept).table().blocks[: len(swept)]
        assert len(swept) == 6 and (np.diff(blocks) > 1).all()
        assert np.abs(np.diff(blocks, 2)).max() < 1.5


def test_the_lowest_lets_every_token_leave_at_once():
    model, inputs = whole_numbers(), documents()
    for policy in (SoftmaxResponse(), Patience(), FixedLayer()):
        swept = sweep(model, inputs, policy, n=5)
        found = evaluate(model, inputs, swept, cost=unit_costs())
        assert found.table().blocks[0] == 1


def test_whole_thresholds_and_ranges():
    model, inputs = whole_numbers(), documents()
    assert [p.threshold for p in sweep(model, inputs, FixedLayer(), n=9)] == [0, 1, 2, 3]
    swept = sweep(model, inputs, [StateSaturation(), Patience()], n=4)
    assert {type(policy) for policy in swept} == {StateSaturation, Patience}
    decaying = sweep(model, inputs, SoftmaxResponse(mean_length=4.0), n=6)
    assert all(0 <= policy.threshold <= 1 for policy in decaying)


@pytest.mark.parametrize(
    ("policy", "settings", "said"),
    [
        (Patience(), {"n": 1}, "n of at least 2"),
        (Patience(), {"tokens": 0}, "tokens above 0"),
        (Never(), {}, "'never' has no threshold to sweep"),
    ],
)
def test_errors(policy, settings, said):
    with pytest.raises(InputError, match=said):
        sweep(whole_numbers(), documents(), policy, **settings)


def test_a_signal_that_is_nowhere_finite():
    with pytest.raises(InputError, match="is finite nowhere"):
        sweep(whole_numbers(), documents(), Nowhere())


class Nowhere(StateSaturation):
    lowest = -float("inf")

    def signal(self, peek):
        return super().signal(peek) - float("inf")
