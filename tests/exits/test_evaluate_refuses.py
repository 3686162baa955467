"""What `evaluate` refuses, and how it says so."""

import pytest
import torch

from satlens.errors import InputError, NumericsError
from satlens.exits import (
    AgreementProbe,
    Classifier,
    FixedLayer,
    SoftmaxResponse,
    StageExit,
    evaluate,
    sweep,
)
from satlens.lenses import LogitLens
from tests.exits.toys import Probe, agreement_probe, documents, unit_costs, whole_numbers


class Wrong:
    name = "wrong"

    def __init__(self, said):
        self.said = said

    def __call__(self, peek):
        return self.said(len(peek.resid))


class TestBadInput:
    def run(self, policy, model=None, inputs=None):
        return evaluate(model or whole_numbers(), inputs or documents(), policy, cost=unit_costs())

    @pytest.mark.parametrize(
        ("said", "found"),
        [
            (lambda n: torch.zeros(n + 1, dtype=torch.bool), r"shape \(\d+,\)"),
            (lambda n: torch.zeros(n, 1, dtype=torch.bool), r"shape \(\d+, 1\)"),
            (lambda n: torch.zeros(n), "torch.float32"),
            (lambda n: [False] * n, "returned list"),
            (lambda n: None, "NoneType"),
        ],
    )
    def test_not_one_boolean_a_token(self, said, found):
        with pytest.raises(InputError, match=rf"'wrong' must return one boolean a token.*{found}"):
            self.run(Wrong(said))

    @pytest.mark.parametrize("asked", [evaluate, sweep, AgreementProbe.fit])
    def test_a_lens_of_another_model(self, asked):
        lens = LogitLens(whole_numbers())
        with pytest.raises(InputError, match="given beside another model"):
            asked(
                whole_numbers(),
                documents(),
                *[SoftmaxResponse()] * (asked != AgreementProbe.fit),
                lens=lens,
            )

    def test_a_signal_of_the_wrong_shape(self):
        class Flat(SoftmaxResponse):
            def signal(self, peek):
                return super().signal(peek)[None]

        with pytest.raises(InputError, match="must be one number a token"):
            self.run(Flat())

    def test_a_limit_of_the_wrong_shape(self):
        class Odd(SoftmaxResponse):
            def limit(self, peek):
                return torch.zeros(len(peek.resid) + 1)

        with pytest.raises(InputError, match="must be one number, or one a token"):
            self.run(Odd())

    def test_a_policy_that_raises_leaves_no_hook(self):
        model = whole_numbers()
        with pytest.raises(InputError, match=r"'wrong' failed after block 0 \(ZeroDivisionError"):
            self.run(Wrong(lambda n: 1 / 0), model)
        assert all(not point._forward_hooks for point in model.hook_points)

    def test_an_interrupt_inside_a_policy_is_an_interrupt(self):
        def stop(n):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.run(Wrong(stop))

    def test_nan_states(self):
        model = whole_numbers()
        model.host.table.data[3, 1] = torch.nan
        with pytest.raises(NumericsError, match="NaN"):
            self.run(FixedLayer(1), model, [[1, 2, 3, 4]])

    def test_a_nan_signal(self):
        class Sick(SoftmaxResponse):
            def signal(self, peek):
                return super().signal(peek) * torch.nan

        with pytest.raises(
            NumericsError, match=r"signal of 'softmax response' is NaN for \d+ of \d+"
        ):
            self.run(Sick())

    @pytest.mark.parametrize(
        ("policies", "said"),
        [
            ([], "No policies"),
            ([3], "number 0 is int"),
            ([FixedLayer(1), FixedLayer(1)], "twice at one threshold"),
            ([StageExit(Probe()), StageExit(Probe(seed=1))], "give one of them another name"),
        ],
    )
    def test_lists_of_policies_that_cannot_be(self, policies, said):
        with pytest.raises(InputError, match=said):
            self.run(policies)

    def test_a_model_of_one_block(self):
        with pytest.raises(InputError, match="one block: there is nowhere to leave early"):
            evaluate(whole_numbers(layers=1), documents(), FixedLayer(0), cost=unit_costs(1))

    def test_costs_of_another_model(self):
        with pytest.raises(InputError, match="cost is of 4 layers; preset has 5"):
            evaluate(whole_numbers(), documents(), FixedLayer(0), cost=unit_costs(4))

    def test_a_probe_of_another_model(self):
        with pytest.raises(InputError, match="states of width 7; this model's have 4"):
            self.run(StageExit(Probe(7)))
        with pytest.raises(InputError, match="reads states of width 4 after blocks 0 to 6"):
            self.run(Classifier(agreement_probe(8)), whole_numbers(d=5))
