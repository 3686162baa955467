"""Packing by exit depth on one model and its texts, from the policy to seconds: what docs/batching.md shows.

    python -m satlens.theory.batching.trial [--out FILE.json] [--table]

    documents 1 .. C     calibrate the policy (`satlens.exits.calibrate`)
    the others           their beginnings, of two lengths, are the prompts of the requests
                         depth and length told from the prompt's state, by documents' folds (`assess`)
                         schedulers simulated over patterns of arrival (`study`)
                         orders really run and timed (`time_orders`)
    planted              short prompts leave early and long ones never: timed where the answer is known
    mixed                made-up requests, of which more and more differ as a whole: what an oracle gains

On the bundled model and its corpus unless said otherwise, on one thread. The record has the settings, and the
table is made from it.
"""

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy import ndarray
from torch import Tensor

from satlens.errors import InputError
from satlens.exits.calibrate import calibrate
from satlens.exits.cost import measure
from satlens.exits.evaluate import evaluate
from satlens.exits.generation.generate import generate
from satlens.exits.policies import SoftmaxResponse
from satlens.exits.policy import Peek, Policy
from satlens.files import write_whole
from satlens.lenses.logit import LogitLens
from satlens.models.load import load_model
from satlens.models.protocol import ResidualModel
from satlens.models.wrap import wrap
from satlens.resampling import finite
from satlens.theory.batching.machine import Clock, Machine, position_bytes
from satlens.theory.batching.predict import PredictionReport, assess, prompt_states
from satlens.theory.batching.requests import Requests
from satlens.theory.batching.scheduler import SCHEDULERS, Scheduler
from satlens.theory.batching.study import FIRST, SHUFFLES, study
from satlens.theory.batching.timed import time_orders
from satlens.version import __version__
from satlens.zoo import CORPUS

RECORD = Path(__file__).parent / "results" / "tiny.json"
ORDERS = (
    SCHEDULERS[1],
    Scheduler("predicted depth", "depth"),
    Scheduler("oracle depth", "depth", knows=True),
)


@dataclass(frozen=True)
class Settings:
    """What repeats a trial."""

    calibration: int = 24
    epsilon: float = 0.2
    delta: float = 0.1
    words: tuple[int, ...] = (16, 80)
    most: int = 48
    rows: int = 8
    layers: tuple[int, ...] = (3, 7, 15)
    look_at: int = 3
    reading: float = 64.0
    load: float = 2.0
    seeds: int = 10
    fitting: int = 16
    timed: int = 40
    rounds: int = 3
    mixed: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    planted: int = 32
    planted_most: int = 24
    planted_rounds: int = 8
    seed: int = 0


@dataclass(frozen=True)
class ByPosition:
    """Positions before ``end`` leave after block ``layer``, those behind it nowhere: planted depths."""

    end: int
    layer: int
    name: str = "by position"

    def __call__(self, peek: Peek) -> Bool[Tensor, " token"]:
        """Which leave."""
        return (peek.pos < self.end) & torch.tensor(peek.layer >= self.layer)


def trial(model: Any, texts: Sequence[str], settings: Settings | None = None) -> dict[str, Any]:
    """Everything of the module, as a record ready for JSON.

    Raises:
        InputError: too few texts.
    """
    settings = settings or Settings()
    model = wrap(model)
    made = served(model, texts, settings)
    told = _told(model, made, settings)
    asked = made.asked.predicted(
        told["depth"][settings.look_at].predicted, told["length"][settings.look_at].predicted
    )
    return {
        "settings": asdict(settings), "model": model.name, "threshold": made.threshold,
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
        "versions": {"satlens": __version__, "torch": torch.__version__},
        "requests": _summary(asked, made.doc),
        "predicted": {what: {str(layer): one.to_dict() for layer, one in by.items()}
                      for what, by in told.items()},
        "simulated": _simulated(model, asked, settings),
        "timed": _timed(model, made.prompts, made.policy, asked, settings, settings.rounds),
        "planted": _planted(model, texts, settings),
        "mixed": _mixed(model, settings),
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Answered:
    """Prompts, the policy that answered them, and what was asked of the machine by that.

    Attributes:
        threshold: None where none can be vouched for, and the policy never leaves.
        doc: the document of each prompt.
    """

    policy: Policy
    threshold: Any
    doc: Int[ndarray, " request"]
    prompts: list[str]
    asked: Requests


def served(model: ResidualModel, texts: Sequence[str], settings: Settings) -> Answered:
    """Calibrate on the first texts, and answer beginnings of the others.

    Raises:
        InputError: too few texts. ModelError: a model that cannot be made to leave.
    """
    if len(texts) < settings.calibration + 5:
        raise InputError(
            f"{settings.calibration} documents calibrate and 5 or more are asked; got {len(texts)} texts."
        )
    policy, chosen = _policy(model, texts[: settings.calibration], settings)
    doc, prompts = _prompts(texts[settings.calibration :], settings.words)
    made = generate(model, prompts, policy, max_new_tokens=settings.most, batch_size=settings.rows)
    return Answered(policy, chosen, doc, prompts, Requests.of(made))


def _policy(model: ResidualModel, texts: Sequence[str], settings: Settings) -> tuple[Policy, Any]:
    """Softmax response at the lowest threshold that can be vouched for; `Never` if there is none."""
    asked = [SoftmaxResponse(float(value)) for value in np.linspace(0.3, 0.99, 24).round(3)]
    found = calibrate(evaluate(model, texts, asked), asked[0], settings.epsilon, settings.delta)
    return found.policy, found.threshold


def _prompts(texts: Sequence[str], words: Sequence[int]) -> tuple[ndarray, list[str]]:
    """The beginnings of each text, and its number."""
    pairs = [
        (doc, " ".join(text.split()[:length])) for doc, text in enumerate(texts) for length in words
    ]
    return np.array([doc for doc, _ in pairs]), [prompt for _, prompt in pairs]


def _told(
    model: ResidualModel, made: Answered, settings: Settings
) -> dict[str, dict[int, PredictionReport]]:
    found: dict[str, dict[int, PredictionReport]] = {"depth": {}, "length": {}}
    for layer in sorted({*settings.layers, settings.look_at}):
        states = prompt_states(model, made.prompts, layer)
        for what, by in found.items():
            y = getattr(made.asked, what).astype(float)
            by[layer] = assess(states, y, made.doc, made.asked.prompt, seed=settings.seed)
    return found


def predicted_depth(
    model: Any, texts: Sequence[str], settings: Settings, shuffles: int = SHUFFLES
) -> dict[str, Any]:
    """Does packing by predicted depth pay on this model? Depths told and schedulers simulated, nothing timed.

    Args:
        shuffles: dealings of the null, at most (`study`).

    Returns:
        The ``threshold`` of the policy, ``requests``, ``predicted`` (how well depth is told), and
        ``simulated`` with the verdicts; None for the last two where no token leaves early.

    Raises:
        InputError: too few texts, or unusable ones. ModelError: a model that cannot be made to leave.
    """
    model = wrap(model)
    made = served(model, texts, settings)
    said = {"threshold": made.threshold, "requests": _summary(made.asked, made.doc)}
    if np.ptp(made.asked.depth) == 0:
        return {**said, "predicted": None, "simulated": None}
    states = prompt_states(model, made.prompts, settings.look_at)
    told = assess(states, made.asked.depth, made.doc, made.asked.prompt, seed=settings.seed)
    asked = made.asked.predicted(told.predicted)
    few = [one for one in SCHEDULERS if one.name in (FIRST, ORDERS[1].name, ORDERS[2].name)]
    return {
        **said, "predicted": told.to_dict(), "simulated": _simulated(model, asked, settings, few, shuffles),
    }  # fmt: skip


def _drawn(asked: Requests, settings: Settings) -> list[tuple[int, ...]]:
    """Batches drawn at random, of 1 to ``rows`` requests: what the clock is fitted to."""
    rng = np.random.default_rng(settings.seed)
    sizes = 1 + np.arange(settings.fitting) % settings.rows
    return [tuple(rng.choice(len(asked), size, replace=False).tolist()) for size in sizes]


def _summary(asked: Requests, doc: ndarray) -> dict[str, Any]:
    depth, length = asked.depth, asked.length
    return {
        "requests": len(asked), "documents": len(np.unique(doc)), "blocks": asked.n_layers,
        "prompt": float(asked.prompt.mean()), "tokens": int(length.sum()),
        "length": np.quantile(length, [0.1, 0.5, 0.9]).tolist(),
        "depth": float(depth.mean()), "depth_spread": float(depth.std()),
        "between": finite(asked.between()),
    }  # fmt: skip


def _simulated(
    model: ResidualModel,
    asked: Requests,
    settings: Settings,
    schedulers: Sequence[Scheduler] = SCHEDULERS,
    shuffles: int = SHUFFLES,
) -> dict[str, Any]:
    """Room for half of the rows at the longest answer."""
    costs = measure(model, LogitLens(model))
    clock = Clock.counted(costs, reading=settings.reading, scored=1.0, look_at=settings.look_at)
    memory = settings.rows // 2 * (int(asked.prompt.max()) + settings.most)
    machine = Machine(clock, memory, settings.rows, settings.most, position_bytes(model))
    found = study(
        asked, machine, schedulers=schedulers, load=settings.load, seeds=settings.seeds,
        seed=settings.seed, shuffles=shuffles,
    )  # fmt: skip
    return found.to_dict() | {"position_bytes": machine.position_bytes}


def _timed(
    model: ResidualModel, prompts: list[Any], policy: Policy, asked: Requests, settings: Settings,
    rounds: int,
) -> dict[str, Any]:  # fmt: skip
    order = np.random.default_rng(settings.seed + 1).permutation(len(asked))[: settings.timed]
    asked, prompts = asked.take(order), [prompts[i] for i in order]
    found, clock = time_orders(
        model,
        prompts,
        policy,
        asked,
        ORDERS,
        _drawn(asked, settings),
        rows=settings.rows,
        rounds=rounds,
    )
    first = found[ORDERS[0].name]
    rows = {}
    for name, one in found.items():
        ratio = first.seconds / one.seconds
        rows[name] = {
            "batches": len(one.batches), "seconds": one.seconds.round(3).tolist(), "wasted": one.wasted,
            "simulated": first.simulated / one.simulated, "simulated_seconds": one.simulated,
            "measured": {"median": float(np.median(ratio)), "least": float(ratio.min()),
                         "most": float(ratio.max())},
        }  # fmt: skip
    fitted = {"step": float(2 * clock.once[0] - clock.once[1]), "row_block": float(clock.row[0]),
              "block": float(clock.once[1] - clock.once[0]), "position": clock.position}  # fmt: skip
    return {"orders": rows, "clock": fitted}


def _planted(model: ResidualModel, texts: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Half of the prompts leave after a quarter of the blocks, half never, in a random order."""
    ids = model.tokenizer(" ".join(texts))["input_ids"]
    most, n, long = settings.planted_most, settings.planted, settings.planted_most + 16
    policy = ByPosition(long, model.n_layers // 4 - 1)
    starts = range(0, n * 2 * long, 2 * long)
    prompts = [ids[at : at + (8 if own % 2 else long)] for own, at in enumerate(starts)]
    made = generate(model, prompts, policy, max_new_tokens=most, batch_size=settings.rows)
    asked = Requests.of(made)
    asked = asked.predicted(depth=asked.depth)
    return _timed(model, prompts, policy, asked, settings, settings.planted_rounds)


def _mixed(model: ResidualModel, settings: Settings) -> list[dict[str, Any]]:
    """Made-up requests: a share of each one's tokens leaves after a block of its own, the others anywhere."""
    last, n = model.n_layers - 1, 10 * settings.rows
    clock = Clock.counted(measure(model, LogitLens(model)), reading=settings.reading, scored=1.0)
    machine = Machine(clock, 2 * settings.rows * settings.most, settings.rows, settings.most)
    rng, rows = np.random.default_rng(settings.seed), []
    for share in settings.mixed:
        own = rng.integers(0, last + 1, (n, 1))
        any_layer = rng.integers(0, last + 1, (n, settings.most - 1))
        layers = np.where(rng.random(any_layer.shape) < share, own, any_layer)
        asked = Requests(np.full(n, 8), tuple(np.append(last, each) for each in layers), last + 1)
        found = study(
            asked, machine, schedulers=(SCHEDULERS[1], SCHEDULERS[5]), arrivals=["all at once"],
            seeds=settings.seeds, seed=settings.seed,
        )  # fmt: skip
        first, oracle = (found.estimates["all at once", SCHEDULERS[i].name] for i in (1, 5))
        rows.append({
            "share": share, "between": finite(asked.between()), "speed_up": oracle["speed_up"].to_dict(),
            "wasted": first["wasted"].to_dict(), "wasted_packed": oracle["wasted"].to_dict(),
        })  # fmt: skip
    return rows


def bundled() -> list[str]:
    """The stories of the bundled corpus."""
    return [
        text.strip() for text in CORPUS.read_text("utf-8").split("<|endoftext|>") if text.strip()
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run a trial on the bundled model, write its record and the table of it."""
    from satlens.theory.batching.tables import tables

    parser = argparse.ArgumentParser(prog="python -m satlens.theory.batching.trial")
    parser.add_argument("--out", type=Path, default=RECORD)
    parser.add_argument("--table", action="store_true", help="only the table of the record")
    asked = parser.parse_args(arguments)
    if not asked.table:
        torch.set_num_threads(1)
        record = trial(load_model("tiny"), bundled())
        write_whole(asked.out, json.dumps(record, indent=1) + "\n")
    record = json.loads(asked.out.read_text("utf-8"))
    write_whole(asked.out.with_suffix(".md"), tables(record))


if __name__ == "__main__":
    main()
