"""What every exit policy must hold: import `PolicyContract` and give it a policy.

class TestMyPolicy(PolicyContract):
    @pytest.fixture
    def policy(self, model): return MyPolicy(...)

and `ThresholdContract` for one with a threshold, with a second fixture ``thresholds``, ascending.
"""

import math

import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError
from satlens.exits import Peek, Policy, ThresholdPolicy, evaluate, leaving
from satlens.exits.looking import limit_of, signal_of
from satlens.exits.policy import name_of
from tests.builders import random_hooked
from tests.exits.reference import exits_by_hand
from tests.exits.toys import unit_costs

DOCUMENTS = [list(range(1, 20)), [5, 9, 2, 30, 7]]


class PolicyContract:
    """Subclass it with a fixture ``policy`` made for the fixture ``model``: 4 layers, d 16, 40 outputs."""

    @pytest.fixture
    def model(self):
        return satlens.wrap(random_hooked(n_layers=4, d=16, vocab=40, seed=0))

    @pytest.fixture
    def states(self, model):
        (batch,) = model.batches(DOCUMENTS, 2)
        return model.states(batch)

    @pytest.fixture
    def lens(self, model):
        return satlens.LogitLens(model)

    def asked(self, policy, states, lens, rows=slice(None), dtype=torch.float32):
        """What it says after every block but the last, of some rows that all stay."""
        memory, said = {}, []
        for layer in range(len(states.resid) - 1):
            before = states.resid[layer - 1][rows].to(dtype) if layer else None
            resid = states.resid[layer][rows].to(dtype)
            peek = Peek(layer, len(states.resid), resid, before, states.pos[rows],
                        lambda h, at: lens.scores(h.float(), at).to(dtype), memory)  # fmt: skip
            said.append(leaving(policy, peek))
            memory = peek.memory
        return torch.stack(said)

    def test_it_is_a_policy(self, policy):
        assert isinstance(policy, Policy) and name_of(policy)

    def test_one_boolean_a_token_after_every_block(self, policy, states, lens):
        assert self.asked(policy, states, lens).shape == (3, len(states.pos))

    def test_it_says_the_same_twice(self, policy, states, lens):
        once, again = (self.asked(policy, states, lens) for _ in range(2))
        assert torch.equal(once, again)

    def test_tokens_are_independent(self, policy, states, lens):
        every = self.asked(policy, states, lens)
        some = torch.arange(0, len(states.pos), 3)
        assert torch.equal(self.asked(policy, states, lens, some), every[:, some])
        assert torch.equal(self.asked(policy, states, lens, some[:1]), every[:, some[:1]])

    def test_no_tokens_are_no_error(self, policy, states, lens):
        none = torch.zeros(0, dtype=torch.int64)
        assert self.asked(policy, states, lens, none).shape == (3, 0)

    def test_states_of_half_precision(self, policy, states, lens):
        self.asked(policy, states, lens, dtype=torch.bfloat16)

    def test_the_states_are_left_alone(self, policy, states, lens):
        before = states.resid.clone()
        self.asked(policy, states, lens)
        assert torch.equal(states.resid, before)

    def test_evaluate_takes_it_as_it_is_told(self, policy, model, states, lens):
        found = evaluate(model, DOCUMENTS, policy, cost=unit_costs(4))
        blocks = np.mean(exits_by_hand(model, lens, policy, states)) + 1
        assert found.table().blocks[0] == pytest.approx(blocks)

    def test_what_a_look_costs(self, policy):
        cost = getattr(policy, "cost", None)
        assert cost is None or 0 <= cost(16) < math.inf


class ThresholdContract(PolicyContract):
    """One with a threshold: a higher one never lets a token leave earlier."""

    @pytest.fixture
    def peek(self, states, lens):
        return Peek(1, 4, states.resid[1], states.resid[0], states.pos, lens.scores)

    def test_it_is_a_threshold_policy(self, policy, thresholds):
        assert isinstance(policy, ThresholdPolicy)
        assert list(thresholds) == sorted(thresholds) and len(thresholds) >= 2

    def test_at_gives_another_and_leaves_this_one(self, policy, thresholds):
        before = policy.threshold
        for threshold in thresholds:
            other = policy.at(threshold)
            assert other.threshold == threshold and other.at(before) == policy
        assert policy.threshold == before

    def test_it_leaves_where_the_signal_reaches_the_limit(self, policy, thresholds, states, lens):
        for threshold in thresholds:
            one = policy.at(threshold)
            memories = {}, {}
            for layer in range(3):
                peeks = [
                    Peek(layer, 4, states.resid[layer], states.resid[layer - 1] if layer else None,
                         states.pos, lens.scores, memory) for memory in memories
                ]  # fmt: skip
                signal, said = signal_of(one, peeks[0]), leaving(one, peeks[1])
                assert torch.equal(said, signal >= limit_of(one, peeks[1]))

    def test_the_signal_does_not_depend_on_the_threshold(self, policy, thresholds, peek):
        signals = [signal_of(policy.at(t), Peek(1, 4, peek.resid, peek.before, peek.pos, peek.lens))
                   for t in thresholds]  # fmt: skip
        assert all(torch.equal(one, signals[0]) for one in signals)

    def test_a_higher_threshold_never_leaves_earlier(self, policy, thresholds, model, lens, states):
        exits = [exits_by_hand(model, lens, policy.at(t), states) for t in thresholds]
        for lower, higher in zip(exits, exits[1:], strict=False):
            assert all(a <= b for a, b in zip(lower, higher, strict=True))
        assert exits[0] != exits[-1]

    @pytest.mark.parametrize("bad", [math.nan, None, "0.5", True])
    def test_thresholds_that_are_no_numbers(self, policy, bad):
        with pytest.raises(InputError, match="threshold of"):
            policy.at(bad)

    def test_thresholds_outside_the_range(self, policy):
        for end, step in (("lowest", -1), ("highest", 1)):
            edge = getattr(policy, end, math.inf)
            if math.isfinite(edge):
                policy.at(int(edge) if getattr(policy, "whole", False) else edge)
                with pytest.raises(InputError, match=r"must be .* got"):
                    policy.at(edge + step)
