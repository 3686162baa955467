import numpy as np
import pytest

from satlens.errors import InputError
from satlens.theory.dynamics import Sequences


def test_the_published_numbers():
    """scan_snap/figure_6.log, one query: probabilities of the twenty tokens of a class, and their ids."""
    one = Sequences(queries=1)
    assert one.probability.round(4)[:10].tolist() == [0.0645] * 10
    assert one.probability.round(4)[10:].tolist() == [
        0.0065, 0.0129, 0.0194, 0.0258, 0.0323, 0.0387, 0.0452, 0.0516, 0.0581, 0.0645,
    ]  # fmt: skip
    assert one.tokens.tolist() == [[*range(20)], [*range(10), *range(20, 30)]]
    assert (one.keys, one.vocabulary, one.classes) == (30, 33, 2)
    assert set(one.draw(np.random.default_rng(0), 64)[2].tolist()) == {31, 32}


def test_tokens_come_as_often_as_said():
    of = Sequences(queries=2, common=3, distinct=4, length=51)
    counts, query, target = of.draw(np.random.default_rng(1), 20_000)
    assert (counts.sum(1) == 50).all()
    for n in range(of.classes):
        rows = target == of.keys + of.queries + n
        assert (query[rows] == n // 2).all()
        share = counts[rows].mean(0) / 50
        assert share[of.tokens[n]] == pytest.approx(of.probability, abs=0.003)
        assert np.delete(share, of.tokens[n]).sum() == 0


def test_shuffled_labels_leave_nothing_distinct_and_nothing_else_changed():
    own, shuffled = Sequences(queries=2), Sequences(queries=2, labels="shuffled")
    first = own.keys + own.queries
    counts, query, target = own.draw(np.random.default_rng(3), 4_000)
    counts_, query_, target_ = shuffled.draw(np.random.default_rng(3), 4_000)
    assert np.array_equal(counts, counts_) and np.array_equal(query, query_)
    together = np.zeros((4, 4))
    np.add.at(together, (target - first, target_ - first), 1 / 4_000)
    assert together == pytest.approx(np.full((4, 4), 1 / 16), abs=0.02)  # the label knows nothing


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"queries": 0}, "Sequences.queries must be a whole number of 1 or more, got 0"),
        ({"length": 1}, "Sequences.length must be a whole number of 2"),
        ({"common": 1.5}, "Sequences.common"),
        ({"low": 0.0}, "above 0; got low=0.0"),
        ({"low": 2.0}, "from low to high"),
        ({"labels": "mixed"}, "must be 'own' or 'shuffled'"),
        ({"labels": "shuffled", "queries": 1, "next_per_query": 1}, "2 or more next tokens"),
    ],
)
def test_unusable_settings_are_refused(bad, words):
    with pytest.raises(InputError, match=words):
        Sequences(**bad)
