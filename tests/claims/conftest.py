"""The small model of the runs, which settles early, and its texts."""

from tests.runs.conftest import corpus, folder, settling

__all__ = ["corpus", "folder", "settling"]
