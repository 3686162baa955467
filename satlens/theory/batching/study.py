"""`study`: schedulers side by side, over patterns of arrival and seeds of each, with a null and a verdict.

    s_x = throughput of x / throughput of first come          same requests, same arrivals
    gain of a prediction                s_x - 1
    over its null                       s_x - s_x under the best of 19 shuffles
    share of the oracle's gain          sum over seeds (s_x - 1) / sum over seeds (s_oracle - 1)

A seed draws the order of the requests and their times of arrival. Intervals are over these seeds, the
requests being what they are: whether other requests would do the same is not in them. The rate of arrival is
``load`` times the rate at which first come serves them when all are there at once.

The null deals the predictions to other requests, 19 times, each dealing for all seeds. Predictions that know
nothing are one more such dealing, good or bad by chance for all seeds alike, so they are the best of the 20
with probability 1/20. Where they are, and more dealings were asked for, these go on until one does as well:
p = 1 / (dealings up to it), or 1 / (dealings + 1) if none does (Besag and Clifford 1991). The verdict is on
the gain and on the gain over the best of the 19, whichever has the lower end of its interval lower. An oracle
reads the truth: a bound for what a better prediction gives this packing, not for every packing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap
from satlens.significance import permutation_p
from satlens.theory.batching.machine import Machine
from satlens.theory.batching.requests import ARRIVALS, Requests
from satlens.theory.batching.scheduler import SCHEDULERS, Scheduler
from satlens.theory.batching.simulate import simulate
from satlens.verdicts import rule

FIRST, RESERVED = SCHEDULERS[1].name, SCHEDULERS[0].name
ORACLES = {
    "predicted depth": "oracle depth",
    "predicted depth and length": "oracle depth and length",
}
"""Which scheduler knows what another predicts."""
SHUFFLED = ", shuffled"
"""In the values: the mean of the shuffles."""
SHUFFLES = 19
MARGIN = 0.02
"""A gain in throughput below this is too small to speak of."""


@dataclass(frozen=True, eq=False)
class BatchingStudy:
    """What every scheduler gave.

    Attributes:
        values: by pattern and scheduler, a number a seed of each name in `Served.numbers`; "speed_up", the
            throughput over that of first come; and "over_reserved", over that with the maximum reserved.
        estimates: their means, with intervals over the seeds.
        verdicts: on each scheduler that orders by predicted depth, by pattern.
    """

    values: Mapping[tuple[str, str], Mapping[str, Float[ndarray, " seed"]]]
    estimates: Mapping[tuple[str, str], Mapping[str, Estimate]]
    verdicts: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]

    def table(self) -> pd.DataFrame:
        """One row a pattern and scheduler; ``_low`` and ``_high`` are the ends of the intervals."""
        rows = []
        for (pattern, name), found in self.estimates.items():
            row: dict[str, Any] = {"arrivals": pattern, "scheduler": name}
            for key, own in found.items():
                row |= {key: own.value, f"{key}_low": own.low, f"{key}_high": own.high}
            rows.append(row)
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        rows = [
            {"arrivals": pattern, "scheduler": name}
            | {key: own.to_dict() for key, own in found.items()}
            for (pattern, name), found in self.estimates.items()
        ]
        return {"rows": rows, "verdicts": list(self.verdicts), "settings": dict(self.settings)}


def study(
    requests: Requests,
    machine: Machine,
    *,
    schedulers: Sequence[Scheduler] = SCHEDULERS,
    arrivals: Sequence[str] = tuple(ARRIVALS),
    load: float = 1.0,
    seeds: int = 10,
    seed: int = DEFAULT_SEED,
    draws: int = DRAWS,
    level: float = LEVEL,
    margin: float = MARGIN,
    shuffles: int = SHUFFLES,
) -> BatchingStudy:
    """Simulate every scheduler on the same arrivals.

    Args:
        requests: with predictions where a scheduler needs them; arrivals that they have are not used.
        schedulers: "first come" among them; each that predicts runs with shuffled predictions as well.
        arrivals: names of patterns, see `ARRIVALS`.
        load: rate of arrival over the rate at which first come serves.
        seeds: how many orders and times of arrival.
        shuffles: dealings of the null, at most; more than 19 only make p smaller where none does as well.

    Raises:
        InputError: what `simulate` refuses; unknown patterns, no "first come", fewer than 2 seeds or 19
            shuffles.
    """
    names = [one.name for one in schedulers]
    if FIRST not in names or len(set(names)) < len(names):
        raise InputError(
            f"The schedulers need names of their own, and one must be {FIRST!r}, which the others are "
            f"compared with; got {names}."
        )
    if unknown := [name for name in arrivals if name not in ARRIVALS]:
        raise InputError(f"No such arrivals: {unknown}. Choices: {', '.join(ARRIVALS)}.")
    if seeds < 2:
        raise InputError(f"Intervals are over seeds: at least 2 are needed, got {seeds}.")
    if shuffles < SHUFFLES:
        raise InputError(f"The null has {SHUFFLES} shuffles or more, got {shuffles}.")
    first = schedulers[names.index(FIRST)]
    rate = (
        load
        * len(requests)
        / simulate(requests.at(np.zeros(len(requests))), first, machine).seconds
    )
    how: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
    values, judged = {}, []
    for pattern in arrivals:
        own = list(_arrivals(pattern, len(requests), rate, seeds, seed))
        noise = _dealings(requests, seed, shuffles)
        found, gains = _over_seeds(requests, machine, schedulers, own, noise)
        values |= {(pattern, name): numbers for name, numbers in found.items()}
        for one in schedulers:
            if one.order == "depth" and one.predicts:
                speed = values[pattern, one.name]["speed_up"]
                base = values[pattern, FIRST]["throughput"]
                p = _p(speed, gains[one.name], base, requests, machine, one, own, noise)
                judged.append(_judge(values, gains[one.name], pattern, one.name, margin, p, **how))
    estimates = {key: {name: _mean(own, **how) for name, own in found.items()}
                 for key, found in values.items()}  # fmt: skip
    settings = {
        "requests": len(requests), "memory": machine.memory, "rows": machine.rows, "most": machine.most,
        "load": load, "rate": rate, "seeds": seeds, "shuffles": shuffles, "margin": margin, **how,
    }  # fmt: skip
    return BatchingStudy(values, estimates, judged, settings)


def _arrivals(
    pattern: str, n: int, rate: float, seeds: int, seed: int
) -> Iterator[tuple[Int[ndarray, " request"], Float[ndarray, " request"]]]:
    """By seed, the order of the requests and their times of arrival."""
    for own in _seeds(seed, 0, seeds):
        order, times = (int(word) for word in own.generate_state(2))
        yield np.random.default_rng(order).permutation(n), ARRIVALS[pattern](n, rate, times)


def _dealings(requests: Requests, seed: int, n: int) -> list[Requests]:
    """The requests with the predictions of others."""
    return [requests.shuffled(int(own.generate_state(1)[0])) for own in _seeds(seed, 1, n)]


def _over_seeds(
    requests: Requests, machine: Machine, schedulers: Sequence[Scheduler],
    arrivals: Sequence[tuple[ndarray, ndarray]], noise: Sequence[Requests],
) -> tuple[dict[str, dict[str, ndarray]], dict[str, ndarray]]:  # fmt: skip
    """By scheduler, each number of every seed; the gains of the first 19 shuffles, ``[shuffle, seed]``."""
    found: dict[str, list[dict[str, float]]] = {}
    gains: dict[str, list[list[float]]] = {}
    for mixed, arrival in arrivals:

        def serve(
            asked: Requests, one: Scheduler, mixed: ndarray = mixed, arrival: ndarray = arrival
        ) -> dict[str, float]:
            return simulate(asked.take(mixed).at(arrival), one, machine).numbers()

        made = {one.name: serve(requests, one) for one in schedulers}
        base = {"speed_up": made[FIRST]["throughput"]}
        if RESERVED in made:
            base["over_reserved"] = made[RESERVED]["throughput"]
        for one in schedulers:
            if not one.predicts:
                continue
            shuffles = [serve(asked, one) for asked in noise[:SHUFFLES]]
            made[one.name + SHUFFLED] = {
                key: float(np.mean([other[key] for other in shuffles])) for key in shuffles[0]
            }
            speed = [other["throughput"] / base["speed_up"] for other in shuffles]
            gains.setdefault(one.name, []).append(speed)
        for name, numbers in made.items():
            numbers |= {key: numbers["throughput"] / value for key, value in base.items()}
            found.setdefault(name, []).append(numbers)
    values = {
        name: {key: np.array([own[key] for own in rows]) for key in rows[0]}
        for name, rows in found.items()
    }
    return values, {name: np.array(own).T for name, own in gains.items()}


def _p(
    own: Float[ndarray, " seed"], null: Float[ndarray, "shuffle seed"], first_come: ndarray,
    requests: Requests, machine: Machine, scheduler: Scheduler,
    arrivals: Sequence[tuple[ndarray, ndarray]], noise: Sequence[Requests],
) -> float:  # fmt: skip
    """Of the mean gain among 19 shuffles; if none does as well, of as many as it takes, or as there are."""
    p = permutation_p(float(own.mean()), null.mean(1), "greater")
    if p > 1 / (len(null) + 1):
        return p
    for n, asked in enumerate(noise[len(null) :], len(null) + 1):
        served = [
            simulate(asked.take(mixed).at(arrival), scheduler, machine).throughput
            for mixed, arrival in arrivals
        ]
        one = (np.array(served) / first_come).mean(keepdims=True)
        if permutation_p(float(own.mean()), one, "greater") == 1:
            return 1 / n
    return 1 / (len(noise) + 1)


def _seeds(seed: int, stream: int, n: int) -> list[np.random.SeedSequence]:
    return np.random.SeedSequence([seed, stream]).spawn(n)


def _mean(values: Float[ndarray, " seed"], **how: Any) -> Estimate:
    """The mean, with its interval over the seeds."""
    sums = np.stack([values, np.ones(len(values))], 1)
    return bootstrap(sums, lambda s: s[..., :1] / s[..., 1:], **how)[0]


def _judge(
    values: Mapping[tuple[str, str], Mapping[str, ndarray]], null: Float[ndarray, "shuffle seed"],
    pattern: str, name: str, margin: float, p: float, **how: Any,
) -> dict[str, Any]:  # fmt: skip
    own = values[pattern, name]["speed_up"]
    over = {
        "first come": _mean(own - 1, **how),
        f"the best of {len(null)} shuffles": _mean(own - null[null.mean(1).argmax()], **how),
    }
    against = min(over, key=lambda one: over[one].low)
    effect = over[against]
    found, why = rule(effect, margin, f"the gain in throughput over {against}")
    share = None
    if (pattern, ORACLES.get(name, "")) in values:
        oracle = values[pattern, ORACLES[name]]["speed_up"] - 1
        share = _share(own - 1, oracle, **how).to_dict()
    return {
        "id": f"{name}, {pattern}",
        "statement": f"Packing by {name} serves more tokens a second than first come ({pattern}).",
        "verdict": found,
        "effect": {"name": f"gain in throughput over {against}", **effect.to_dict()},
        "share_of_oracle": share,
        "p": p, "why": why, "null": against,
    }  # fmt: skip


def _share(gain: ndarray, oracle: ndarray, **how: Any) -> Estimate:
    """NaN unless the oracle gains."""

    def ratio(s: ndarray) -> ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(s[..., 1:] > 0, s[..., :1] / s[..., 1:], np.nan)

    return bootstrap(np.stack([gain, oracle], 1), ratio, **how)[0]
