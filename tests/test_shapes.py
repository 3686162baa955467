"""The shapes that annotations promise are those that the code takes and gives.

Every question is asked once (`tests.flows`) in a process of its own, in which jaxtyping has decorated what it
imports: each call of a module that annotates shapes is checked, what goes in and what comes out.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECK = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
"""The checker: an int is a float where numbers are no arrays, as type checkers have it."""
ASK = """
import sys
from pathlib import Path
import jaxtyping
jaxtyping.install_import_hook(sys.argv[2].split(), sys.argv[3])
import numpy as np
from satlens.resampling import by_document
try:
    by_document(np.zeros((3, 1)), np.zeros(2, int))
except jaxtyping.TypeCheckError:
    from tests.flows import ask_everything
    ask_everything(Path(sys.argv[1]))
else:
    sys.exit("values of three tokens and documents of two were taken: nothing is checked")
"""


def annotated() -> list[str]:
    """The modules that annotate shapes."""
    paths = sorted((ROOT / "satlens").rglob("*.py"))
    own = [path for path in paths if "from jaxtyping import" in path.read_text(encoding="utf-8")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in own]


@pytest.mark.one_host  # a bare module of Hugging Face answers all but the survey
def test_what_goes_in_and_comes_out_has_the_annotated_shapes(tmp_path: Path) -> None:
    arguments = [str(tmp_path), " ".join(annotated()), CHECK]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-6000:]
