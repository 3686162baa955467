"""The report on a frozen model: rows, kinds of token, what is judged, and that nothing leaks."""

import json

import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError, ModelError
from satlens.models import wrap
from satlens.routing import skip_and_saturation
from satlens.routing.examples import NOT_SCORED
from satlens.routing.study import examples_of, kind_of_token, report, rows_of, token_classes
from satlens.verdicts import AS_PUBLISHED, FAILS, HOLDS, UNKNOWN, rule
from tests.builders import random_hf, random_ids, random_other_hf

WEAK = (HOLDS, UNKNOWN, FAILS)
TRAINING, HELD_OUT = random_ids(50, [12, 20, 9, 15], seed=1), random_ids(50, [10, 18, 7], seed=2)


@pytest.fixture(scope="module")
def host():
    return random_hf("llama", vocab=50, layers=4).eval()


def asked(host):
    return report(
        host, TRAINING, HELD_OUT, penalties=(0.0, 50.0), steps=6, lr=0.1, draws=1, batch_size=2,
        train_seeds=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(host):
    return asked(host)


def test_the_model_stays_as_it_is(host, found):
    again = random_hf("llama", vocab=50, layers=4)
    for one, other in zip(host.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other) and one.grad is None and one.requires_grad
    assert not host.training and not any(m._forward_hooks for m in host.modules())


def test_every_lambda_is_measured_on_the_held_out(host, found):
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    asked = [(one["penalty"], one["seed"]) for one in said["runs"]]
    assert asked == [(0.0, 0), (0.0, 1), (50.0, 0)]
    events = satlens.detect(host, HELD_OUT, k=1)
    for one in found.runs:
        assert one.result.tokens.sum() == len(events)
        assert one.result.sums["open"][:, 2].tolist() == [9, 17, 6]
        hard, exits = one.result.loss("hard").value, one.exit.loss.value
        assert (
            0 < one.result.active("hard").value < 1
            and one.over_random.value
            and one.over_exit.value
        )
        assert one.over_exit.value == pytest.approx(exits - hard)
        assert one.over_random.value == pytest.approx(one.result.loss("random").value - hard)
    names = [one["id"] for one in found.verdicts]
    assert names[:4] == [
        "router_beats_chance", "router_beats_early_exit", "hard_gates_keep_the_loss",
        "soft_gates_keep_the_loss_as_published",
    ]  # fmt: skip
    for verdict, way in zip(found.verdicts[2:4], ("hard", "soft"), strict=True):
        both = [one.result.loss_spared(0.01, way) for one in found.runs[:2]]
        words = [rule(one, 0.01, "it")[0] for one in both]
        same = words[0] == words[1]
        assert verdict["verdict"] in ((words[0], AS_PUBLISHED) if same else (UNKNOWN,))
        assert ("So in each of 2 trainings" in verdict["why"]) == same
        least = [
            one for one, word in zip(both, words, strict=True) if word == max(words, key=WEAK.index)
        ]
        assert verdict["effect"]["value"] == pytest.approx(min(least, key=lambda e: e.low).value)
        assert verdict["effect"]["value"] == pytest.approx(
            0.01 - max(one.result.excess_loss(way).value for one in found.runs[:2]), abs=0.02
        )
    for one, run, skip in zip(said["runs"], found.runs, found.skips, strict=True):
        assert skip.tokens == 9 + 17 + 6
        alone = skip_and_saturation(run.gates, HELD_OUT, draws=1).to_dict()
        assert one["skipping"] == {
            name: alone[name] for name in ("correlation", "partial", "excess")
        }


def test_the_same_seed_gives_the_same(host, found):
    assert asked(host).to_dict() == found.to_dict()


def test_the_open_loss_is_the_models_own(host, found):
    for row, ids in enumerate(HELD_OUT):
        with torch.no_grad():
            logits = host(torch.tensor([ids])).logits[0, :-1]
        nats = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum")
        assert found.runs[0].result.sums["open"][row, 0] == pytest.approx(float(nats), rel=1e-5)


def test_rows_are_scored_where_a_counted_token_has_a_next_one(tiny_host):
    model = wrap(tiny_host)
    batches = model.batches(["Lily had a red ball.", "The dog ran."], 2)
    (examples,) = examples_of(batches)
    for row, own in enumerate(batches.rows):
        n = len(own.ids)
        assert examples.ids[row, :n].tolist() == own.ids.tolist()
        assert examples.target[row, n - 1 :].eq(NOT_SCORED).all()
        wanted = [
            int(own.ids[i + 1]) if own.real[i] and own.real[i + 1] else NOT_SCORED
            for i in range(n - 1)
        ]
        assert examples.target[row, : n - 1].tolist() == wanted
    drawn = rows_of(batches, seed=3)
    assert torch.equal(drawn(5).ids, drawn(5).ids)


def test_kinds_of_token(tiny_host):
    kinds = token_classes(wrap(tiny_host))
    every = [one for ids in kinds.values() for one in ids]
    assert len(every) == len(set(every)) and {"word start", "inside a word", "punctuation"} <= set(
        kinds
    )
    assert kind_of_token("a1") == "" and kind_of_token(" don't") == "word start"


def test_a_router_that_is_asked_hard_skips_more(found):
    little, _, much = (one.result.active("soft").value for one in found.runs)
    assert much < little


def test_what_is_refused(host):
    with pytest.raises(InputError, match="Give a penalty or more"):
        report(host, TRAINING, HELD_OUT, penalties=())
    with pytest.raises(InputError, match="steps=0"):
        report(host, TRAINING, HELD_OUT, steps=0)
    with pytest.raises(InputError, match="draws=0"):
        report(host, TRAINING, HELD_OUT, draws=0)
    with pytest.raises(InputError, match="2 of the 5 held-out documents are among the training"):
        report(host, TRAINING, [*HELD_OUT, *TRAINING[:2]], steps=1)
    with pytest.raises(ModelError, match="does not predict the next token of a text"):
        report(random_other_hf("bert"), TRAINING, HELD_OUT)
    assert np.isfinite(sum(float(p.detach().abs().sum()) for p in host.parameters()))


def test_a_rank_that_the_model_has_not_is_refused_before_anything_is_trained(host):
    model, passes = wrap(host), []
    handle = host.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        with pytest.raises(InputError, match="top k=51"):
            report(model, TRAINING, HELD_OUT, steps=1, rank=51)
    finally:
        handle.remove()
    assert not passes
