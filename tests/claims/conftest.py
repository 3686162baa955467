"""The small model of the runs, which settles early, and its texts."""

from tests.runs.conftest import corpus, folder, formats, settling

__all__ = ["corpus", "folder", "formats", "settling"]
