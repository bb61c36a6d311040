"""The one runner: walks a list of launches and calls each kernel's address over its tiles, on all cores.

It is the only parallel Numba function, so it is compiled once per machine and kept in Numba's own cache.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import config, get_num_threads, njit, prange, set_num_threads, types
from numba.extending import intrinsic
from numba.np.ufunc import threading_layer
from numpy.typing import NDArray

from gncodegen.cache.foreign import checked
from gncodegen.errors import TargetError
from gncodegen.process import forks
from gncodegen.targets.cpu.atomics import fetch, fetch_add, give_way, nanoseconds, pause
from gncodegen.targets.cpu.threads import cores, starting

Int64Array = NDArray[np.int64]


@intrinsic
def _call_kernel(context: Any, function: Any, tile: Any, argv: Any) -> Any:
    """Call the kernel at an address: void(tile, argv)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word, word])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1], args[2]])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


_call: Any = _call_kernel


LINE = 64
"""Bytes from one counter to the next, so that no two are on one line of the caches."""

PATIENCE = 2000
"""Pauses until a waiting thread gives way to others, or does what another should have done."""

SHARED_FROM = 400_000
"""Runs with less work to share, in nanoseconds of one core, stay on the calling thread: the others may be asleep."""


SERIAL_BELOW = 8_000
"""Launches of less work, in nanoseconds of one core, run on one thread: to share them takes longer."""


@njit(nogil=True, error_model="numpy")
def _is_small(grid: Any, cost: Any) -> Any:
    """Whether one thread does all tiles of a launch."""
    return grid < 2 or cost < SERIAL_BELOW


@njit(nogil=True, error_model="numpy")
def _alone(functions: Any, grids: Any, firsts: Any, argv: Any, starts: Any, clock: Any) -> None:
    """All launches on this thread."""
    if clock.size:
        clock[0] = nanoseconds()
    for launch in range(functions.size):
        for tile in range(grids[launch]):
            _call(functions[launch], firsts[launch] + tile, argv + 8 * starts[launch])
        if clock.size:
            clock[launch + 1] = nanoseconds()


@njit(nogil=True, error_model="numpy")
def _take_part(
    worker: Any,
    workers: Any,
    functions: Any,
    grids: Any,
    firsts: Any,
    costs: Any,
    argv: Any,
    starts: Any,
    progress: Any,
    clock: Any,
) -> None:
    """One thread's part in all launches: first its own share of the tiles, then what others have not begun.

    The next launch begins when all tiles are done; no thread waits for one that has not come. `progress` has, for each
    launch, the tiles begun of each thread's share, and the tiles done.
    """
    if clock.size and clock[0] == 0:
        clock[0] = nanoseconds()
    for launch in range(functions.size):
        function, first, arguments = functions[launch], firsts[launch], argv + 8 * starts[launch]
        grid = grids[launch]
        begun = progress.ctypes.data + launch * (workers + 1) * LINE
        done = begun + workers * LINE
        small = _is_small(grid, costs[launch])
        finished = 0
        if not small:
            for turn in range(workers):
                owner = (worker + turn) % workers
                tile = grid * owner // workers + fetch_add(begun + owner * LINE, 1)
                while tile < grid * (owner + 1) // workers:
                    _call(function, first + tile, arguments)
                    finished += 1
                    tile = grid * owner // workers + fetch_add(begun + owner * LINE, 1)
            if finished > 0 and fetch_add(done, finished) + finished == grid and clock.size:
                clock[launch + 1] = nanoseconds()
        turns, patience = 0, 0 if worker == 0 else PATIENCE
        while finished < grid and fetch(done) < grid:
            if small and turns == patience and fetch_add(begun, 1) == 0:
                for tile in range(grid):
                    _call(function, first + tile, arguments)
                if clock.size:
                    clock[launch + 1] = nanoseconds()
                fetch_add(done, grid)
            elif turns < PATIENCE:
                pause()
            else:
                give_way()
            turns += 1


@contextmanager
def _kept() -> Generator[bool]:
    """While Numba compiles the runner or takes it from its cache: that lies in ours, and is checked as all in it is.

    Yields whether there is a place for it.
    """
    settings: Any = config
    digest = hashlib.sha256()
    for name in ("atomics", "runner"):
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    with checked(f"numba-{digest.hexdigest()[:8]}") as folder:
        before, settings.CACHE_DIR = settings.CACHE_DIR, str(folder or "")
        try:
            yield folder is not None
        finally:
            settings.CACHE_DIR = before


def _parallel(function: Any) -> Any:
    """The runner, compiled or from the cache; Numba starts its threads then.

    Raises:
        TargetError: NUMBA_THREADING_LAYER names some that are not here.
    """
    signatures = [types.void(*(types.int64[::1],) * 6, types.int64, types.int64[::1])]
    options: Any = {"parallel": True, "nogil": True, "error_model": "numpy"}
    try:
        with starting(), _kept() as place:
            if place:
                with suppress(OSError):  # of a full disk
                    return njit(signatures, cache=True, **options)(function)
            return njit(signatures, **options)(function)
    except ValueError as error:
        raise TargetError(
            f"Numba has no threads: {' '.join(str(error).split())}; allowed: OpenMP, TBB or its workqueue; "
            "unset NUMBA_THREADING_LAYER or install what it names"
        ) from error


@_parallel
def _run(
    functions: Any,
    grids: Any,
    firsts: Any,
    costs: Any,
    argv: Any,
    starts: Any,
    workers: int,
    clock: Any,
) -> None:
    shared = 0
    for launch in range(functions.size):
        if not _is_small(grids[launch], costs[launch]):
            shared += costs[launch]
    base = argv.ctypes.data
    if workers < 2 or shared < SHARED_FROM:
        _alone(functions, grids, firsts, base, starts, clock)
    else:
        progress = np.zeros(functions.size * (workers + 1) * (LINE // 8), np.int64)
        for worker in prange(workers):
            _take_part(worker, workers, functions, grids, firsts, costs, base, starts, progress, clock)


@cache
def _most() -> int:
    """Threads that Numba has."""
    settings: Any = config
    return settings.NUMBA_NUM_THREADS


@cache
def _turn() -> AbstractContextManager[Any]:
    """Held during a run: Numba's workqueue threads end the process where two callers run something at once."""
    try:
        return forks.lock(forks.Rank.THREADS) if threading_layer() == "workqueue" else nullcontext()
    except ValueError:  # nothing runs in parallel
        return nullcontext()


_home = os.getpid()  # whose threads Numba's are


@cache
def _workers() -> int:
    """Threads of a run; warns where Numba has only its slow kind, or none."""
    if os.getpid() != _home:
        warnings.warn(
            "this process was forked from one that had started threads, of which it has none: networks run on one "
            'thread; for all, start processes by multiprocessing.get_context("spawn") or "forkserver"',
            stacklevel=4,
        )
        return 1
    workers = min(cores(), get_num_threads())
    none = np.zeros(0, np.int64)
    _run(none, none, none, none, np.zeros(1, np.int64), none, workers, none)
    try:
        layer = threading_layer()
    except ValueError:
        return workers
    if layer == "workqueue":
        warnings.warn(
            "Numba found neither OpenMP nor TBB and uses slow workqueue threads; install libgomp or `pip install tbb`",
            stacklevel=2,
        )
    return workers


forks.after_in_child(_workers.cache_clear)


class Launches(NamedTuple):
    """Launches in order, each array with a number of every one but `argv`.

    Args:
        functions: a kernel's address.
        grids: tiles to do.
        firsts: the number of the first tile.
        costs: nanoseconds on one core, about.
        argv: addresses of all arguments, in front of those of a launch the numbers that its kernel reads, last first.
        starts: where in `argv` the addresses of a launch begin.
    """

    functions: Int64Array
    grids: Int64Array
    firsts: Int64Array
    costs: Int64Array
    argv: Int64Array
    starts: Int64Array


_UNTIMED = np.zeros(0, np.int64)


def run(launches: Launches, clock: Int64Array = _UNTIMED) -> None:
    """Runs launches in order, on all threads but for small ones.

    Args:
        launches: what to run.
        clock: where the times go in nanoseconds at which the first launch began and each one ended; empty = nowhere.
    """
    workers = _workers()
    if workers == 1:  # none of Numba's threads, nor its number of them
        _run(*launches, 1, clock)
        return
    with _turn():
        if workers == _most():
            _run(*launches, workers, clock)
            return
        # For this run only: the number is that of all parallel functions of the calling thread.
        before = get_num_threads()
        set_num_threads(min(workers, before))
        try:
            _run(*launches, workers, clock)
        finally:
            set_num_threads(before)
