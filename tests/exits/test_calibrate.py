import numpy as np
import pytest
from scipy.stats import binom

from satlens.errors import InputError
from satlens.exits import Never, calibrate
from satlens.exits.calibrate import BOUNDS, p_value
from tests.exits.planted import planted

EPSILON, DELTA = 0.1, 0.1
THRESHOLDS = np.linspace(0.05, 1, 60)


class Population:
    """Documents of 30 tokens whose risk at each threshold is known: tokens of one document are alike.

    At threshold t a token leaves early where its signal, the same for much of a document, is t or more; it
    disagrees where its own number is above the signal.
    """

    def __init__(self, seed, documents=3000, tokens=30, spread=1.0):
        rng = np.random.default_rng(seed)
        level = spread * rng.normal(size=(documents, 1))
        self.signal = 1 / (1 + np.exp(-(1.5 + level + 0.5 * rng.normal(size=(documents, tokens)))))
        self.wrong = rng.random((documents, tokens)) > self.signal

    def risk(self, threshold):
        """Of every document."""
        return ((self.signal >= threshold) & self.wrong).mean(1)

    def evaluation(self):
        signal, wrong = self.signal, self.wrong
        tokens = signal.shape[1]
        agree = np.stack([~wrong.ravel(), np.ones(wrong.size, bool)], axis=1).astype(float)
        points = [(t, np.where(signal.ravel() >= t, 0, 1)) for t in THRESHOLDS]
        doc = np.repeat(np.arange(len(signal)), tokens)
        return planted({"own": points}, agree, layers=2, doc=doc)


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_guarantee_over_200_splits_and_that_it_is_not_empty(bound):
    """P(true risk > epsilon) <= delta, within the error of 200 splits; and most of epsilon is used."""
    population = Population(0)
    every = population.evaluation()
    true = {float(t): population.risk(t).mean() for t in THRESHOLDS}
    assert max(true.values()) > EPSILON > min(true.values())
    violated, used, none = 0, [], 0
    for split in range(200):
        chosen = np.random.default_rng(split).choice(3000, 150, replace=False)
        found = calibrate(every.take(chosen), "own", EPSILON, DELTA, bound=bound, seed=split)
        if found.threshold is None:
            none += 1
            continue
        risk = true[found.threshold]
        violated += risk > EPSILON
        used.append(risk)
    assert binom.sf(violated - 1, 200, DELTA) > 0.005
    assert none < 20 and np.mean(used) > EPSILON / 3


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: (rng.random(n) < 0.1).astype(float),
        lambda rng, n: rng.beta(0.2, 1.8, n),
        lambda rng, n: rng.beta(2, 18, n),
        lambda rng, n: np.full(n, 0.1),
        lambda rng, n: 0.2 * (rng.random(n) < 0.5),
    ],
)
def test_p_values_at_the_edge_of_the_null(bound, draw):
    """Mean exactly epsilon: p <= delta no more often than delta."""
    rng = np.random.default_rng(1)
    p = np.array([p_value(draw(rng, 60), 0.1, 0.1, bound) for _ in range(1000)])
    assert binom.sf((p <= 0.1).sum() - 1, 1000, 0.1) > 0.001
    assert ((p > 0) & (p <= 1)).all()


def test_without_it_the_promise_is_broken():
    """The positive control: the threshold whose mean risk is within epsilon fails about every second time."""
    population = Population(0)
    every, violated = population.evaluation(), 0
    for split in range(200):
        found = every.take(np.random.default_rng(split).choice(3000, 150, replace=False))
        points = found.points("own")
        within = (1 - found.agree[points] / found.tokens).mean(1) <= EPSILON
        threshold = found.thresholds[points][np.flatnonzero(within)[-1]]
        violated += population.risk(threshold).mean() > EPSILON
    assert violated > 60


def test_tokens_as_units_would_promise_too_much():
    """What documents as units are for: the same test over tokens breaks its promise."""
    population = Population(0, spread=4.0)
    true = {float(t): population.risk(t).mean() for t in THRESHOLDS}
    violated = 0
    for split in range(200):
        chosen = np.random.default_rng(split).choice(3000, 12, replace=False)
        best = None
        for t in THRESHOLDS[::-1]:
            flat = ((population.signal >= t) & population.wrong)[chosen].ravel().astype(float)
            if p_value(flat, EPSILON, DELTA, "hoeffding-bentkus") > DELTA:
                break
            best = float(t)
        violated += best is not None and true[best] > EPSILON
    assert violated > 30  # far above 20


class TestChoice:
    def agreeing(self, risks, documents=200):
        """20 tokens a document; at each threshold the same share of each document disagrees."""
        n = 20
        points = []
        for i, risk in enumerate(risks):
            exits = np.ones(n, int)
            exits[: round(risk * n)] = 0
            points.append((len(risks) - i, np.tile(exits, documents)))
        agree = np.tile([0.0, 1.0], (documents * n, 1))
        doc = np.repeat(np.arange(documents), n)
        return planted({"own": points}, agree, 2, doc=doc)

    def test_the_last_that_passes_in_a_row(self):
        found = calibrate(self.agreeing([0, 0.05, 0.1, 0.5, 0.05]), "own", 0.2, 0.05)
        assert found.threshold == 3 and found.policy.threshold == 3
        assert found.thresholds.tolist() == [5, 4, 3, 2, 1]
        assert np.isnan(found.p_values[4]) and found.p_values[3] == 1
        np.testing.assert_allclose(found.risks, [0, 0.05, 0.1, 0.5, 0.05])

    def test_none_means_never(self):
        found = calibrate(self.agreeing([0.5, 0.5]), "own", 0.2, 0.05)
        assert found.threshold is None and found.policy == Never()
        assert "never leave" in found.why

    def test_too_few_documents_are_said(self):
        found = calibrate(self.agreeing([0, 0.5], documents=20), "own", 0.05, 0.05)
        assert found.threshold is None
        assert "20 documents cannot vouch for 0.05 at confidence 0.95: it takes 59" in found.why

    def test_about_59_documents_are_enough_where_nothing_disagrees(self):
        for bound in BOUNDS:
            for documents, enough in ((58, False), (80, True)):
                evaluation = self.agreeing([0, 0.5], documents)
                found = calibrate(evaluation, "own", 0.05, 0.05, bound=bound)
                assert (found.threshold == 2) == enough, (bound, documents)

    def test_its_json(self):
        said = calibrate(self.agreeing([0, 0.5, 0.5]), "own", 0.2, 0.05).to_dict()
        assert said["p_values"][2] is None and said["threshold"] == 3

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"epsilon": 0.0}, "epsilon must lie between 0 and 1"),
            ({"delta": 1.0}, "delta must lie between 0 and 1"),
            ({"bound": "hope"}, "bound must be one of betting, hoeffding-bentkus"),
            ({"policy": "other"}, "No policy 'other' in this result"),
        ],
    )
    def test_errors(self, settings, said):
        with pytest.raises(InputError, match=said):
            calibrate(self.agreeing([0]), **({"policy": "own"} | settings))

    def test_a_policy_without_a_threshold(self):
        evaluation = planted({"never": [(np.nan, [1, 1])]}, np.ones((2, 2)), 2)
        with pytest.raises(InputError, match="'never' has no threshold to choose"):
            calibrate(evaluation, "never")
