"""Are skipped blocks saved time? The sparse forward of the routers that ``satlens route`` trained, timed.

The held-out documents of that run, end to end, cut into rows. What comes out is of the machine that ran it.
"""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from satlens.claims.experiments.base import Experiment, Of
from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.lenses.documents import split_documents
from satlens.models import ResidualModel
from satlens.routing import TokenGates
from satlens.routing.timing import judge_sparse
from satlens.runs.corpora import corpus_of
from satlens.runs.folder import place
from satlens.runs.reading import read


@dataclass(frozen=True)
class SparseSettings:
    """What decides what comes out, beside the settings of route.

    Attributes:
        batch_sizes: rows in a batch; one verdict each. length: tokens of a row, at most.
        rounds: each runs both ways.
    """

    seed: int = DEFAULT_SEED
    batch_sizes: tuple[int, ...] = (1, 16)
    length: int = 128
    rounds: int = 21


def make(of: Of, model: ResidualModel | None, out: Path, progress: bool) -> dict[str, Any]:
    """Read the held-out documents and the routers, and run both ways in turns."""
    assert model is not None
    own, route = of("sparse"), of("route")
    corpus = corpus_of(model, route.corpus, separator=route.separator)
    held_out, _ = split_documents(read(model, corpus, route).batches, route.test_share, route.seed)
    text = torch.cat([row.ids for row in held_out.rows])
    length = min(own.length, max(len(row.ids) for row in held_out.rows))
    ids = text[: len(text) // length * length].view(-1, length)
    sizes = [one for one in own.batch_sizes if one <= len(ids)]
    if not sizes:
        raise InputError(
            f"The held-out documents fill {len(ids)} rows of {length} tokens, fewer than any of "
            f"{list(own.batch_sizes)}: give more text."
        )
    gates = TokenGates.load(place(out, "route") / "gates", model)
    verdicts = judge_sparse(gates, ids, batch_sizes=sizes, rounds=own.rounds, seed=own.seed)
    short = f"The held-out documents fill {len(ids)} rows of {length} tokens"
    left = [one for one in own.batch_sizes if one not in sizes]
    return {
        "verdicts": verdicts, "length": length, "threads": torch.get_num_threads(),
        "machine": platform.machine(), "torch": torch.__version__,
        "notes": [f"{short}; no batch of {one} was timed." for one in left],
    }  # fmt: skip


SPARSE = Experiment(make, SparseSettings, needs=("route",))
