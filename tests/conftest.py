"""Fixtures for every test: real weights, the bundled model, one thread, no network."""

import contextlib
import functools
import os
import re
from collections.abc import Iterator

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
    r"transformer|load_model|tiny_host|Hooked|subprocess|satlens\.(cli|runs|survey|claims)|tutorials|"
    r"depth\.grid"
)
"""Words of a test that may meet TransformerLens, in this process or in another."""
NO_HOST = re.compile(
    r"report/|runs/test_folder|claims/test_claim|survey/test_(plan|source|store|corpus|statistics)|"
    r"zoo/test_(data|ngrams|tiny|train)|test_structure"
)
"""Files that use those words and run no model of a host: `without_host` fails a test of them that does."""
ONE_HOST = re.compile(
    r"claims/(?!test_order)|survey/test_ray|test_benchmark|"
    r"reranking/test_summary|theory/test_batching_study|exits/test_study"
)
"""Files about more than events, which are the same beside both versions (models/test_same_events.py)."""


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(int(os.environ.get("SATLENS_TEST_THREADS", "1")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that one version of TransformerLens is enough for."""
    for item in items:
        if not item.path.is_relative_to(TESTS):
            continue
        name = item.path.relative_to(TESTS).as_posix()
        if ONE_HOST.match(name):
            item.add_marker(pytest.mark.one_host)
        if NO_HOST.match(name) or not meets_host(item.path):
            item.add_marker(pytest.mark.no_host)


@contextlib.contextmanager
def without_host(item: pytest.Item) -> Iterator[None]:
    """Fail a test that is marked ``no_host``, and so runs beside one version alone, if it runs a host."""
    if item.get_closest_marker("no_host") is None:
        yield
        return
    met = set()

    def note(module: torch.nn.Module, _inputs: object) -> None:
        if type(module).__module__.startswith("transformer_lens"):
            met.add(type(module).__name__)

    hook = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield
    finally:
        hook.remove()
    if met:
        pytest.fail(f"This test is marked no_host (tests/conftest.py), and it ran {sorted(met)}.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with without_host(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with without_host(item):
        return (yield)


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
