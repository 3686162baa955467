import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from satlens.errors import InputError
from satlens.exits import Entry, FixedLayer, Never, Patience, SoftmaxResponse, compare, evaluate
from satlens.exits.halves import mixtures
from tests.exits.planted import planted
from tests.exits.toys import documents, unit_costs, whole_numbers

coordinates = st.lists(st.tuples(st.integers(-4, 8), st.integers(-4, 8)), min_size=1, max_size=8)


def by_hull(at, points):
    """The upper hull of the points and everything to the left of them and below, as a polygon."""
    x, y = np.array(points, float).T
    corners = [(-10, -10), (x.max(), -10), (-10, y.max()), *points]
    vertices = np.array(corners, float)[ConvexHull(np.array(corners, float)).vertices]
    edges = list(zip(vertices, np.roll(vertices, -1, axis=0), strict=True))
    heights = []
    for (x0, y0), (x1, y1) in edges:
        if min(x0, x1) <= at <= max(x0, x1):
            heights += [y0, y1] if x0 == x1 else [y0 + (at - x0) / (x1 - x0) * (y1 - y0)]
    return max(heights)


@given(coordinates, st.lists(st.integers(-4, 8), min_size=1, max_size=5))
def test_mixtures_reach_the_hull_of_the_points_and_what_is_worse(points, at):
    x, y = np.array(points, float).T
    at = np.array(at, float)
    found = mixtures(at, x, y)
    assert (found.weight >= 0).all() and ((found.weight > 0).sum(1) <= 2).all()
    np.testing.assert_allclose(found.weight.sum(1), 1)
    for value, weight, slope in zip(np.minimum(at, x.max()), *found, strict=True):
        assert weight @ y == pytest.approx(by_hull(value, points))
        assert weight @ x == pytest.approx(value) or (slope == 0 and weight @ x >= value)


def test_the_slope_is_that_of_the_hull():
    points = np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.9, 0.2])
    step = 1e-3
    for at in (0.2, 0.7):
        here, there = (mixtures(np.array([a]), *points) for a in (at, at + step))
        rise = (there.weight @ points[1] - here.weight @ points[1]) / step
        assert here.slope == pytest.approx(rise)


class TestCompare:
    def test_by_hand(self):
        """All documents alike, one point: half of the layers saved at agreement 0.8."""
        found = planted(
            {"one": [(0.5, [1] * 10)]}, agree=np.tile([0.2, 0.8, 0.9, 1.0], (10, 1)), layers=4
        )
        made = compare(found, saving="layers_saved", draws=20)
        assert made.at[-1] == 0.75
        before, after = made.at <= 0.5, made.at > 0.5
        np.testing.assert_allclose(made.height.value[0, before], 1 - 0.4 * made.at[before])
        np.testing.assert_allclose(
            made.height.value[0, after], 0.8 - 0.6 * (made.at[after] - 0.5) / 0.25
        )
        area = (0.5 * 0.9 + 0.25 * 0.5) / 0.75
        assert made.area.value[0] == pytest.approx(area, abs=1e-3)
        assert made.gain.value[0] == pytest.approx(area - 0.6, abs=1e-3)
        np.testing.assert_allclose(made.saved.value[0], [0.025, 0.125, 0.25])

    def test_a_policy_costs_nothing_where_it_is_not_used(self):
        """Looks that cost more than they save: never and always are all that is left, the straight line."""
        model, inputs = whole_numbers(), documents(lengths=[9] * 6)
        policies = [SoftmaxResponse(t) for t in (0.3, 0.6, 0.9)]
        found = evaluate(model, inputs, policies, cost=unit_costs(look=5000.0))
        assert (found.values(found.points("softmax response"))[:, 6] < 0).all()
        made = compare(found, draws=20)
        line = np.linspace(1, found.layer_agree[:, 0].sum() / found.tokens.sum(), len(made.at))
        np.testing.assert_allclose(made.height.value[0], line, atol=1e-6)
        assert made.gain.value[0] == pytest.approx(0, abs=1e-9)

    def test_pairs_and_lead(self):
        found = evaluate(
            whole_numbers(seed=4), documents(lengths=[9] * 8),
            [FixedLayer(0), FixedLayer(2), Patience(1), Patience(2), SoftmaxResponse(0.2)],
            cost=unit_costs(),
        )  # fmt: skip
        made = compare(found, draws=50)
        area = made.area.value
        np.testing.assert_allclose(made.difference.value, area[:, None] - area[None])
        np.testing.assert_allclose(made.difference.low, -made.difference.high.T)
        for i, name in enumerate(made.names):
            others = np.delete(area, i)
            assert made.lead.value[i] == pytest.approx(area[i] - others.max())
            best = made.best_other(name)
            assert best != name and area[made.names.index(best)] == others.max()
        np.testing.assert_allclose(made.gain.value - made.gain.value[0], area - area[0], atol=1e-12)
        assert made.over("patience", "fixed layer").value == pytest.approx(area[1] - area[0])

    def test_loss_is_turned_round(self):
        found = evaluate(
            whole_numbers(seed=4), documents(lengths=[9] * 8), [FixedLayer(0), FixedLayer(3)],
            cost=unit_costs(),
        )  # fmt: skip
        made = compare(
            {"a": Entry(found, "fixed layer"), "null": Entry(found, "fixed layer", null=True)},
            quality="loss", draws=20,
        )  # fmt: skip
        np.testing.assert_allclose(
            made.height.value[:, -1], found.layer_loss[:, 0].sum() / found.known.sum()
        )
        assert made.saved.value.shape == (2, 0) and (made.area.value > 0).all()

    def test_a_fixed_layer_is_its_own_null(self):
        found = evaluate(
            whole_numbers(), documents(), [FixedLayer(0), FixedLayer(2)], cost=unit_costs()
        )
        for quality in ("agreement", "accuracy", "loss"):
            made = compare(
                {"a": Entry(found, "fixed layer"), "null": Entry(found, "fixed layer", null=True)},
                quality=quality, draws=20,
            )  # fmt: skip
            np.testing.assert_allclose(made.over("a", "null").value, 0, atol=1e-12)

    def test_no_next_token_is_no_accuracy_and_no_warning(self):
        found = evaluate(
            whole_numbers(causal=False),
            documents(),
            [FixedLayer(0), FixedLayer(2)],
            cost=unit_costs(),
        )
        for quality in ("accuracy", "loss"):
            made = compare(found, quality=quality, draws=20)
            assert np.isnan(made.area.value).all() and np.isnan(made.height.value).all()
        assert np.isfinite(compare(found, draws=20).area.value).all()
        alone = evaluate(whole_numbers(), [[3]], FixedLayer(1), cost=unit_costs())
        assert np.isnan(compare(alone, quality="accuracy").area.value).all()
        assert np.isnan(compare(alone).area.low).all()

    def test_two_evaluations_of_the_same_documents(self):
        model, inputs = whole_numbers(), documents()
        one, two = (evaluate(model, inputs, FixedLayer(i), cost=unit_costs()) for i in (1, 2))
        made = compare({"one": (one, "fixed layer"), "two": (two, "fixed layer")}, draws=20)
        assert made.names == ("one", "two")
        other = evaluate(model, documents(seed=1, lengths=(3, 3)), FixedLayer(1), cost=unit_costs())
        with pytest.raises(InputError, match="paired differences need the same ones"):
            compare({"one": (one, "fixed layer"), "two": (other, "fixed layer")})

    def test_errors(self):
        found = evaluate(whole_numbers(), documents(), [FixedLayer(1), Never()], cost=unit_costs())
        with pytest.raises(InputError, match="quality must be one of agreement, accuracy, loss"):
            compare(found, quality="speed")
        with pytest.raises(InputError, match="saving must be one of compute_saved, layers_saved"):
            compare(found, saving="time")
        with pytest.raises(InputError, match="levels are agreements"):
            compare(found, levels=(1.5,))
        with pytest.raises(InputError, match=r"No policy 'x'.*fixed layer, never, oracle"):
            compare({"x": (found, "x")})
        dear = evaluate(whole_numbers(), documents(), FixedLayer(1), cost=unit_costs(kv=500.0))
        with pytest.raises(InputError, match="Leaving after the first block saves -"):
            compare(dear)
        made = compare({"a": (found, "fixed layer")}, draws=20)
        with pytest.raises(InputError, match="No entry 'b'"):
            made.over("a", "b")


class TestIntervals:
    def simulated(self, seed, better):
        """Two policies, 30 documents of 40 tokens; the better one picks the right tokens more often."""
        rng = np.random.default_rng(seed)
        tokens = 30 * 40
        level = np.repeat(rng.normal(size=30), 40)  # documents differ
        ready = rng.random(tokens) < 1 / (1 + np.exp(-level))
        agree = np.stack([ready, np.ones(tokens)], axis=1)  # two layers
        policies = {}
        for name, extra in (("one", better), ("two", 0.0)):
            signal = ready * (0.5 + extra) + rng.normal(size=tokens)
            points = []
            for q in (0.2, 0.4, 0.6, 0.8):
                points.append((q, np.where(signal >= np.quantile(signal, q), 0, 1)))
            policies[name] = points
        return planted(policies, agree, layers=2, doc=np.repeat(np.arange(30), 40))

    def test_true_null_is_covered(self):
        """Two policies that know equally much: 95 % intervals of their difference hold 0."""
        covered = 0
        for seed in range(80):
            made = compare(self.simulated(seed, 0.0), saving="layers_saved", draws=200)
            estimate = made.over("one", "two")
            covered += estimate.low <= 0 <= estimate.high
        assert covered >= 69  # 76 expected; fewer than 69 has p < 0.005

    def noise(self, seed):
        """Tokens of two layers; sixteen thresholds that know nothing: every point lies on the line."""
        rng = np.random.default_rng(seed)
        tokens = 20 * 30
        agree = np.stack([rng.random(tokens) < 0.5, np.ones(tokens)], axis=1).astype(float)
        signal = rng.normal(size=tokens)
        points = [
            (q, np.where(signal >= np.quantile(signal, q), 0, 1))
            for q in np.linspace(0.05, 0.95, 16)
        ]
        return planted({"noise": points}, agree, layers=2, doc=np.repeat(np.arange(20), 30))

    def test_noise_gains_nothing(self):
        """Read on the half it was chosen on, it would seem to."""
        gains, claimed, flattered = [], 0, []
        for seed in range(100):
            found = self.noise(seed)
            gain = compare(found, saving="layers_saved", draws=200).gain[0]
            gains.append(gain.value)
            claimed += gain.low > 0
            numbers = found.values(found.points("noise"))
            first = found.layer_agree[:, 0].sum() / found.tokens.sum()
            x, y = np.append([0, 0.5], numbers[:, 5]), np.append([1, first], numbers[:, 0])
            at = np.linspace(0, 0.5, 20)
            flattered.append((mixtures(at, x, y).weight @ y - np.linspace(1, first, 20)).mean())
        error = np.std(gains) / 10
        assert np.mean(gains) < 3 * error and claimed <= 7  # 2.5 expected
        assert np.mean(flattered) > 10 * abs(np.mean(gains))

    def test_a_planted_difference_is_found(self):
        for seed in range(5):
            made = compare(self.simulated(seed, 1.5), saving="layers_saved", draws=200)
            assert made.over("one", "two").low > 0 and made.lead[0].low > 0
