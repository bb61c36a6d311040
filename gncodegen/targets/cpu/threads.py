"""How many threads a run takes, and Numba's threads started without a trace in what other libraries share."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from gncodegen.environment import environment
from gncodegen.targets.control_groups import ROOT, settings

SPINS = "5000"
"""Rounds that a thread of GNU OpenMP waits after a run: as long as a loop over runs takes from one to the next.

By default it waits on a core of its own for milliseconds, also where others use that core.
"""


def cores() -> int:
    """Threads to use: GNCODEGEN_THREADS, else the cores that this process may run on and its container pays for."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return environment().threads or min(available, quota() or available)


@cache
def quota(root: Path = ROOT) -> int:
    """The cores that control groups, such as a container's, let this process use at once, rounded up; 0 = no limit.

    Source: Linux, admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (cpu.cfs_quota_us).

    Args:
        root: where /proc and /sys lie.
    """
    limits: list[float] = []
    for words in settings("cpu", ["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"], root):
        try:
            allowed, period = map(int, words)
            limits += [allowed / period] if allowed > 0 else []
        except (ValueError, ZeroDivisionError):  # "max": no limit
            continue
    return max(1, -int(-min(limits) // 1)) if limits else 0


def openmp_pool() -> Any:
    """Numba's module of OpenMP threads."""
    return import_module("numba.np.ufunc.omppool")


@contextmanager
def starting(pool: Callable[[], Any] = openmp_pool) -> Generator[None, None, None]:
    """While Numba starts its threads: OpenMP's own number of threads and the environment are put back.

    Numba sets the number for everybody who shares the library, such as PyTorch. GNU OpenMP reads how long to wait from
    the environment, when it is loaded, which `pool` does.
    """
    patient = "GOMP_SPINCOUNT" not in os.environ and "OMP_WAIT_POLICY" not in os.environ
    if patient:
        os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        library: Any = ctypes.CDLL(pool().__file__)
        before = library.omp_get_max_threads()
    except (ImportError, OSError, AttributeError):  # Numba has other threads
        library, before = None, 0
    finally:
        if patient:
            os.environ.pop("GOMP_SPINCOUNT", None)
    try:
        yield
    finally:
        if library is not None:
            library.omp_set_num_threads(before)
