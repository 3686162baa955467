"""A browser for the tests of one file."""

import pytest

from tests.report.chromium import start


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium, or the test is skipped."""
    running = start(tmp_path_factory.mktemp("profile"))
    yield running
    running.quit()
