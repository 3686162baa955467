"""An audit of 50,000 tokens stays under 1.5 GiB, libraries included, in a process of its own."""

import subprocess
import sys

import pytest

from satlens.zoo import CORPUS

LIMIT = 1.5 * 2**30
CODE = r"""
import re, sys, torch
from pathlib import Path
from satlens.runs import AuditSettings, run_audit
torch.set_num_threads(1)
folder = Path(sys.argv[1])
asked = AuditSettings("tiny", str(folder / "corpus.txt"), max_tokens=50_000, null_tokens=500,
                      untrained_seeds=1)
first = run_audit(asked, folder / "run").splitlines()[0]
# Not ru_maxrss: a process inherits that from the one that started it.
print(1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]), first)
"""


@pytest.mark.one_host  # how the states are kept is of satlens
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_fifty_thousand_tokens(tmp_path):
    (tmp_path / "corpus.txt").write_text("\n<|endoftext|>\n".join([CORPUS.read_text()] * 6))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    peak, first = done.stdout.split(maxsplit=1)
    assert int(peak) < LIMIT, f"{int(peak) / 2**20:.0f} MiB for {first}"
    assert "50,0" in first
    per_token = (tmp_path / "run" / "events.parquet").stat().st_size / 50_000
    assert per_token < 40
