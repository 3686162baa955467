"""``satlens compare``."""

import sys
from pathlib import Path

from tyro.conf import Positional


def compare(runs: Positional[list[Path]], /, *, markdown: bool = False) -> None:
    """Audits side by side: one row a model, one its untrained twin.

    Args:
        runs: folders that satlens audit wrote.
        markdown: tables for a README or a paper's appendix.
    """
    from satlens.report.compare import comparison

    sys.stdout.write(comparison(runs, markdown) + "\n")
