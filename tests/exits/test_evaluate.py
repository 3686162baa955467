import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens import LogitLens, load_model, wrap
from satlens.errors import InputError
from satlens.exits import (
    ORACLE,
    Classifier,
    FixedLayer,
    Never,
    Patience,
    Peek,
    SoftmaxResponse,
    StageExit,
    StateSaturation,
    evaluate,
)
from satlens.exits.looking import Reader, Scores, signal_of
from satlens.models.protocol import ResidualModel
from tests.exits.reference import evaluate_by_hand, exits_by_hand
from tests.exits.toys import (
    Probe,
    Vandal,
    agreement_probe,
    documents,
    preset,
    unit_costs,
    whole_numbers,
)

D = 4


def every_policy(layers: int):
    """(policy, whether it reads scores, what a look costs beside them)."""
    return [
        (SoftmaxResponse(), True, 0),
        (SoftmaxResponse(mean_length=6.0, name="decaying"), True, 0),
        (StateSaturation(), False, 3 * D),
        (StageExit(Probe(D)), False, 3 * D),
        (StageExit(Probe(D, layers=(1, 2)), first=2, name="per layer"), False, 3 * D),
        (Classifier(agreement_probe(layers)), False, D),
        (Patience(), True, 0),
        (FixedLayer(), False, 0),
    ]


def seen_signals(model, policy, inputs):
    """Values that the signal takes: as thresholds they are ties."""
    lens, found = LogitLens(model), []
    for batch in model.batches(inputs, 8):
        states, memory = model.states(batch), {}
        for layer in range(model.n_layers - 1):
            peek = Peek(layer, model.n_layers, states.resid[layer],
                        states.resid[layer - 1] if layer else None, states.pos,
                        lens.scores, memory)  # fmt: skip
            found.append(signal_of(policy, peek))
    values = torch.cat(found).double()
    return values[values.isfinite()].clamp(policy.lowest, policy.highest).unique()


@settings(max_examples=50)
@given(st.data())
def test_equals_the_plain_reference_ties_included(data):
    layers = data.draw(st.integers(2, 6))
    model = whole_numbers(layers=layers, d=D, seed=data.draw(st.integers(0, 10**6)))
    lengths = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    inputs = documents(lengths=[2, *lengths], seed=layers)
    policies, expected = [], []
    cost = dataclasses.replace(
        unit_costs(layers), kv=np.arange(layers), look=np.arange(layers) + 5.0
    )
    for policy, scored, own in every_policy(layers):
        values = seen_signals(model, policy, inputs)
        values = values.tolist() or [policy.threshold]
        picked = data.draw(st.lists(st.sampled_from(values), max_size=2, unique=True))
        for threshold in picked:
            one = policy.at(int(threshold) if policy.whole else threshold)
            policies.append(one)
            expected.append((one, scored, own))
    policies.append(Never())
    expected.append((Never(), False, 0))
    found = evaluate(model, inputs, policies, cost=cost, batch_size=2).table()
    for i, (policy, scored, own) in enumerate(expected):
        want = evaluate_by_hand(model, inputs, policy, LogitLens(model), cost, scored, own)
        for name, value in want.items():
            assert found[name][i] == pytest.approx(value, abs=1e-6), (policy, name)


def test_equals_the_plain_reference_on_real_weights(tiny_host):
    model = wrap(tiny_host)
    inputs = [[1, 50, 60, 70, 80, 90], [1, 33, 44, 55]]
    policies = [SoftmaxResponse(0.3), StateSaturation(0.93), Patience(2), FixedLayer(7)]
    found = evaluate(model, inputs, policies).table()
    (batch,) = model.batches(inputs, 2)
    states = model.states(batch)
    for i, policy in enumerate(policies):
        blocks = np.mean(exits_by_hand(model, LogitLens(model), policy, states)) + 1
        assert found.blocks[i] == pytest.approx(blocks)


class TestPublishedFlaws:
    """Each fails with the flaw in."""

    def test_methods_do_not_start_from_the_answers_of_the_one_before(self):
        """Erratum 3: one array for all methods. Alone, in any order: the same numbers."""
        model, inputs = whole_numbers(), documents()
        policies = [SoftmaxResponse(0.4), StateSaturation(0.5), Patience(2), FixedLayer(1), Never()]
        together = evaluate(model, inputs, policies, cost=unit_costs()).table()
        turned = evaluate(model, inputs, policies[::-1], cost=unit_costs()).table()
        for i, policy in enumerate(policies):
            alone = evaluate(model, inputs, policy, cost=unit_costs()).table()
            np.testing.assert_array_equal(together.iloc[i, 2:], alone.iloc[0, 2:])
            np.testing.assert_array_equal(turned.iloc[len(policies) - 1 - i, 2:], alone.iloc[0, 2:])

    def test_a_policy_that_writes_into_all_it_is_given_changes_nothing(self):
        model, inputs = whole_numbers(), documents()
        policies = [SoftmaxResponse(0.4, mean_length=4.0), StateSaturation(0.5), Patience(2),
                    FixedLayer(1)]  # fmt: skip
        clean = evaluate(model, inputs, policies, cost=unit_costs())
        for order in ([Vandal(), *policies], [*policies, Vandal()]):
            found = evaluate(model, inputs, order, cost=unit_costs())
            rows = [found.names.index(name) for name in clean.families]
            np.testing.assert_array_equal(found.values(rows), clean.values(range(len(rows))))
        np.testing.assert_array_equal(found.layer_agree, clean.layer_agree)

    def test_the_first_block_costs_one(self):
        """Erratum 11: an exit at index i counted as i layers, so the first block was free."""
        found = evaluate(
            whole_numbers(), documents(), [FixedLayer(0), FixedLayer(3)], cost=unit_costs()
        )
        table = found.table()
        assert table.blocks[:2].tolist() == [1, 4] and table.exit_layer[:2].tolist() == [0, 3]
        np.testing.assert_allclose(table.layers_saved[:2], [1 - 1 / 5, 1 - 4 / 5])

    def test_the_full_model_saves_nothing_and_agrees(self):
        table = evaluate(
            whole_numbers(), documents(), [Never(), FixedLayer(4)], cost=unit_costs()
        ).table()
        for column, value in (
            ("agreement", 1),
            ("blocks", 5),
            ("layers_saved", 0),
            ("compute_saved", 0),
        ):
            assert table[column][:2].tolist() == [value, value]


def reachable(thing, seen=None):
    """Every tensor that can be had from an object by attributes, items, closures and views."""
    seen = {} if seen is None else seen
    if id(thing) in seen or isinstance(thing, str | int | float | bool | type(None) | type):
        return seen
    seen[id(thing)] = thing
    if isinstance(thing, torch.Tensor):
        reachable(thing._base, seen)
        return seen
    inside = []
    if isinstance(thing, dict):
        inside += list(thing.values())
    elif isinstance(thing, list | tuple | set):
        inside += list(thing)
    inside += list(getattr(thing, "__dict__", {}).values())
    if isinstance(getattr(thing, "__self__", None), object):
        inside.append(getattr(thing, "__self__", None))
    for cell in getattr(thing, "__closure__", None) or ():
        inside.append(cell.cell_contents)
    for one in inside:
        if not callable(one) or hasattr(one, "__dict__"):
            reachable(one, seen)
    return seen


def test_no_later_layer_and_no_answer_can_be_reached_from_a_peek():
    model, inputs = whole_numbers(layers=6), documents(lengths=(9, 9))
    own = {id(p) for p in model.host.parameters()}
    seen = []

    class Spy:
        name = "spy"

        def __call__(self, peek):
            peek.scores()
            tensors = [t for t in reachable(peek).values() if isinstance(t, torch.Tensor)]
            seen.append([t for t in tensors if id(t) not in own])
            return torch.zeros(len(peek.resid), dtype=torch.bool)

    evaluate(model, inputs, [Spy(), SoftmaxResponse(0.5)], cost=unit_costs(6))
    (batch,) = model.batches(inputs, 8)
    states = model.states(batch)
    for layer, tensors in enumerate(seen):
        known = [states.resid[i] for i in (layer, layer - 1) if i >= 0]
        known += [states.pos, model.readout(states.resid[layer])]
        for tensor in tensors:
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
            assert any(tensor.shape == one.shape and torch.equal(tensor, one) for one in known)
    assert len(seen) == 5 and all(seen)


def test_the_oracle_agrees_everywhere_and_no_policy_that_always_agrees_is_earlier():
    model, inputs = whole_numbers(seed=3), documents()
    policies = [*(SoftmaxResponse(t / 20) for t in range(21)), *(Patience(n) for n in (1, 2, 3, 4))]
    table = evaluate(model, inputs, policies, cost=unit_costs()).table()
    oracle = table[table.policy == ORACLE].iloc[0]
    assert oracle.agreement == 1
    assert (table[table.agreement == 1].blocks >= oracle.blocks).all()


def test_the_null_is_the_mean_over_shuffled_exits():
    model, inputs = whole_numbers(seed=5), documents(lengths=(6, 6, 6))
    found = evaluate(model, inputs, SoftmaxResponse(0.4), cost=unit_costs())
    layers = np.repeat(np.arange(5), found.exits[0].sum(0))
    agree, generator = [], np.random.default_rng(0)
    flat = per_token_agreement(model, inputs)
    for _ in range(4000):
        agree.append(flat[np.arange(len(flat)), generator.permutation(layers)].mean())
    row = found.table().iloc[0]
    assert row.null_agreement == pytest.approx(np.mean(agree), abs=4 * np.std(agree) / 4000**0.5)
    assert np.std(agree) > 0.02
    assert row.excess == pytest.approx(row.agreement - row.null_agreement)


def per_token_agreement(model: ResidualModel, inputs) -> np.ndarray:
    (batch,) = model.batches(inputs, len(inputs))
    states = model.states(batch)
    final = states.logits.argmax(1)
    return (
        torch.stack([model.readout(h).argmax(1) == final for h in states.resid], 1).double().numpy()
    )


class CoinFlip:
    """Leaves at random: knows nothing of the token."""

    name = "coin"

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, peek):
        return torch.rand(len(peek.resid), generator=self.generator) < 0.3

    def cost(self, d_model):
        return 0


def test_a_policy_that_knows_nothing_is_no_better_than_its_null():
    """True null: the intervals of the excess cover 0 about as often as they say."""
    covered = 0
    for seed in range(60):
        model = whole_numbers(words=40, seed=seed)
        policy = CoinFlip()
        policy.generator.manual_seed(seed)
        inputs = documents(40, lengths=[12] * 30, seed=seed)
        found = evaluate(model, inputs, policy, cost=unit_costs())
        excess = found.estimates([0], draws=300)[0, 12]
        covered += excess.low <= 0 <= excess.high
    assert covered >= 51  # 95 % of 60 is 57; fewer than 51 has p < 0.005


def test_a_policy_that_knows_is_better_than_its_null():
    """Planted: the cosine of this toy is 1 exactly where the state has arrived."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randint(-2, 3, (40, 6, 4), generator=generator).float()
    arrived = torch.randint(0, 5, (40,), generator=generator)
    for word, layer in enumerate(arrived.tolist()):
        table[word, layer:] = table[word, -1]
    model = preset(table, torch.randint(-2, 3, (6, 4), generator=generator).float())
    found = evaluate(model, documents(40, [20] * 20), StateSaturation(1.0), cost=unit_costs(6))
    excess = found.estimates([0])[0, 12]
    assert excess.low > 0.05
    assert found.table().agreement[0] > 0.9


def test_the_reader_counts_and_copies():
    lens = LogitLens(whole_numbers())
    scores = Scores(lens)
    reader, resid = Reader(scores), torch.ones(3, 4)
    kept = lens.scores(resid, 0)
    scores.keep(resid, 0, kept)
    reader(resid.clone(), 0).fill_(9)
    assert torch.equal(reader(resid, 0), kept) and reader.read == {0: 6}
    assert torch.equal(reader(resid[:1] * 2, 1), kept[:1] * 2) and reader.read == {0: 6, 1: 1}


def test_a_policy_that_reads_some_tokens_pays_for_some():
    class Half:
        name = "half"

        def __call__(self, peek):
            peek.lens(peek.resid[: len(peek.resid) // 2], peek.layer)
            return torch.zeros(len(peek.resid), dtype=torch.bool)

    found = evaluate(whole_numbers(), [[1, 2, 3, 4]], Half(), cost=unit_costs())
    assert found.table().looking[0] * found.full.sum() == pytest.approx(4 * 4 * 0.5 * 30)
    assert "half" in found.notes[0]


def test_the_bundled_model_by_name():
    found = evaluate(load_model("tiny"), "Lily had a red ball.", [SoftmaxResponse(0.8)])
    assert found.settings == {"model": found.settings["model"], "lens": "logit"}
    assert found.table().compute_saved[0] < 0  # its vocabulary costs more than its blocks


def test_policies_whose_fields_cannot_be_compared_are_asked_apart():
    @dataclasses.dataclass(frozen=True)
    class Held(SoftmaxResponse):
        direction: torch.Tensor = dataclasses.field(default_factory=lambda: torch.ones(4))

    apart = [Held(0.2, name="a"), Held(0.6, name="b")]
    found = evaluate(whole_numbers(), documents(), apart, cost=unit_costs())
    plain = evaluate(
        whole_numbers(),
        documents(),
        [SoftmaxResponse(0.2), SoftmaxResponse(0.6)],
        cost=unit_costs(),
    )
    np.testing.assert_array_equal(found.values(), plain.values())
    with pytest.raises(InputError, match="give one of them another name"):
        evaluate(whole_numbers(), documents(), [Held(0.2), Held(0.6)], cost=unit_costs())
