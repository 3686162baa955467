"""One model of every kind that a recipe must run on; what the tests give is kept for the documentation."""

import pytest

from tests.builders import HAS_HOOKED, NO_HOOKED
from tests.hooks.hosts import HOSTS, TOKENS
from tests.hooks.outcomes import Recorder

RECORDER = Recorder.asked_for()


def pytest_runtest_logreport(report):
    if RECORDER:
        RECORDER.note(report)


def pytest_sessionfinish():
    if RECORDER:
        RECORDER.write()


@pytest.fixture(params=HOSTS)
def model(request):
    if request.param == "hooked, soft cap" and not HAS_HOOKED:
        pytest.skip(NO_HOOKED)
    host = HOSTS[request.param]()
    host(TOKENS)  # some hosts put hooks of their own on at the first forward
    return host
