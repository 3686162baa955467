"""Many small experiments in few forward passes: one row, one edit, one position read out.

A job is a row, a column, and what is done to the state there behind block l. Jobs of like length share a
forward pass, and of each only its own position is kept:

    resid [layer, job, d],  logits [job, output],  then  t = top k of the output,  s = scan towards t

A run that nothing is put into is a job as well, so edited and clean runs come through the same code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from satlens.errors import InputError, ModelError
from satlens.models.protocol import Batch, HookFn
from satlens.patching.intervene import Edit, intervene
from satlens.patching.rows import Rows, packs
from satlens.saturation.detect import Detector


@dataclass(frozen=True, eq=False)
class Jobs:
    """What to run.

    Attributes:
        row, column: ``[job]`` places, from `Rows.find`.
        layer: ``[job]`` block behind which the state is edited; None for clean runs.
        state: ``[job, d]`` what is put in or added; None puts in each position's own state, taken
            from a run of the very same batch.
        mode: "replace" or "add".
    """

    row: Int[ndarray, " job"]
    column: Int[ndarray, " job"]
    layer: Int[ndarray, " job"] | None = None
    state: Float[Tensor, "job d"] | None = None
    mode: str = "replace"

    def __post_init__(self) -> None:
        n = len(self.row)
        others = {"column": self.column, "layer": self.layer, "state": self.state}
        wrong = {k: len(v) for k, v in others.items() if v is not None and len(v) != n}
        if wrong:
            raise InputError(f"{n} jobs want as many of everything; got {wrong}.")

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class Ran:
    """The jobs of one forward pass, each at its own position."""

    job: Int[ndarray, " pack"]
    resid: Float[Tensor, "layer pack d"]
    logits: Float[Tensor, "pack output"]


@torch.no_grad()
def run_jobs(rows: Rows, jobs: Jobs, *, max_tokens: int) -> Iterator[Ran]:
    """The jobs, some in each forward pass of at most ``max_tokens`` padded tokens (or of one row).

    Memory: one pass of the model and ``L * d`` numbers a job of the pass; logits of one position a job.
    """
    for pack in packs(rows.lengths(jobs.row, jobs.column), max_tokens):
        batch = rows.batch(jobs.row[pack], jobs.column[pack])
        column = torch.tensor(jobs.column[pack], device=batch.real.device)
        if jobs.layer is None:
            resid, logits = _forward(rows, batch, column)
        else:
            layer = torch.tensor(jobs.layer[pack], dtype=torch.long)
            state = None if jobs.state is None else jobs.state[torch.tensor(pack)]
            if state is None:
                clean, _ = _forward(rows, batch, column)
                state = clean[layer.to(clean.device), torch.arange(len(pack), device=clean.device)]
            edit = Edit(layer, torch.arange(len(pack)), column, state, jobs.mode)
            with intervene(rows.model, edit):
                resid, logits = _forward(rows, batch, column)
        yield Ran(pack, resid, logits)


def _forward(rows: Rows, batch: Batch, column: Int[Tensor, " pack"]) -> tuple[Tensor, Tensor]:
    """One forward pass: every layer's states, and the logits, at one position of each row."""
    model, kept = rows.model, {}
    row = torch.arange(len(column), device=column.device)

    def keep(layer: int) -> HookFn:
        def record(resid: Tensor, hook: Any = None) -> None:
            kept[layer] = resid[row, column]

        return record

    with model.hooks([(layer, keep(layer)) for layer in range(model.n_layers)]):
        logits = model.forward(batch)[row, column]
    missing = sorted(set(range(model.n_layers)) - set(kept))
    if missing:
        raise ModelError(
            f"The hooks after blocks {missing} of {model.name} did not run: the forward pass does not "
            "go through them (compiled model, or early stop?)."
        )
    return torch.stack([kept[layer] for layer in range(model.n_layers)]), logits


@dataclass(frozen=True, eq=False)
class Outcome:
    """The saturation layers and the final ranking of each job, from its own run."""

    layer: Int[ndarray, "job k"]
    token: Int[ndarray, "job k"]


@torch.no_grad()
def scan_jobs(
    rows: Rows, jobs: Jobs, *, k: int, max_tokens: int, bar: "tqdm[Any] | None" = None
) -> Outcome:
    """Run the jobs, and find from which layer on each rank of each job's own final ranking is fixed."""
    detector = Detector(rows.model)
    layer = np.zeros((len(jobs), k), np.int16)
    token = np.zeros((len(jobs), k), np.int32)
    for ran in run_jobs(rows, jobs, max_tokens=max_tokens):
        found, final = detector.layers(ran.resid, ran.logits, k)
        layer[ran.job] = found.cpu().numpy()
        token[ran.job] = final.cpu().numpy()
        if bar is not None:
            bar.update(len(ran.job))
    return Outcome(layer, token)


@torch.no_grad()
def gather(
    rows: Rows,
    row: Int[ndarray, " n"],
    column: Int[ndarray, " n"],
    layer: Int[ndarray, " n"],
    *,
    max_tokens: int,
) -> Float[Tensor, "n d"]:
    """The states at these places and layers, from clean forward passes of whole rows.

    A row is read once however many of its states are asked for. Nothing shares memory with the model.
    """
    model = rows.model
    states: Tensor | None = None
    needed, inverse = np.unique(row, return_inverse=True)
    last = np.zeros(len(needed), np.int64)
    np.maximum.at(last, inverse, column)
    for pack in packs(rows.lengths(needed, last), max_tokens):
        place = np.full(len(needed), -1)
        place[pack] = np.arange(len(pack))
        asked = np.flatnonzero(place[inverse] >= 0)
        batch = rows.batch(needed[pack], last[pack])
        found: dict[int, Tensor] = {}

        def keep(
            at: int, chosen: ndarray, where: ndarray, found: dict[int, Tensor] = found
        ) -> HookFn:
            def record(resid: Tensor, hook: Any = None) -> None:
                found[at] = resid[torch.tensor(where), torch.tensor(column[chosen])].clone()

            return record

        chosen = {at: asked[layer[asked] == at] for at in np.unique(layer[asked]).tolist()}
        hooks = [(at, keep(at, ones, place[inverse[ones]])) for at, ones in chosen.items()]
        with model.hooks(hooks):
            model.forward(batch)
        for at, ones in chosen.items():
            if states is None:
                states = found[at].new_empty(len(row), found[at].shape[1])
            states[torch.tensor(ones)] = found[at]
    if states is None:
        return torch.zeros(0, model.d_model, device=model.device)
    return states
