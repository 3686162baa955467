"""The timing of docs/routing.md: the sparse forward beside dense ones, on the published text shape:

OMP_NUM_THREADS=1 python docs/routing/timed.py
"""

import json
import platform
from pathlib import Path

import torch

from satlens.routing import TokenGates
from satlens.routing.tasks import fresh_model
from satlens.routing.timing import time_sparse

SHAPE = {"width": 256, "layers": 6, "heads": 8, "context": 128}
BATCHES = (1, 4, 16)
ROUNDS = 9


def main() -> None:
    torch.set_num_threads(1)
    gates = TokenGates(fresh_model(65, **SHAPE))
    ids = torch.randint(0, 65, (max(BATCHES), 128), generator=torch.Generator().manual_seed(0))
    table = time_sparse(gates, ids, batch_sizes=BATCHES, rounds=ROUNDS)
    said = {
        "shape": SHAPE, "rounds": ROUNDS, "threads": 1, "torch": torch.__version__,
        "machine": platform.machine(), "rows": table.to_dict("records"),
    }  # fmt: skip
    target = Path(__file__).parent / "timed" / "published_shape.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
