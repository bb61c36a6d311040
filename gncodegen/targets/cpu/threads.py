"""How many threads a run takes, and Numba's threads started without a trace in what other libraries share."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from gncodegen.environment import environment
from gncodegen.errors import TargetError
from gncodegen.process import forks
from gncodegen.process.signals import imported

SPINS = "5000"
"""Rounds that a thread of GNU OpenMP waits after a run: as long as a loop over runs takes from one to the next.

By default it waits on a core of its own for milliseconds, also where others use that core.
"""


def cores() -> int:
    """Threads to use: GNCODEGEN_THREADS, else the cores that this process may run on and its container pays for."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return environment().threads or min(available, quota() or available)


@cache
def quota(root: Path = Path("/")) -> int:
    """The cores that control groups, such as a container's, let this process use at once, rounded up; 0 = no limit.

    Source: Linux, admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (cpu.cfs_quota_us).

    Args:
        root: where /proc and /sys lie.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    limits: list[float] = []
    for line in lines:
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            mount, files = root / "sys/fs/cgroup", ("cpu.max",)
        elif "cpu" in controllers.split(","):
            mount, files = root / "sys/fs/cgroup/cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        else:
            continue
        # A container sees its own group at the mount, whatever its path is outside.
        folder = mount / path.lstrip("/")
        for group in [folder, *folder.parents[: len(folder.parts) - len(mount.parts)]]:
            try:
                allowed, period = " ".join((group / name).read_text(encoding="utf-8") for name in files).split()
                limits += [int(allowed) / int(period)] if int(allowed) > 0 else []
            except (OSError, ValueError, ZeroDivisionError):  # "max": no limit
                continue
    return max(1, -int(-min(limits) // 1)) if limits else 0


@cache
def numba_threads() -> Any:
    """Numba's module of threads, which it starts then.

    Raises:
        TargetError: NUMBA_THREADING_LAYER names some that are not here.
    """
    parallel: Any = imported("numba.np.ufunc.parallel")
    try:
        with starting():
            parallel._launch_threads()
    except ValueError as error:
        raise TargetError(
            f"Numba has no threads: {' '.join(str(error).split())}; allowed: OpenMP, TBB or its workqueue; "
            "unset NUMBA_THREADING_LAYER or install what it names"
        ) from error
    if parallel.threading_layer() == "workqueue":
        warnings.warn(
            "Numba found neither OpenMP nor TBB and uses slow workqueue threads; install libgomp or `pip install tbb`",
            stacklevel=5,
        )
    _home.append(os.getpid())
    return parallel


_home: list[int] = []  # the process whose threads Numba's are, once they have started


@cache
def workers() -> int:
    """Threads of a run; warns where Numba has only its slow kind, or none."""
    if _home and os.getpid() not in _home:
        warnings.warn(
            "this process was forked from one that had started threads, of which it has none: networks run on one "
            'thread; for all, start processes by multiprocessing.get_context("spawn") or "forkserver"',
            stacklevel=4,
        )
        return 1
    return 1 if cores() == 1 else min(cores(), numba_threads().get_num_threads())


forks.after_in_child(workers.cache_clear)


@cache
def turn() -> AbstractContextManager[Any]:
    """Held during a run: Numba's workqueue threads end the process where two callers run something at once."""
    return forks.lock(forks.Rank.THREADS) if numba_threads().threading_layer() == "workqueue" else nullcontext()


@cache
def parallel_for() -> Callable[..., None]:
    """`parallel_for(body, parts, counts, strides, data, 0, 1, threads)`: Numba's loop over `counts[0]` parts.

    A thread calls `body(parts, counts, strides, data)` with the addresses of the number of parts that it does, and of
    the address of the first. The calling thread's number of threads in parallel functions of Numba's is as before.
    """
    parallel, pointer = numba_threads(), ctypes.c_void_p
    layers: Any = import_module("llvmlite.binding")
    kind = ctypes.CFUNCTYPE(None, *[pointer] * 5, *[ctypes.c_size_t] * 3)
    loop = kind(layers.address_of_symbol("numba_parallel_for"))

    def run(*arguments: int) -> None:
        before = parallel.get_num_threads()
        loop(*arguments)
        if before != arguments[-1]:
            parallel.set_num_threads(before)

    return run


@contextmanager
def starting() -> Generator[None, None, None]:
    """While Numba starts its threads: OpenMP's own number of threads and the environment are put back.

    Numba sets the number for everybody who shares the library, such as PyTorch. GNU OpenMP reads how long to wait from
    the environment, when it is loaded.
    """
    patient = "GOMP_SPINCOUNT" not in os.environ and "OMP_WAIT_POLICY" not in os.environ
    if patient:
        os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        library: Any = ctypes.CDLL(import_module("numba.np.ufunc.omppool").__file__)
        before = library.omp_get_max_threads()
    except (ImportError, OSError, AttributeError):  # Numba has other threads
        library, before = None, 0
    finally:
        if patient:
            del os.environ["GOMP_SPINCOUNT"]
    try:
        yield
    finally:
        if library is not None:
            library.omp_set_num_threads(before)
