"""States are float32 all along, and copied no more often than a fit needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = r"""
import json, re, sys, time
import numpy as np
import torch
import satlens.probes
from satlens.probes import StageSampler, cross_validate
from satlens.saturation.events import SaturationEvents

n, d, folds = map(int, sys.argv[1:])
L, k, tokens = 9, 2, 500
# Not ru_maxrss: a process inherits that from the one that started it.
peak = lambda: 1024 * int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])


def collected():
    rng = np.random.default_rng(0)
    per_cell = n // (k * (L - 2))  # at layer 0 nothing is in stage 2
    sampler = StageSampler(per_cell)
    for part in range(30 * per_cell // tokens):
        layer = np.sort(rng.integers(0, L, (tokens, k)), axis=1)
        events = SaturationEvents(
            layer, np.zeros((tokens, k), int), np.full(tokens, part), np.arange(tokens), L
        )
        stage = (layer[:, :1] < np.arange(L)).T[..., None]
        resid = rng.standard_normal((L, tokens, d), np.float32) + 0.2 * stage.astype(np.float32)
        sampler.update(torch.from_numpy(resid), events)
    return sampler.finish()


# Everything is used once on little, so that what libraries take for themselves is there before.
small = np.random.default_rng(0)
rows = np.tile([1, 2], 100)
satlens.probes.StageProbe().fit(small.standard_normal((200, d), np.float32), rows)
before, start = peak(), time.time()
data = collected().balanced(2, 50)
found = cross_validate(data, folds=folds, draws=200)
print(json.dumps({
    "states": len(data), "width": d, "bytes": peak() - before, "peak": peak(),
    "accuracy": found.accuracy.value, "seconds": time.time() - start,
    "documents": len(np.unique(data.doc)), "notes": list(found.notes),
}))
"""


def measure(states: int, width: int, folds: int) -> dict:
    made = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(states), str(width), str(folds)],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout.splitlines()[-1])


@pytest.mark.one_host
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_a_few_times_the_states():
    """4 bytes the states kept, 4 balanced, 4 a fold's training part, 4 the same scaled."""
    found = measure(20_000, 512, folds=2)
    assert found["states"] > 19_000 and found["accuracy"] > 0.6
    per_element = found["bytes"] / (found["states"] * found["width"])
    assert per_element < 16, found
