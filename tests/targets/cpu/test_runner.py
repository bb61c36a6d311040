"""The runner: every tile once, launch after launch, however many threads come."""

from __future__ import annotations

import ctypes
import threading
import time

import numba
import numpy as np
import pytest

from gncodegen.targets.cpu import launch_loop, runner

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
LARGE = 1 << 40


def run(grids: list[int], costs: list[int], firsts: list[int], workers: int) -> list[tuple[int, int, int]]:
    """(launch, tile, thread) of every call, in order of their begins; checks that launches do not overlap."""
    calls: list[tuple[int, int, int]] = []
    running: list[int] = []
    overlaps: list[tuple[int, int]] = []

    def kernel(launch: int, tile: int) -> None:
        running.append(launch)
        calls.append((launch, tile, threading.get_ident()))
        overlaps.extend((launch, other) for other in list(running) if other != launch)
        running.remove(launch)

    kernels = [KERNEL(lambda tile, argv, launch=launch: kernel(launch, tile)) for launch in range(len(grids))]
    addresses = [ctypes.cast(function, ctypes.c_void_p).value for function in kernels]
    columns = (addresses, grids, firsts, costs, [0], [0] * len(grids))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "workers", lambda: workers)
        runner.run(runner.Launches(*(np.array(values, np.int64) for values in columns)))
    assert not overlaps
    return calls


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("cost", [0, LARGE])
def test_every_tile_once_in_order(workers: int, cost: int) -> None:
    rng = np.random.default_rng(workers)
    for _ in range(20):
        grids = [int(n) for n in rng.choice([0, 1, 2, 3, 7, 40], size=12)]
        costs = [int(cost * rng.integers(2)) for _ in grids]
        firsts = [int(n) for n in rng.integers(5, size=len(grids))]
        calls = run(grids, costs, firsts, workers)
        assert [launch for launch, _, _ in calls] == [launch for launch, n in enumerate(grids) for _ in range(n)]
        for launch, n in enumerate(grids):
            tiles = sorted(tile for which, tile, _ in calls if which == launch)
            assert tiles == list(range(firsts[launch], firsts[launch] + n))


def test_little_work_stays_on_the_calling_thread() -> None:
    calls = run([8, 8], [runner.SERIAL_BELOW] * 2, [0, 0], 2)
    assert {thread for _, _, thread in calls} == {threading.get_ident()}


def test_small_launches_of_a_large_run_are_done_by_one_thread() -> None:
    calls = run([64, 8], [LARGE, 0], [0, 0], 2)
    assert len({thread for launch, _, thread in calls if launch == 1}) == 1


def test_counters_lie_a_line_apart() -> None:
    assert runner.COUNTER_BYTES == launch_loop.LINE


def test_a_run_leaves_the_callers_number_of_threads() -> None:
    numba.set_num_threads(1)
    try:
        run([64], [LARGE], [0], 2)
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_launch_notes_when_it_ended(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(runner, "workers", lambda: workers)
    sleeping = KERNEL(lambda tile, argv: time.sleep(0.005))
    place = ctypes.cast(sleeping, ctypes.c_void_p).value
    columns = ([place] * 3, [4, 1, 2], [0] * 3, [LARGE, 0, LARGE], [0], [0] * 3)
    launches = runner.Launches(*(np.array(values, np.int64) for values in columns))
    runner.run(launches)  # notes nothing
    for _ in range(2):
        clock = np.zeros(4, np.int64)
        launches.note_times(clock.ctypes.data)
        runner.run(launches)
        assert clock[0] > 0
        assert (np.diff(clock) >= [5_000_000 * tiles // workers for tiles in (4, 1, 2)]).all()
