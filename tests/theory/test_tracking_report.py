"""What training brought: planted trainings in which the layer moves or not, and order appears."""

import copy
import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError, ModelError
from satlens.models import weights_sha256, wrap
from satlens.resampling import Estimate
from satlens.theory.tracking import Checkpoints, report
from satlens.theory.tracking import track as follow
from satlens.theory.tracking.rows import Checkpoint, Track
from satlens.theory.tracking.stored import Stored
from satlens.theory.tracking.summary import moved, order_verdict
from satlens.verdicts import FAILS, HOLDS, UNKNOWN
from tests.builders import random_hf
from tests.theory.test_track import SMALL, documents


def writing(blocks):
    """A model in which only the first blocks write: every rank is fixed behind them."""
    model = random_hf("llama", layers=6)
    with torch.no_grad():
        for block in model.model.layers[blocks:]:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
    return model


def sharper(model):
    """Other weights, the same rankings in every layer."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.lm_head.weight *= 2
    return model


def course(**models):
    """Checkpoints step5=model or step5=function."""
    stored = [
        Stored(int(name.removeprefix("step")), name, made if callable(made) and not
               isinstance(made, torch.nn.Module) else lambda made=made: made)
        for name, made in models.items()
    ]  # fmt: skip
    return Checkpoints("planted", tuple(stored))


def verdict_of(found, name):
    return {one["id"]: one for one in found.verdicts}[name]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (writing(1), writing(6), HOLDS),
        (writing(6), writing(1), FAILS),
        (writing(4), sharper(writing(4)), FAILS),
    ],
    ids=["later", "earlier", "not at all"],
)
def test_a_planted_move_is_found_and_no_other(before, after, said):
    found = report(
        course(step0=before, step10=writing(3), step50=after), documents(number=8), **SMALL
    )
    judged = verdict_of(found, "answer_moves_to_later_layers")
    assert judged["verdict"] == said and judged["null"] == "untrained"
    layers = [
        satlens.detect(model, documents(number=8), k=3).layer[:, 0].mean()
        for model in (before, after)
    ]
    assert judged["effect"]["value"] == pytest.approx((layers[1] - layers[0]) / 6)
    if said == FAILS and layers[0] == layers[1]:
        assert judged["effect"]["ci"] == [0, 0]
    assert not found.twin and found.n_layers == 6


def test_the_interval_is_paired_and_covers():
    """Documents differ much, and their move does not: 95 of 100 intervals hold it, and are short."""
    rng, held, short = np.random.default_rng(0), 0, []
    for trial in range(200):
        tokens = rng.integers(20, 60, 30)
        base = rng.uniform(1, 7, 30)  # a document's own layer
        change = 0.4 + rng.normal(0, 0.3, 30)
        before, after = (row(base, tokens), row(base + change, tokens))
        one = moved(before, after, 8, seed=trial)
        held += one.low <= 0.4 / 8 <= one.high
        short.append(one.high - one.low)
    assert 0.88 * 200 <= held <= 0.99 * 200
    assert np.mean(short) < 0.04  # unpaired it would be 0.2 and more


def row(layer, tokens, **change):
    known = Estimate(1.0, 0.9, 1.1)
    values = dict(
        step=0, weights_sha256="", tokens=int(np.sum(tokens)), documents=len(tokens), loss=known,
        mean_layer=(known,), censored=(known,), concordance=known, comparable=known, excess={},
        verdict=FAILS, why="", rank_1=tuple(zip(np.multiply(layer, tokens), map(float, tokens), strict=True)),
    )  # fmt: skip
    return Checkpoint(**(values | change))


def test_rows_of_other_documents_are_not_compared():
    with pytest.raises(InputError, match="did not read the same documents"):
        moved(row([1, 2], [5, 5]), row([1, 2], [5, 6]), 4)
    with pytest.raises(InputError, match="measure them again"):
        moved(row([1, 2], [5, 5]), row([1, 2], [5, 5], rank_1=()), 4)


ORDERED, NOT = Estimate(0.06, 0.04, 0.08, p=0.001), Estimate(-0.01, -0.02, 0.0, p=0.9)


def ordered_from(first, steps=(0, 10, 100)):
    rows = [
        row([1, 2], [5, 5], step=step, verdict=HOLDS if holds else FAILS, why="as it is",
            excess={"rotated": Estimate(0.3, 0.2, 0.4), "exchanged": ORDERED if holds else NOT})
        for step in steps for holds in [first is not None and step >= first]
    ]  # fmt: skip
    return Track(tuple(rows), {"margin": 0.02, "seed": 0})


@pytest.mark.parametrize(
    ("found", "said", "why"),
    [
        (ordered_from(10), HOLDS, r"From step 10 on\. The interval"),
        (ordered_from(100), HOLDS, r"From step 100 on\. The interval"),
        (ordered_from(None), FAILS, "excludes an effect of 0.02 or more"),
        (ordered_from(0), FAILS, "step 0 too: it is not training"),
        (ordered_from(10, (10, 100)), UNKNOWN, "no untrained model is beside"),
        (ordered_from(100, (10, 100)), HOLDS, "From step 100 on"),
    ],
)
def test_order_that_is_planted_from_a_step_on(found, said, why):
    judged = order_verdict(found)
    assert judged["verdict"] == said and judged["null"] == "exchanged"
    import re

    assert re.search(why, judged["why"])
    wanted = ORDERED if found.rows[-1].verdict == HOLDS else NOT
    assert judged["effect"]["ci"] == [wanted.low, wanted.high]


def test_without_one_of_the_nulls_order_cannot_be_told():
    found = ordered_from(10)
    last = dataclasses.replace(
        found.rows[-1], excess={"rotated": ORDERED}, verdict=UNKNOWN, why="No donor."
    )
    judged = order_verdict(Track((*found.rows[:-1], last), found.settings))
    assert (judged["verdict"], judged["why"], judged["p"]) == (UNKNOWN, "No donor.", None)


def test_it_is_what_track_gives_with_an_untrained_twin_in_front(tmp_path):
    models = [random_hf("llama", seed=seed) for seed in (1, 2)]
    found = report(
        course(step10=models[0], step20=models[1]),
        documents(),
        seed=3,
        folder=tmp_path / "rows",
        **SMALL,
    )
    twin = satlens.untrained(models[0], 3)
    wanted = follow([(0, twin), (10, models[0]), (20, models[1])], documents(), seed=3, **SMALL)
    assert [one.to_dict() for one in found.track.rows] == [one.to_dict() for one in wanted.rows]
    said = found.to_dict()["checkpoints"]
    assert [(one["step"], one["name"], one["twin"]) for one in said] == [
        (0, "untrained, seed 3", True), (10, "step10", False), (20, "step20", False),
    ]  # fmt: skip
    assert said[0]["weights_sha256"] == weights_sha256(wrap(twin))
    again = report(
        course(step10=models[0], step20=models[1]),
        documents(),
        seed=3,
        folder=tmp_path / "rows",
        **SMALL,
    )
    assert again.to_dict() == found.to_dict()
    bare = report(
        course(step10=models[0], step20=models[1]), documents(), untrained_seeds=0, **SMALL
    )
    assert [row.step for row in bare.track.rows] == [10, 20]
    judged = verdict_of(bare, "answer_moves_to_later_layers")
    assert judged["verdict"] == UNKNOWN and "no untrained model to compare with" in judged["why"]
    with pytest.raises(InputError, match="untrained_seeds must be 0 or 1, got 2"):
        report(course(step10=models[0], step20=models[1]), documents(), untrained_seeds=2, **SMALL)


def test_a_model_without_a_twin_is_followed_without(monkeypatch):
    def none(model, seed):
        raise ModelError("cannot be built anew")

    monkeypatch.setattr("satlens.theory.tracking.summary.untrained", none)
    found = report(course(step5=writing(1), step6=writing(2)), documents(), **SMALL)
    assert found.notes[0] == "untrained: not available. cannot be built anew" and not found.twin


def test_one_model_at_a_time_besides_the_twin_being_made():
    alive = []

    def fresh(seed):
        def load():
            gc.collect()
            assert len([one for one in alive if one() is not None]) == 0
            model = random_hf("llama", seed=seed)
            alive.append(weakref.ref(model))
            return model

        return load

    found = report(course(step5=fresh(1), step6=fresh(2)), documents(), progress=True, **SMALL)
    assert len(found.track.rows) == 3 and len(alive) == 3
    assert any("is not below that of step 0" in note for note in found.notes) == (
        found.track.rows[-1].loss.value >= found.track.rows[0].loss.value
    )


def test_batches_are_read_as_they_are():
    model = random_hf("llama", seed=1)
    batches = wrap(model).batches(documents(), 8).first(30)
    rows = follow([(0, model)], batches, **SMALL).rows
    assert rows[0].tokens == batches.n_tokens == 42
