import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from satlens import StageProbe
from satlens.errors import InputError
from satlens.exits import (
    AgreementProbe,
    Classifier,
    FixedLayer,
    Never,
    Patience,
    Peek,
    SoftmaxResponse,
    StageExit,
    StateSaturation,
)
from tests.contracts.policy import DOCUMENTS, PolicyContract, ThresholdContract
from tests.exits.toys import Probe


def peek_of(resid, layer=0, before=None, scores=None, pos=None, memory=None, n_layers=6):
    resid = torch.as_tensor(resid, dtype=torch.float32)
    pos = torch.zeros(len(resid), dtype=torch.int64) if pos is None else torch.as_tensor(pos)
    lens = (lambda h, at: torch.as_tensor(scores)) if scores is not None else None
    return Peek(layer, n_layers, resid, before, pos, lens, {} if memory is None else memory)


class TestSoftmaxResponseContract(ThresholdContract):
    @pytest.fixture
    def policy(self):
        return SoftmaxResponse(0.3)

    @pytest.fixture
    def thresholds(self):
        return [0.0, 0.1, 0.3, 0.8, 1.0]


class TestDecayingContract(TestSoftmaxResponseContract):
    @pytest.fixture
    def policy(self):
        return SoftmaxResponse(0.3, mean_length=12.0)


class TestStateSaturationContract(ThresholdContract):
    @pytest.fixture
    def policy(self):
        return StateSaturation(0.5)

    @pytest.fixture
    def thresholds(self):
        return [-1.0, 0.2, 0.5, 0.9, 1.0]


class TestStageExitContract(ThresholdContract):
    @pytest.fixture
    def policy(self):
        return StageExit(Probe(16))

    @pytest.fixture
    def thresholds(self):
        return [0.0, 0.2, 0.5, 0.9, 1.0]


class TestStageExitPerLayerContract(TestStageExitContract):
    @pytest.fixture
    def policy(self):
        return StageExit(Probe(16, layers=(0, 2)), first=1)


class TestStageExitOfAFittedProbe(TestStageExitContract):
    @pytest.fixture
    def policy(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(200, 16))
        return StageExit(StageProbe().fit(X, 1 + (X[:, 0] > 0)))


class TestStageExitOfAnyClassifier(TestStageExitContract):
    @pytest.fixture
    def policy(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(60, 16))
        return StageExit(GaussianNB().fit(X, 1 + (X[:, 0] > 0)))


class TestPatienceContract(ThresholdContract):
    @pytest.fixture
    def policy(self):
        return Patience(2)

    @pytest.fixture
    def thresholds(self):
        return [1, 2, 3]


class TestFixedLayerContract(ThresholdContract):
    @pytest.fixture
    def policy(self):
        return FixedLayer(1)

    @pytest.fixture
    def thresholds(self):
        return [0, 1, 2, 3]


class TestNeverContract(PolicyContract):
    @pytest.fixture
    def policy(self):
        return Never()


class TestClassifierContract(ThresholdContract):
    @pytest.fixture
    def policy(self, model):
        return Classifier(AgreementProbe.fit(model, DOCUMENTS), 0.5)

    @pytest.fixture
    def thresholds(self):
        return [0.0, 0.3, 0.6, 1.0]


class TestSoftmaxResponse:
    def test_by_hand(self):
        scores = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1]]).log()
        signal = SoftmaxResponse().signal(peek_of(torch.ones(2, 2), scores=scores))
        torch.testing.assert_close(signal.float(), torch.tensor([0.2, 0.7]))

    def test_it_tells_apart_what_is_nearly_sure(self):
        """p_1 - p_2 of both is 1 in float32."""
        scores = torch.tensor([[30.0, 0.0, 0.0], [33.0, 0.0, 0.0]])
        signal = SoftmaxResponse().signal(peek_of(torch.ones(2, 2), scores=scores))
        assert signal[0] < signal[1] < 1
        assert 1 - float(signal[0]) == pytest.approx(3 * math.exp(-30), rel=1e-2)

    def test_it_is_the_gap_of_the_softmax(self):
        scores = torch.randn(50, 9, generator=torch.Generator().manual_seed(0)) * 5
        for kind in (torch.float32, torch.float64, torch.bfloat16):
            signal = SoftmaxResponse().signal(peek_of(torch.ones(50, 2), scores=scores.to(kind)))
            p = scores.to(kind).double().softmax(-1).sort(descending=True).values
            torch.testing.assert_close(signal, p[:, 0] - p[:, 1], rtol=1e-5, atol=1e-6)
        tied = peek_of(torch.ones(2, 2), scores=torch.zeros(2, 4))
        assert SoftmaxResponse().signal(tied).tolist() == [0, 0]

    def test_the_decaying_threshold_is_that_of_the_paper(self):
        rng = np.random.default_rng(0)
        for gap, pos, lam in rng.random((200, 3)) * [1, 50, 1]:
            pos = int(pos)
            scores = torch.tensor([[(1 + gap) / 2, (1 - gap) / 2]]).log()
            policy = SoftmaxResponse(lam, mean_length=20.0)
            left = bool(policy(peek_of(torch.ones(1, 2), scores=scores, pos=[pos])))
            needed = 0.9 * lam + 0.1 * math.exp(-4 * pos / 20)
            if abs(gap - needed) > 1e-5:
                assert left == (gap > needed)

    def test_it_is_stricter_at_the_beginning(self):
        scores = torch.tensor([[0.9, 0.1]] * 2).log()
        signal = SoftmaxResponse(mean_length=20.0).signal(
            peek_of(torch.ones(2, 2), scores=scores, pos=[0, 100])
        )
        assert signal[0] < signal[1]

    def test_one_output(self):
        with pytest.raises(InputError, match="compares two outputs; the model has one"):
            SoftmaxResponse()(peek_of(torch.ones(2, 2), scores=torch.ones(2, 1)))

    @pytest.mark.parametrize("length", [0.0, -1.0, math.inf, math.nan])
    def test_mean_length(self, length):
        with pytest.raises(InputError, match="mean_length must be above 0"):
            SoftmaxResponse(mean_length=length)


class TestStateSaturation:
    def test_by_hand(self):
        before = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
        after = [[2.0, 0.0], [1.0, 1.0], [-3.0, 0.0]]
        signal = StateSaturation().signal(peek_of(after, 1, before))
        torch.testing.assert_close(signal, torch.tensor([1.0, 0.5**0.5, -1.0]))
        assert signal.max() <= 1

    def test_nothing_leaves_after_block_0(self):
        assert not StateSaturation(-1.0)(peek_of(torch.ones(3, 2))).any()


class TestStageExit:
    def test_threshold_one_half_is_the_probes_own_choice(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(400, 8)).astype(np.float32) * 5 + 100  # far from 0
        y = 1 + (X[:, 0] > 100).astype(int) + (X[:, 1] > 101)
        layer = rng.integers(0, 3, 400)
        for per_layer in (False, True):
            probe = StageProbe(per_layer=per_layer).fit(X, y, layer)
            policy = StageExit(probe)
            for own in range(3):
                rows = layer == own
                left = policy(peek_of(X[rows], own)).numpy()
                assert (left == (probe.predict(X[rows], layer[rows]) >= 2)).all()

    def test_the_fast_path_is_the_slow_path(self):
        probe = Probe(5, layers=(0, 1))

        class Slow:
            classes_, per_layer = probe.classes_, True
            decision_function = staticmethod(probe.decision_function)

        X = torch.randint(-3, 4, (20, 5)).float()
        for layer in (0, 1):
            peek = peek_of(X, layer)
            fast, slow = StageExit(probe).signal(peek), StageExit(Slow()).signal(peek)
            torch.testing.assert_close(fast, slow)

    def test_scikit_learns_own_classifiers(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(300, 4)).astype(np.float32)
        for y in (1 + (X[:, 0] > 0), 1 + (X[:, 0] > 0) + (X[:, 1] > 1)):
            for kind in (LogisticRegression(), GaussianNB()):
                fitted = kind.fit(X, y.astype(int))
                left = StageExit(fitted)(peek_of(X)).numpy()
                assert (left == (fitted.predict(X) >= 2)).mean() > 0.995

    def test_layers_without_a_regression_and_before_the_first(self):
        policy = StageExit(Probe(4, layers=(2, 3)), 0.0)
        assert not policy(peek_of(torch.ones(3, 4), 1)).any()
        assert policy(peek_of(torch.ones(3, 4), 2)).all()
        assert not StageExit(Probe(4), 0.0, first=2)(peek_of(torch.ones(3, 4), 1)).any()

    def test_a_look_costs_one_row_a_stage(self):
        assert StageExit(Probe(4, stages=5)).cost(4) == 20

    def test_the_probe_is_read_once_for_all_thresholds(self):
        policy = StageExit(Probe(4))
        assert policy.at(0.9)._read is policy._read

    @pytest.mark.parametrize(
        ("probe", "said"),
        [
            (object(), "needs a classifier with decision_function or predict_proba"),
            (StageProbe(), "is not fitted"),
            (Probe(4, stages=1), "two stages or more"),
        ],
    )
    def test_what_is_no_probe(self, probe, said):
        with pytest.raises(InputError, match=said):
            StageExit(probe)

    def test_a_probe_whose_parts_do_not_fit(self):
        probe = Probe(4)
        probe.coef_ = probe.coef_[:, :2]
        with pytest.raises(InputError, match=r"3 stages and 1 regressions, but coef_ of shape"):
            StageExit(probe)

    def test_first(self):
        with pytest.raises(InputError, match="first must be 0 or more"):
            StageExit(Probe(4), first=-1)


class TestPatience:
    def test_by_hand(self):
        tops = [[0, 1, 2], [0, 2, 2], [0, 2, 1], [1, 2, 1]]
        memory, lengths = {}, []
        for layer, top in enumerate(tops):
            scores = torch.eye(3)[top]
            lengths.append(
                Patience()
                .signal(peek_of(torch.ones(3, 2), layer, scores=scores, memory=memory))
                .tolist()
            )
        assert lengths == [[1, 1, 1], [2, 1, 2], [3, 2, 1], [1, 3, 2]]

    def test_whole_numbers(self):
        with pytest.raises(InputError, match="a whole number, 1 or more; got 1.5"):
            Patience(1.5)


def test_a_range_in_the_message():
    with pytest.raises(InputError, match=r"'softmax response' must be a number, 0 to 1; got 1\.5"):
        SoftmaxResponse(1.5)
    with pytest.raises(
        InputError, match=r"'fixed layer' must be a whole number, 0 or more; got -1"
    ):
        FixedLayer(-1)
