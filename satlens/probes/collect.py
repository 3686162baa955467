"""One pass over a corpus: the states of every stage, of the model and of the path nulls.

    states of a batch -> events -> some of every (layer, stage)                      real
                      -> block of documents -> rotated, exchanged states             (`satlens.nulls`)
                                            -> their own events -> some of every     "rotated", "exchanged"

and one pass with each untrained model. Every null state is labelled by the events of its own path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError, ModelError
from satlens.lenses import Lens, LogitLens
from satlens.models import ResidualModel, untrained, wrap
from satlens.nulls.block import PATH_NULLS, Block, generator_for
from satlens.nulls.queue import BLOCK_BYTES, BlockQueue, Part
from satlens.probes.features import final_features
from satlens.probes.sampling import PER_CELL, StageSampler
from satlens.probes.states import StageStates
from satlens.saturation.detect import stream
from satlens.saturation.events import SaturationEvents
from satlens.saturation.method import Scan
from satlens.saturation.rows import Scores


@dataclass(frozen=True, eq=False)
class Collected:
    """States by origin, not yet balanced.

    Attributes:
        real: the model's.
        others: by kind, the states of each draw; for an empty kind ``missing`` has the reason.
    """

    real: StageStates
    others: Mapping[str, Sequence[StageStates]]
    missing: Mapping[str, str]


class StateCollector:
    """Takes real states batch by batch; keeps some of them, and some of the path nulls made of them.

    Args:
        lens: the one that detected the events, or a function ``scores(resid, layer)``.
        per_cell, seed, policy: see `StageSampler`.
        draws: of each path null.
        kinds: the path nulls to draw.
    """

    def __init__(
        self,
        lens: Lens | Scores,
        *,
        per_cell: int = PER_CELL,
        draws: int = 3,
        seed: int = DEFAULT_SEED,
        kinds: Sequence[str] = PATH_NULLS,
        block_bytes: int = BLOCK_BYTES,
        **policy: str,
    ) -> None:
        self.scan, self.seed = Scan(lens), seed
        self.queue = BlockQueue(block_bytes)
        self.real = StageSampler(per_cell, seed=seed, **policy)
        self.nulls = {
            kind: [StageSampler(per_cell, seed=seed, **policy) for _ in range(draws)]
            for kind in kinds
        }
        self.missing: dict[str, str] = {}
        self._blocks = 0

    def update(
        self,
        resid: Float[Tensor, "layer token d"],
        events: SaturationEvents,
        features: Float[Tensor, "token f"],
    ) -> None:
        """Take the real states of one batch, the events in them, and `final_features`."""
        self.real.update(resid, events, features)
        if self.nulls:
            for part in self.queue.push(resid, events, features):
                self._draw(part)

    def finish(self) -> Collected:
        """What was kept; the collector is empty afterwards."""
        for part in self.queue.rest():
            self._draw(part)
        others: dict[str, list[StageStates]] = {}
        for kind, samplers in self.nulls.items():
            try:
                others[kind] = [sampler.finish() for sampler in samplers]
            except InputError as error:
                self.missing[kind] = str(error)
        return Collected(self.real.finish(), others, self.missing)

    @torch.no_grad()
    def _draw(self, part: Part) -> None:
        block = Block.of(part.resid, part.events)
        if "exchanged" in self.nulls:
            try:
                block.check_donors()
            except InputError as error:  # the other null can still be drawn
                self.missing["exchanged"] = str(error)
                del self.nulls["exchanged"]
        for kind, samplers in self.nulls.items():
            generator = generator_for(kind, self.seed, self._blocks, part.resid.device)
            for sampler in samplers:
                states = block.states(kind, generator)
                layer = block.layers(states, self.scan)
                # The path ends in the real final state: same ranking, same margins.
                sampler.update(states, _with_layers(part.events, layer), part.extra)
        self._blocks += 1


def _with_layers(events: SaturationEvents, layer: Any) -> SaturationEvents:
    return SaturationEvents(
        layer, events.token, events.doc, events.pos, events.n_layers, input=events.input
    )


def collect(
    model: ResidualModel,
    batches: Any,
    *,
    k: int,
    per_cell: int = PER_CELL,
    draws: int = 3,
    untrained_seeds: int = 1,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
    **policy: str,
) -> Collected:
    """The states that a probe and its controls are fitted on, from batches made before.

    Raises:
        InputError: unusable settings, or no state with a stage.
    """
    choices: dict[str, Any] = {**policy}
    collector = StateCollector(
        LogitLens(model), per_cell=per_cell, draws=draws, seed=seed, **choices
    )
    for states, events in stream(model, batches, k=k, progress=progress):
        collector.update(states.resid, events, final_features(states.logits, k))
    found = collector.finish()
    others, missing = dict(found.others), dict(found.missing)
    try:
        others["untrained"] = [
            _untrained(model, batches, k, per_cell, seed + index, seed, progress, policy)
            for index in range(untrained_seeds)
        ]
    except (ModelError, InputError) as error:
        missing["untrained"] = str(error)
    if not others.get("untrained"):
        others.pop("untrained", None)
        missing.setdefault("untrained", "None was asked for (untrained_seeds=0).")
    return Collected(found.real, others, missing)


def _untrained(
    model: ResidualModel, batches: Any, k: int, per_cell: int, weights_seed: int, seed: int,
    progress: bool, policy: Mapping[str, str],
) -> StageStates:  # fmt: skip
    """States and events of a model of the same shape that never learned anything."""
    fresh = wrap(untrained(model, weights_seed))
    fresh = replace(fresh, name=f"{model.name} untrained, seed {weights_seed}")
    sampler = StageSampler(per_cell, seed=seed, **policy)
    for states, events in stream(fresh, batches, k=k, progress=progress):
        sampler.update(states.resid, events, final_features(states.logits, k))
    return sampler.finish()
