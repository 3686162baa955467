"""Planted effects are found, a true null is not; claims on rates are judged on curves with known answers."""

import dataclasses
import json

import numpy as np
import pytest

from satlens.errors import InputError
from satlens.theory.dynamics import RateSweep, Sequences, judge_sweep, sweep_rates
from satlens.theory.dynamics.claims import over_rates, to_frame
from satlens.theory.dynamics.sweep import dropped, in_order, over_seeds
from satlens.verdicts import FAILS, HOLDS, UNKNOWN

RATES = {"eta_z": (1.0,), "ratios": (2.0, 5.0)}
RUN = {"seeds": range(6), "steps": 100, "batch": 32, "momentum": 0.0, "start": "zero"}
SIZES = {"queries": 1, "common": 5, "distinct": 5, "length": 64}


@pytest.fixture(scope="module")
def planted():
    return sweep_rates(Sequences(**SIZES), **RATES, **RUN)


@pytest.fixture(scope="module")
def shuffled():
    return sweep_rates(Sequences(**SIZES, labels="shuffled"), **RATES, **RUN)


def verdicts(claims, statement):
    return [claim.verdict for claim in claims if claim.statement == statement]


def test_distinct_tokens_are_found(planted, shuffled):
    claims = judge_sweep(planted, shuffled)
    for statement in ("attention leaves common tokens", "the more frequent rise more"):
        assert verdicts(claims, statement) == [HOLDS, HOLDS]
    assert len(to_frame(claims)) == len(claims) == 6 * 2 + 4


def test_without_distinct_tokens_attention_does_not_leave_the_common_ones(shuffled):
    settings = shuffled.settings
    relabelled = {**settings, "sequences": {**settings["sequences"], "labels": "own"}}
    other = sweep_rates(
        Sequences(**SIZES, labels="shuffled"), **RATES, **{**RUN, "seeds": range(50, 56)}
    )
    pretended = dataclasses.replace(other, settings=relabelled)
    claims = judge_sweep(pretended, shuffled)
    assert HOLDS not in verdicts(claims, "attention leaves common tokens")


def test_tokens_that_are_alike_show_no_order():
    """A true null: distinct tokens of equal frequency. Intervals over seeds cover 1/2."""
    alike = Sequences(queries=1, common=2, distinct=4, low=1.0, high=1.0, length=16)
    found = sweep_rates(
        alike, (1.0,), (2.0,), seeds=range(150), steps=12, batch=8, momentum=0.0, start="zero"
    )
    for name in ("growth", "dropped"):
        groups = found.values[name][:, 0].reshape(15, 10)
        estimates = [over_seeds(group) for group in groups]
        covered = np.mean([one.low <= 0.5 <= one.high for one in estimates])
        assert covered >= 0.8, name


def by_hand(freeze, rates, common=0.5):
    """A sweep of three seeds whose freeze steps, and attention on common tokens there, are given."""
    slopes = np.array([[-0.02], [0.0], [0.02]])  # that differ a little
    flat = np.ones((3, len(rates)))
    names = ("common_start", "common_end", "top", "rarest_logit", "growth", "dropped", "after")
    values = {name: 0.5 * flat for name in names}
    values["freeze"] = rates[:, 1] ** slopes * freeze
    values["common_freeze"] = flat * common + 0.1 * slopes * np.log(rates).sum(1)
    settings = {"sequences": {"labels": "own"}, "seeds": [0, 1, 2]}
    return RateSweep(rates, values, {}, np.arange(1), settings)


GRID = np.array([[z, r] for z in (0.5, 1.0, 2.0) for r in (1.0, 5.0, 10.0)])
ETA_Z, RATIO = GRID.T


@pytest.mark.parametrize(
    ("freeze", "earlier", "pace"),
    [
        (1000 / (ETA_Z * RATIO), HOLDS, HOLDS),  # 1 / eta_Y
        (1000 / (ETA_Z * RATIO**0.5), HOLDS, HOLDS),
        (1000 / ETA_Z, FAILS, HOLDS),
        (1000 / RATIO, HOLDS, FAILS),
        (1000 * np.ones(9), FAILS, FAILS),
        (100 * RATIO / ETA_Z, FAILS, HOLDS),
    ],
)
def test_claims_on_the_step_have_known_answers(freeze, earlier, pace):
    claims = over_rates(by_hand(freeze, GRID))
    assert verdicts(claims, "the freeze comes earlier with a larger ratio") == [earlier]
    assert verdicts(claims, "both rates together only set the pace") == [pace]


@pytest.mark.parametrize(
    ("common", "more", "alone"),
    [
        (0.3 + 0.1 * np.log(RATIO), HOLDS, HOLDS),
        (0.3 + 0.0 * RATIO, FAILS, HOLDS),
        (0.3 + 0.1 * np.log(RATIO * ETA_Z), HOLDS, FAILS),  # eta_Y alone
        (0.9 - 0.1 * np.log(ETA_Z), FAILS, FAILS),
    ],
)
def test_claims_on_the_place_have_known_answers(common, more, alone):
    claims = over_rates(by_hand(100 * np.ones(9), GRID, common))
    assert verdicts(claims, "a larger ratio leaves more on common tokens") == [more]
    assert verdicts(claims, "the ratio alone decides where it freezes") == [alone]


def test_what_did_not_freeze_tells_nothing():
    freeze = np.where(RATIO == 1.0, np.inf, 1000 / RATIO)
    one = by_hand(freeze, GRID)
    null = dataclasses.replace(one, settings={**one.settings, "sequences": {"labels": "shuffled"}})
    claims = judge_sweep(one, null)
    assert verdicts(claims, "it snaps") == [UNKNOWN, FAILS, FAILS] * 3
    assert verdicts(claims, "the freeze comes earlier with a larger ratio") == [HOLDS]
    none = over_rates(by_hand(np.full(9, np.inf), GRID))
    assert verdicts(none, "the freeze comes earlier with a larger ratio") == [UNKNOWN]


def test_pairs_are_counted_as_by_hand():
    assert in_order(np.array([[1.0, 1.0, 0.0]]))[0] == pytest.approx(0.5 / 3)
    left = np.array([[[0, 3, 2, 5], [5, 5, 1, 5]]])
    # (0,3)(0,2)(0,5)(3,5)(2,5) in order, (3,2) not; then (5,1)(5,1) not, (1,5) in order, three do not count
    assert dropped(left, 5)[0] == pytest.approx(6 / 9)


def test_saved_and_read_again(planted, tmp_path):
    planted.save(tmp_path / "sweep.json")
    again = RateSweep.load(tmp_path / "sweep.json")
    assert again.settings["seeds"] == list(RUN["seeds"])
    for name, values in planted.values.items():
        assert again.values[name] == pytest.approx(values, rel=1e-4, nan_ok=True)
    assert len(again.to_frame()) == 2
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(InputError, match="holds no sweep of rates"):
        RateSweep.load(tmp_path / "other.json")
    said = json.loads((tmp_path / "sweep.json").read_text())
    del said["values"]["freeze"]
    (tmp_path / "sweep.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="was changed after it was written"):
        RateSweep.load(tmp_path / "sweep.json")
    with pytest.raises(InputError, match="Cannot read"):
        RateSweep.load(tmp_path / "none.json")


def test_sweeps_that_do_not_belong_together_are_refused(planted, shuffled):
    with pytest.raises(InputError, match="got \\['own', 'own'\\]"):
        judge_sweep(planted, planted)
    other = dataclasses.replace(shuffled, settings={**shuffled.settings, "steps": 7})
    with pytest.raises(InputError, match="with other settings"):
        judge_sweep(planted, other)
    with pytest.raises(InputError, match="seeds must be different"):
        sweep_rates(Sequences(), seeds=(1, 1))
