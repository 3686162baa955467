"""Measuring gates: every number against a plain loop, intervals that cover, a planted rule that is found."""

import json

import numpy as np
import pytest
import torch

from satlens.errors import InputError, ModelError
from satlens.routing import Examples, evaluate_gates, evaluate_without_gates, tlops_saved
from satlens.routing.evaluate import RoutingResult
from tests.routing.toys import VOCAB, gated, rows, small


def opinionated(**kw):
    """Gates some of whose p are above 1/2 and some below."""
    gates = gated(dropout=0.0, bias=0.0, **kw)
    with torch.no_grad():
        for index, router in enumerate(gates.routers):
            generator = torch.Generator().manual_seed(index)
            torch.nn.init.normal_(router.up.weight, 0, 20, generator=generator)
            torch.nn.init.normal_(router.down.weight, 0, 3, generator=generator)
    return gates


@pytest.fixture(scope="module")
def gates():
    return opinionated()


BATCHES = [rows(3, seed=0), rows(2, seed=1)]


@torch.no_grad()
def by_hand(gates, examples, way):
    """Nats, right, scored and active shares, position by position."""
    batch = examples.batch(gates.model)
    if way == "open":
        logits, active = gates.model.forward(batch), torch.ones(2, *examples.ids.shape)
    else:
        with gates.attached(way) as run:
            logits = gates.model.forward(batch)
        active = 1 - run.skip if way == "soft" else 1.0 * (run.skip <= 0.5)
    nats = right = scored = 0.0
    for row in range(len(examples.ids)):
        for pos, target in enumerate(examples.target[row].tolist()):
            if target >= 0:
                log_p = torch.log_softmax(logits[row, pos].double(), -1)
                nats -= float(log_p[target])
                right += int(log_p.argmax()) == target
                scored += 1
    return np.array([nats, right, scored]), active


@pytest.mark.parametrize("way", ["open", "soft", "hard"])
def test_every_number_is_that_of_a_plain_loop(gates, way):
    found = evaluate_gates(gates, BATCHES)
    parts = [by_hand(gates, examples, way) for examples in BATCHES]
    nats, right, scored = sum(sums for sums, _ in parts)
    active = torch.cat([one.flatten(1) for _, one in parts], 1)
    assert found.loss(way).value == pytest.approx(nats / scored, rel=1e-6)
    assert found.accuracy(way).value == pytest.approx(right / scored)
    assert found.active(way).value == pytest.approx(float(active.mean()), rel=1e-6)
    assert found.by_layer(way) == pytest.approx(active.mean(1).numpy(), rel=1e-6)
    assert found.saved(way).value == pytest.approx(tlops_saved(float(active.mean()), 3), rel=1e-6)
    assert found.excess_loss(way, "open").value == pytest.approx(
        found.loss(way).value - found.loss("open").value, abs=1e-9
    )
    assert found.n_parameters == gates.n_parameters
    if way == "hard":
        assert 0 < found.active(way).value < 1


def test_skipping_at_random_skips_as_much_and_the_seed_says_who(gates):
    many = [rows(40, seed=s) for s in range(5)]
    one, same, other = (evaluate_gates(gates, many, seed=seed) for seed in (1, 1, 2))
    assert one.by_layer("random") == pytest.approx(one.by_layer("hard"), abs=0.05)
    assert one.loss("random") == same.loss("random")
    assert one.loss("random").value != other.loss("random").value
    assert one.loss("hard").value == other.loss("hard").value


def test_classes_are_those_of_the_ids(gates):
    classes = {"low": range(4), "high": [9, 10]}
    found = evaluate_gates(gates, BATCHES, classes=classes)
    table = found.class_table("hard")
    ids = torch.cat([examples.ids.flatten() for examples in BATCHES])
    active = torch.cat([by_hand(gates, one, "hard")[1].flatten(1) for one in BATCHES], 1)
    masks = {"low": ids < 4, "high": (ids == 9) | (ids == 10)}
    masks["other"] = ~(masks["low"] | masks["high"])
    assert list(table.index) == list(masks)
    for name, mask in masks.items():
        assert table.loc[name, "tokens"] == int(mask.sum())
        for block in (1, 2):
            want = float(active[block - 1, mask].mean())
            assert table.loc[name, f"block {block}"] == pytest.approx(want)


def test_a_planted_rule_is_found():
    """A router that reads the token at block 0: it must show in the classes, and in no other way."""
    gates = gated(dropout=0.0)
    with torch.no_grad():
        direction = torch.zeros(16)
        direction[0] = 50.0
        gates.model.host.transformer.wte.weight[6:] += direction
        first = gates.routers[0]
        for parameter in first.parameters():
            parameter.zero_()
        first.up.weight[0, 0] = 1.0
        first.down.weight[0, 0] = 10.0
        first.down.bias.fill_(-100.0)
    found = evaluate_gates(gates, [rows(20)], classes={"planted": range(6, VOCAB)})
    share = found.class_table("hard")["block 1"]
    assert share["planted"] == 0.0 and share["other"] == 1.0


def test_padding_counts_nowhere(gates):
    examples, pad = BATCHES[0], torch.nn.functional.pad
    padded = Examples(
        pad(examples.ids, (0, 4)),
        pad(examples.target, (0, 4), value=-100),
        real=pad(examples.counts, (0, 4)),
    )
    one, two = (evaluate_gates(gates, [given]).to_dict() for given in (examples, padded))
    assert one["tokens"] == two["tokens"]
    for way in ("open", "soft", "hard"):
        assert one[way]["loss"]["value"] == pytest.approx(two[way]["loss"]["value"], rel=1e-5)
        assert one[way]["by_layer"] == pytest.approx(two[way]["by_layer"], rel=1e-5)


def test_documents_are_the_units_also_across_batches(gates):
    a = Examples(BATCHES[0].ids, BATCHES[0].target, doc=torch.tensor([5, 5, 2]))
    b = Examples(BATCHES[1].ids, BATCHES[1].target, doc=torch.tensor([2, 9]))
    found = evaluate_gates(gates, [a, b])
    assert found.tokens.tolist() == [12, 12, 6]
    each = evaluate_gates(gates, BATCHES)
    assert len(each.tokens) == 5
    assert found.loss("soft").value == pytest.approx(each.loss("soft").value, rel=1e-9)
    assert found.sums["hard"][0] == pytest.approx(each.sums["hard"][2] + each.sums["hard"][3])


def test_intervals_cover_the_mean_of_the_documents_drawn_from():
    """Active shares drawn by document: 95 % intervals hold the true mean about as often."""
    rng, held = np.random.default_rng(0), 0
    for trial in range(100):
        tokens = np.full(40, 20.0)
        share = rng.beta(2, 5, size=(40, 1))
        runs = rng.binomial(20, np.repeat(share, 2, 1)).astype(float)
        sums = {"hard": np.ones((40, 3))}
        one = RoutingResult(
            3, sums, {"hard": runs}, tokens, {}, np.zeros(1), ("other",), draws=200, seed=trial
        )
        interval = one.active("hard")
        held += interval.low <= 2 / 7 <= interval.high
    assert 0.87 <= held / 100 <= 1


def test_one_document_has_no_interval_and_says_so(gates):
    found = evaluate_gates(gates, [rows(1)]).loss("hard")
    assert np.isnan(found.low) and "at least 2" in found.note


def test_it_is_ready_for_json(gates):
    said = evaluate_gates(gates, BATCHES, classes={"low": range(4)}).to_dict()
    assert json.loads(json.dumps(said)) == said
    assert said["documents"] == 5 and said["tokens"] == 30
    assert set(said["excess_loss"]) == {"soft - open", "hard - open", "random - open"}


def test_without_gates_it_is_the_model_alone(gates):
    found = evaluate_without_gates(gates.model, BATCHES)
    assert found.loss("open") == evaluate_gates(gates, BATCHES).loss("open")
    assert found.n_parameters == 0
    with pytest.raises(InputError, match="way must be one of open"):
        found.loss("hard")


def test_what_cannot_be_measured_says_why(gates):
    nothing = Examples(torch.zeros(1, 3, dtype=torch.long), torch.full((1, 3), -100))
    for given, message in [([], "no rows"), ([nothing], "has a target")]:
        with pytest.raises(InputError, match=message):
            evaluate_gates(gates, given)
    for classes, message in [
        ({"a": [1], "b": [1]}, "in class 'b' and in another"),
        ({"a": [99]}, "0 to 11"),
    ]:
        with pytest.raises(InputError, match=message):
            evaluate_gates(gates, BATCHES, classes=classes)
    model = small()
    model.host.train()
    with pytest.raises(ModelError, match="training mode"):
        evaluate_without_gates(model, BATCHES)
