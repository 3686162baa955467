"""Fixtures for every test: real weights, the bundled model, one thread, no network."""

import functools
import os
import re

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports huggingface_hub

from pathlib import Path

import hypothesis
import pytest
import torch

if (
    not torch.cuda.is_available()
):  # before anything imports satlens: kernels run without a GPU as well
    os.environ.setdefault("TRITON_INTERPRET", "1")

# A slow machine is no failure: examples may take their time, to run and to be drawn.
hypothesis.settings.register_profile(
    "satlens", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("satlens")


TESTS = Path(__file__).parent
HOST = re.compile(
    r"transformer|load_model|tiny_host|Hooked|subprocess|satlens\.(cli|runs|survey|claims)|tutorials"
)
"""Words of a test that may meet TransformerLens, in this process or in another."""


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(int(os.environ.get("SATLENS_TEST_THREADS", "1")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests without any model of TransformerLens: one version of it is enough for them."""
    for item in items:
        if item.path.is_relative_to(TESTS) and not meets_host(item.path):
            item.add_marker(pytest.mark.no_host)


@functools.cache
def meets_host(path: Path) -> bool:
    """Whether a test file, or a file of the tests that it imports, speaks of a host or of what loads one."""
    text = path.read_text(encoding="utf-8")
    if HOST.search(text):
        return True
    names = re.findall(r"^from (tests\.[\w.]+) import", text, flags=re.MULTILINE)
    files = [TESTS.parent / (name.replace(".", "/") + ".py") for name in names]
    return any(not file.is_file() or meets_host(file) for file in files)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real weights and texts (SATLENS_ASSETS); tests that need it are skipped without."""
    folder = os.environ.get("SATLENS_ASSETS")
    if not folder:
        pytest.skip("SATLENS_ASSETS is not set: no real weights")
    if not Path(folder).is_dir():
        pytest.skip(f"SATLENS_ASSETS={folder} is no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_host() -> torch.nn.Module:
    """The bundled model: a HookedTransformer on TransformerLens 3, else a bridge. Do not change it."""
    from satlens.models import load_model

    return load_model("tiny")
