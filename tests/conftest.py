"""Settings that hold for every test: the two sets of tests, drawn examples, the kernels' cache, one BLAS thread."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# The oracle's many small products wait for each other's threads on a busy machine; NumPy reads this when it loads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from hypothesis import settings
from support.sets import leave_out

if TYPE_CHECKING:
    from support.cuda_stub.driver import Driver

ROOT = Path(__file__).resolve().parents[1]
settings.register_profile("default", derandomize=True, deadline=None, database=None, max_examples=1)
settings.register_profile("full", deadline=None, database=None, max_examples=5)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also all architectures, whole grids and newly drawn examples")
    parser.addoption("--rest", action="store_true", help="only what `--full` adds to a default run")
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files of generated source")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.option.full |= config.option.rest
    # Kernels are kept by content from run to run, apart from the user's own.
    os.environ.setdefault("GNCODEGEN_CACHE_DIR", str(ROOT / ".pytest_cache" / "gncodegen"))
    if os.environ.get("PYTEST_XDIST_WORKER"):
        # Every core has a test worker already; these are the compile workers, and share what they compile on disk.
        os.environ.setdefault("GNCODEGEN_COMPILE_WORKERS", "1")
    full = config.getoption("--full")
    settings.load_profile("full" if full else "default")
    if full and config.option.hypothesis_seed is None:
        drawn = str(random.SystemRandom().randrange(2**32))
        config.option.hypothesis_seed = getattr(config, "workerinput", {}).get("seed", drawn)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Test workers get the number that was drawn for the run."""
    node.workerinput["seed"] = node.config.option.hypothesis_seed


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The number drawn for a full run, which says whose turn it is; 0 in a default run."""
    return int(request.config.option.hypothesis_seed or 0)


@pytest.fixture
def stub() -> Iterator[Driver]:
    """The stub of the CUDA driver, which cuda.core takes for a driver; what is wrong at the end is an error."""
    from support.cuda_stub import library

    if reason := library.missing():
        pytest.skip(reason)
    pytest.importorskip("cuda.core")
    driver = library.load()
    driver.begin()
    yield driver
    gc.collect()
    driver.end()
    assert not driver.faults


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--full"):
        seed = config.option.hypothesis_seed
        terminalreporter.line(f"drawn examples: `pytest --full --hypothesis-seed={seed}` draws the same ones")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out(config, items)
