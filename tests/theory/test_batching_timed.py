"""Batches that really run: the counts are those of `generate`, the orders those of the simulation."""

import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError
from satlens.exits import generate
from satlens.theory.batching.requests import Requests
from satlens.theory.batching.scheduler import SCHEDULERS, Scheduler
from satlens.theory.batching.timed import counts, fit_clock, run_batch, served_whole, time_orders

SOME = ((0,), (1,), (0, 1), (1, 2, 3))
PACKED = Scheduler("packed", "depth", knows=True)


class Short:
    """Positions before ``end`` leave after block ``layer``, those behind it nowhere."""

    name = "short prompts"

    def __init__(self, end: int, layer: int) -> None:
        self.end, self.layer = end, layer

    def __call__(self, peek):
        return (peek.pos < self.end) & torch.tensor(peek.layer >= self.layer)


@pytest.fixture(scope="module")
def planted(tiny_host):
    """Short prompts, which leave after 2 of 16 blocks, and long ones, which never leave, in turn."""
    model = satlens.wrap(tiny_host)
    ids = model.tokenizer("Lily had a red ball and a big dog. " * 9)["input_ids"]
    prompts = [ids[: 4 + i] if i % 2 else ids[: 50 + i] for i in range(4)]
    policy = Short(40, 1)
    made = generate(model, prompts, policy, max_new_tokens=4, stop_at_eos=False)
    return model, prompts, policy, made


def test_requests_of_a_generation_and_their_counts_are_what_generate_computes(planted):
    model, prompts, policy, made = planted
    asked = Requests.of(made)
    assert asked.prompt.tolist() == [len(own) for own in made.prompts]
    assert asked.depth.tolist() == [16.0, 2.0] * 2 and asked.length.tolist() == [4] * 4
    steps, deepest, blocks, positions = counts(asked, range(4))
    assert (steps, deepest, blocks) == (3, 3 * 16, made.blocks) and positions == asked.prompt.sum()
    clock = fit_clock(np.eye(4), np.ones(4), 16)
    served = served_whole(asked, PACKED, clock, 2)
    assert served.batches == ((0, 2), (1, 3)) and served.wasted == 0
    assert served.block_steps == made.blocks and served.held_block_steps == made.blocks


def test_the_simulation_of_whole_batches_is_the_sum_of_their_counts(planted):
    asked = Requests.of(planted[3])
    weights = np.array([0.5, 0.25, 2.0, 0.125])
    counted = np.random.default_rng(0).integers(1, 50, (12, 4)).astype(float)
    clock = fit_clock(counted, counted @ weights, 16)
    for scheduler in (SCHEDULERS[1], PACKED):
        served = served_whole(asked, scheduler, clock, 3)
        by_hand = sum(float(counts(asked, own) @ weights) for own in served.batches)
        assert served.seconds == pytest.approx(by_hand)


def test_orders_run_and_take_turns(planted):
    model, prompts, policy, made = planted
    asked = Requests.of(made)
    found, clock = time_orders(
        model, prompts, policy, asked, (SCHEDULERS[1], PACKED), SOME, rows=2, rounds=2
    )
    assert found["packed"].batches == ((0, 2), (1, 3))
    assert found["first come"].batches == ((0, 1), (2, 3))
    assert all(len(one.seconds) == 2 and (one.seconds > 0).all() for one in found.values())
    assert all(one.simulated > 0 for one in found.values())
    assert found["packed"].wasted == 0 < found["first come"].wasted
    assert clock.n_layers == 16 and run_batch(model, prompts, (0, 1), policy, 2) > 0


def test_what_cannot_be_timed_is_refused(planted):
    model, prompts, policy, made = planted
    asked = Requests.of(made)
    with pytest.raises(InputError, match="4 requests and 3 prompts"):
        time_orders(model, prompts[:3], policy, asked, (PACKED,), SOME)
    with pytest.raises(InputError, match="0 rounds"):
        time_orders(model, prompts, policy, asked, (PACKED,), SOME, rounds=0)
    with pytest.raises(InputError, match="2 batches to fit to"):
        time_orders(model, prompts, policy, asked, (PACKED,), SOME[:2])
    with pytest.raises(InputError, match="of 4 batches or more"):
        fit_clock(np.eye(4)[:3], np.ones(3), 16)
