"""The timings of docs/routing.md: the sparse forward beside dense ones, in turns, on one thread.

    OMP_NUM_THREADS=1 python docs/routing/timed.py
    OMP_NUM_THREADS=1 python docs/routing/timed.py trained

The first has weights from a seed in the published text shape; the second tiny, with routers trained as in
`satlens route`.
"""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch

import satlens
from satlens.lenses import split_documents
from satlens.routing import TokenGates, TrainSettings, train_gates
from satlens.routing.study import PENALTIES, RATE, STEPS, rows_of
from satlens.routing.tasks import fresh_model
from satlens.routing.timing import time_sparse
from satlens.survey import read_corpus

SHAPE = {"width": 256, "layers": 6, "heads": 8, "context": 128}
BATCHES = (1, 4, 16)
LENGTH, ROUNDS = 128, 9


def published_shape() -> dict[str, Any]:
    """Who runs is drawn, at five shares."""
    gates = TokenGates(fresh_model(65, **SHAPE))
    ids = torch.randint(0, 65, (max(BATCHES), LENGTH), generator=torch.Generator().manual_seed(0))
    table = time_sparse(gates, ids, batch_sizes=BATCHES, rounds=ROUNDS)
    return {"shape": SHAPE, "rows": table.to_dict("records")}


def trained() -> dict[str, Any]:
    """The routers decide, one training a lambda; held-out texts end to end, cut into rows."""
    model = satlens.wrap(satlens.load_model("tiny"))
    batches = model.batches(list(read_corpus("bundled").documents), 8)
    held_out, training = split_documents(batches, 0.4)
    text = torch.cat([row.ids for row in held_out.rows])
    ids = text[: max(BATCHES) * LENGTH].view(-1, LENGTH)
    rows = []
    for penalty in PENALTIES:
        gates = TokenGates(model)
        train_gates(gates, rows_of(training), TrainSettings(STEPS, penalty, joint=False, lr=RATE))
        table = time_sparse(gates, ids, batch_sizes=BATCHES, shares=(), rounds=ROUNDS)
        rows += [{"penalty": penalty, **row} for row in table.to_dict("records")]
    return {"model": "tiny", "steps": STEPS, "rows": rows}


def main() -> None:
    torch.set_num_threads(1)
    way = trained if sys.argv[1:] == ["trained"] else published_shape
    said = {
        **way(), "length": LENGTH, "rounds": ROUNDS, "threads": 1, "torch": torch.__version__,
        "machine": platform.machine(),
    }  # fmt: skip
    target = Path(__file__).parent / "timed" / f"{way.__name__}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
