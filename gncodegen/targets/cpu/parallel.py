"""Numba's threads, as the runner takes them: imported and started at the first run that has work to share."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import import_module
from typing import Any

from gncodegen.errors import TargetError
from gncodegen.process import forks
from gncodegen.process.signals import Uninterrupted, imported
from gncodegen.targets.cpu.openmp import openmp_threads
from gncodegen.targets.cpu.threads import cores, starting


@cache
def numba_threads() -> Any:
    """Numba's module of threads, or its threads alone, which are started then.

    Raises:
        TargetError: NUMBA_THREADING_LAYER names some that are not here.
    """
    with Uninterrupted():
        if (alone := openmp_threads()) is not None:
            _home.append(os.getpid())
            return alone
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
