"""Packing requests by the depth that their prompts let expect: `satlens.theory.batching` on the model.

Documents of the corpus: the first ones calibrate a policy, the others' beginnings are what is asked.
Schedulers are simulated; nothing is timed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satlens.claims.experiments.base import Experiment, Of
from satlens.conventions import DEFAULT_SEED
from satlens.models import ResidualModel
from satlens.survey.corpus import BUNDLED, SEPARATOR, read_corpus
from satlens.theory.batching import trial


@dataclass(frozen=True)
class PackingSettings:
    """What decides what comes out.

    Attributes:
        calibration: documents that choose the policy's threshold.
        asked: documents whose beginnings are asked. words: of each beginning.
        most: new tokens of an answer. rows: sequences in a batch.
        epsilon, delta: of the calibration (`satlens.exits.calibrate`).
        reading: multiply-adds that reading a weight is worth.
        load: rate of arrival over the rate of serving. seeds: of order and arrivals.
        shuffles: dealings of the null, at most.
    """

    corpus: str = BUNDLED
    separator: str = SEPARATOR
    seed: int = DEFAULT_SEED
    calibration: int = 24
    asked: int = 40
    words: tuple[int, ...] = (16, 80)
    most: int = 48
    rows: int = 8
    epsilon: float = 0.2
    delta: float = 0.1
    reading: float = 64.0
    load: float = 2.0
    seeds: int = 10
    shuffles: int = 999


def make(of: Of, model: ResidualModel | None, out: Path, progress: bool) -> dict[str, Any]:
    """Calibrate, generate, predict, simulate, judge."""
    assert model is not None
    own: PackingSettings = of("packing")
    texts = list(read_corpus(own.corpus, separator=own.separator).documents)
    settings = trial.Settings(
        calibration=own.calibration, words=own.words, most=own.most, rows=own.rows, layers=(),
        look_at=max(model.n_layers // 4 - 1, 0), epsilon=own.epsilon, delta=own.delta,
        reading=own.reading, load=own.load, seeds=own.seeds, seed=own.seed,
    )  # fmt: skip
    found = trial.predicted_depth(
        model, texts[: own.calibration + own.asked], settings, own.shuffles
    )
    simulated = found.pop("simulated")
    if simulated is None:
        why = "No token leaves early" if found["threshold"] else "No threshold can be vouched for"
        return {"verdicts": [], "notes": [f"{why}: there is nothing to pack by."], "found": found}
    verdicts = [
        {name: value for name, value in one.items() if name != "share_of_oracle"}
        | {"id": "packing_" + one["id"].removeprefix("predicted depth, ").replace(" ", "_")}
        for one in simulated.pop("verdicts")
    ]
    return {"verdicts": verdicts, "notes": [], "found": found | {"simulated": simulated}}


PACKING = Experiment(make, PackingSettings)
