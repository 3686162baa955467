"""Batches of requests: equal to a literal reference, nothing lost, and what is known by hand."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.errors import InputError
from satlens.exits import Costs
from satlens.theory.batching.machine import Clock, Machine
from satlens.theory.batching.requests import ARRIVALS, Requests, bursts, poisson
from satlens.theory.batching.scheduler import ORDERS, RESERVES, SCHEDULERS, Scheduler
from satlens.theory.batching.simulate import simulate
from tests.theory.batching_reference import serve


def steps_only(layers: int = 4) -> Clock:
    """Blocks take 1 a step, whatever the rows; nothing else takes time."""
    none = [0.0] * layers
    return Clock(list(range(1, layers + 1)), none, none, none, 0.0, 0.0)


def constant(depths: list[int], layers: int, tokens: int = 3, **more) -> Requests:
    """Every token behind the first of request i leaves after ``depths[i]`` blocks."""
    exits = [[layers - 1, *[depth - 1] * (tokens - 1)] for depth in depths]
    return Requests([1] * len(depths), exits, layers, **more)


@st.composite
def cases(draw):
    """Requests, a scheduler and a machine of whole numbers: every sum is exact."""
    layers, n = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    few = st.integers(0, 3)
    lengths = draw(st.lists(st.integers(1, 6), min_size=n, max_size=n))
    exits = [
        [
            layers - 1,
            *draw(st.lists(st.integers(0, layers - 1), min_size=own - 1, max_size=own - 1)),
        ]
        for own in lengths
    ]
    prompt = draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))
    number = st.lists(few, min_size=n, max_size=n)
    arrival = np.array(draw(st.lists(st.integers(0, 40), min_size=n, max_size=n)), float)
    requests = Requests(prompt, exits, layers, arrival, draw(number), draw(number))
    arrays = [draw(st.lists(few, min_size=layers, max_size=layers)) for _ in range(4)]
    clock = Clock(np.cumsum(arrays[0]), *arrays[1:], *[float(draw(few)) for _ in range(4)])
    most = max(lengths) + draw(few)
    memory = max(prompt) + most - 1 + draw(st.integers(0, 12))
    machine = Machine(clock, memory, draw(st.integers(1, 4)), most)
    how = [draw(st.sampled_from(names)) for names in (ORDERS, RESERVES)]
    return requests, Scheduler("one", *how, draw(st.booleans()), draw(st.booleans())), machine


@settings(max_examples=300)
@given(cases())
def test_equal_to_the_literal_reference(case):
    got, want = simulate(*case), serve(*case)
    assert got.end.tolist() == want["end"] and got.first.tolist() == want["first"]
    counts = (got.steps, got.block_steps, got.held_block_steps, got.peak, got.filled)
    assert counts == tuple(want[name] for name in ("steps", "needed", "held", "peak", "filled"))
    assert (got.preemptions, got.recomputed) == (want["lost"], want["again"])
    assert list(got.batches) == want["batches"]


@given(cases())
def test_nothing_is_lost_and_memory_is_kept(case):
    requests, scheduler, machine = case
    got = simulate(*case)
    assert got.tokens == requests.length.sum()
    assert np.isfinite(got.end).all() and (got.arrival <= got.first).all()
    assert (got.first <= got.end).all()
    assert got.filled <= got.peak <= machine.memory
    assert all(len(batch) <= machine.rows for batch in got.batches)
    admitted = [index for batch in got.batches for index in batch]
    assert set(admitted) == set(range(len(requests)))
    assert len(admitted) == len(requests) + got.preemptions
    later = [own[1:] + 1 for own in requests.exits]
    again = got.recomputed > 0
    assert again == (got.preemptions > 0)
    if not again:  # a text that runs again gets its next token from the whole model
        assert got.block_steps == sum(own.sum() for own in later)
    assert 0 <= got.wasted < 1
    if scheduler.reserve == "most" or (scheduler.knows and scheduler.reserve == "predicted"):
        assert got.preemptions == 0


@given(cases())
def test_a_batch_of_one_is_alone(case):
    requests, scheduler, machine = case
    machine = Machine(machine.clock, machine.memory, 1, machine.most)
    got = simulate(requests, scheduler, machine)
    assert got.preemptions == 0 and got.wasted == 0
    for index in range(len(requests)):
        alone = simulate(requests.take(np.array([index])), scheduler, machine)
        own = got.end[index] - got.first[index]
        assert own == alone.end[0] - alone.first[0]


@given(cases())
def test_equal_depths_and_equal_lengths_give_every_order_the_same(case):
    requests, scheduler, machine = case
    same = constant(
        [requests.n_layers] * len(requests), requests.n_layers, arrival=requests.arrival
    )
    same = same.predicted(np.ones(len(same)), np.full(len(same), 3.0))
    machine = Machine(replace(machine.clock, looking=0.0), 20, machine.rows, 5)
    found = [
        simulate(same, Scheduler("one", order, "most", scheduler.continuous, knows), machine)
        for order in ORDERS
        for knows in (False, True)
    ]
    assert all(one.end.tolist() == found[0].end.tolist() for one in found)
    assert all(one.batches == found[0].batches and one.wasted == 0 for one in found)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(1, 3))
def test_the_oracle_is_the_best_of_all_partitions_where_depths_are_constant(depths, rows):
    """Equal lengths, all there at once, batches that end together: only then is it claimed."""
    machine = Machine(steps_only(6), 100, rows, 3)
    oracle = Scheduler("oracle", "depth", "most", continuous=False, knows=True)
    got = simulate(constant(depths, 6), oracle, machine).seconds
    best = min(
        sum(2 * max(order[start : start + rows]) for start in range(0, len(order), rows))
        for order in itertools.permutations(depths)
    )
    assert got == best


def test_two_depths_in_turn_by_hand():
    """Shallow ones leave after 1 of 8 blocks, deep ones run through all. In the order of arrival each batch
    is half of each and runs 8 blocks for all; packed, half of the batches run 1.
    """
    asked = constant([1, 8] * 8, 8, tokens=11)
    asked = asked.predicted(depth=asked.depth)
    machine = Machine(steps_only(8), 1000, 4, 11)
    first = simulate(asked, Scheduler("first", continuous=False), machine)
    packed = simulate(asked, Scheduler("packed", "depth", continuous=False), machine)
    assert first.seconds == 4 * 10 * 8 and packed.seconds == 2 * 10 * 8 + 2 * 10 * 1
    assert first.wasted == pytest.approx(1 - 9 / 16) and packed.wasted == 0
    # Half of them predicted wrong, as many of each kind: half of the waste is back, and more time than half.
    depth = asked.depth.copy()
    depth[[0, 1, 4, 5, 8, 9, 12, 13]] = depth[[1, 0, 5, 4, 9, 8, 13, 12]]
    noise = simulate(asked.predicted(depth), Scheduler("n", "depth", continuous=False), machine)
    assert noise.seconds == first.seconds


def test_lengths_by_hand():
    """Four requests of 2 or 8 tokens, room for 20 positions, prompts of 2."""
    exits = [[3] * 8, [3] * 2, [3] * 2, [3] * 2]
    asked = Requests([2] * 4, exits, 4)
    machine = Machine(steps_only(), 20, 4, 8)  # 9 positions at most for each: two together
    most = simulate(asked, Scheduler("most", reserve="most"), machine)
    assert most.batches == ((0, 1), (2,), (3,)) and most.peak == 18 and most.steps == 7
    known = simulate(asked, Scheduler("known", reserve="predicted", knows=True), machine)
    assert known.batches == ((0, 1, 2, 3),) and known.peak == 18 and known.filled == 4 * 3
    assert known.latency.mean() < most.latency.mean()


def test_a_wrong_prediction_is_preempted_and_recomputed():
    asked = Requests([4, 4], [[3] * 5, [3] * 5], 4, predicted_length=[1, 1])
    machine = Machine(steps_only(), 10, 2, 7)
    got = simulate(asked, Scheduler("short", reserve="predicted"), machine)
    # Both take 4 positions, then 5; for the sixth there is no room: the second loses 2 tokens' positions.
    assert got.batches == ((0, 1), (1,)) and got.preemptions == 1 and got.recomputed == 6
    assert got.peak == 10 and got.tokens == 10
    # 4 steps; then the second reads 6 positions, which gives its third token, and takes 2 steps more.
    assert got.steps == 6 and got.end.tolist() == [16.0, 24.0]


def test_keys_and_values_of_skipped_blocks_are_paid_when_they_are_read():
    clock = Clock([0.0] * 3, [0.0] * 3, [0.0] * 3, [0.0, 1.0, 10.0], 0, 0)
    exits = np.array([2, 0, 1, 0, 2, 2])
    # Token 2 comes to block 1: one position. Token 4: block 1 for the one behind it, block 2 for three.
    assert clock.work(exits, 3).tolist() == [0, 1, 0, 31, 0]
    assert clock.work(exits, 3, done=3).tolist() == [0, 11, 0]


def test_a_clock_counted_from_costs_is_that_of_the_cost_model():
    costs = Costs([10.0, 20.0, 30.0], [1.0, 2.0, 3.0], [5.0, 6.0, 7.0], [4.0, 4.0, 8.0])
    clock = Clock.counted(costs, reading=0, scored=1, own=2, speed=1)
    # Without skipped keys, a token that leaves after e costs body + looks + answer.
    deciding = costs.deciding(np.ones(2), 2)
    body = np.cumsum(costs.per_token) + 5 * np.cumsum(costs.per_pair)
    assert (clock.row + 5 * clock.pair).tolist() == (body + deciding).tolist()
    assert clock.prompt(3) == 3 * 60 + 6 * 6 + 8
    assert Clock.counted(costs, reading=3, speed=2).prompts == 3 * (60 + 8) / 2
    assert Clock.counted(costs, reading=0, speed=1, look_at=1).looking == 30


@pytest.mark.parametrize("name", ARRIVALS)
def test_arrivals_come_in_order_at_the_rate_and_by_seed(name):
    times = ARRIVALS[name](4000, 5.0, 1)
    assert (np.diff(times) >= 0).all() and len(times) == 4000
    assert np.array_equal(times, ARRIVALS[name](4000, 5.0, 1))
    if name != "all at once":
        assert not np.array_equal(times, ARRIVALS[name](4000, 5.0, 2))
        assert 4000 / times[-1] == pytest.approx(5, rel=0.15)


def test_gaps_are_exponential_and_bursts_come_together():
    gaps = np.diff(poisson(20_000, 2.0, 0))
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    together = np.unique(bursts(20_000, 2.0, 0, size=5), return_counts=True)[1]
    assert together.mean() == pytest.approx(5, rel=0.05)


def test_shuffled_predictions_are_the_same_ones_elsewhere():
    asked = constant([1, 2, 3, 4], 4).predicted(np.arange(4.0), np.arange(4.0) + 10)
    other = asked.shuffled(3)
    assert sorted(other.predicted_depth) == [0, 1, 2, 3]
    assert (other.predicted_length - other.predicted_depth == 10).all()
    assert other.depth.tolist() == asked.depth.tolist()


def test_the_share_between_requests():
    rng = np.random.default_rng(0)
    noise = Requests([1] * 50, [[9, *rng.integers(0, 9, 200)] for _ in range(50)], 10)
    assert noise.between() < 0.02
    assert math.isnan(constant([3, 3], 4).between())


def test_depths_are_fractions_where_all_answers_are_one_token_too():
    depth = Requests([1, 2], [[3], [3]], 4).depth
    depth += 0.5
    assert depth.tolist() == [4.5, 4.5]


def refused(match, make):
    with pytest.raises(InputError, match=match):
        make()


def test_what_means_nothing_is_refused():
    asked = constant([1, 2], 4)
    machine = Machine(steps_only(), 10, 2, 3)
    refused("of which the first is 3", lambda: Requests([1], [[2, 1]], 4))
    refused("one exit layer a token, 0 .. 3", lambda: Requests([1], [[3, 4]], 4))
    refused("a prompt of 1 position or more", lambda: Requests([0], [[3]], 4))
    refused("one finite number a request, 2", lambda: asked.predicted(depth=np.array([1.0])))
    refused("goes by predicted_depth", lambda: simulate(asked, SCHEDULERS[3], machine))
    refused("goes by predicted_length", lambda: simulate(asked, SCHEDULERS[2], machine))
    refused("order 'age' and", lambda: Scheduler("x", "age"))
    refused(
        "asked for at most 2",
        lambda: simulate(asked, SCHEDULERS[1], Machine(steps_only(), 10, 2, 2)),
    )
    refused(
        "need room for 5 positions",
        lambda: simulate(asked, SCHEDULERS[1], Machine(steps_only(), 4, 2, 5)),
    )
    refused(
        "of a model of 4 blocks",
        lambda: simulate(asked, SCHEDULERS[1], Machine(steps_only(3), 9, 2, 3)),
    )
    refused("whole number, 1 or more", lambda: Machine(steps_only(), 10, 0, 3))
    refused("one number a layer", lambda: Clock([1.0], [1.0, 2.0], [0.0], [0.0], 0, 0))
    refused(
        "Clock.kv must be numbers of 0 or more", lambda: Clock([1.0], [1.0], [0.0], [-1.0], 0, 0)
    )
    refused("a rate above 0", lambda: poisson(3, 0.0))
    refused("size must be 1 or more", lambda: bursts(3, 1.0, size=0))
    costs = Costs([1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0])
    refused("reading must be 0 or more", lambda: Clock.counted(costs, reading=-1))
    refused("look_at must be a layer, 0 .. 1", lambda: Clock.counted(costs, reading=1, look_at=2))
