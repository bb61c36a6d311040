"""The one runner: walks a list of launches and calls each kernel's address over its tiles, on all cores.

What a core does is the launch loop, a kernel whose object file lies in the cache like others. Threads are Numba's: they
start at the first run that has work to share, and Numba is imported then.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gncodegen.kernels import store
from gncodegen.targets.cpu.compile import compile_missing
from gncodegen.targets.cpu.host import tag
from gncodegen.targets.cpu.objects import LinkedKernel, link
from gncodegen.targets.cpu.parallel import parallel_for, turn, workers

Int64Array = NDArray[np.int64]

SHARED_FROM = 400_000
"""Runs with less work to share, in nanoseconds of one core, stay on the calling thread: the others may be asleep."""

SERIAL_BELOW = 8_000
"""Launches of less work, in nanoseconds of one core, run on one thread: to share them takes longer."""

COUNTER_BYTES = 64
"""From one counter of the launch loop to the next: its LINE."""

_WORKERS, _PROGRESS, _CLOCK = 1, 2, 8  # places in the table


@dataclass(eq=False)
class Launches:
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
    work: int = field(init=False)
    """Nanoseconds of one core that can be shared."""
    alone: Callable[[], None] | None = field(default=None, init=False)
    """The run of what is always done by the calling thread, once it is known."""

    def __post_init__(self) -> None:
        shared = (self.grids > 1) & (self.costs >= SERIAL_BELOW)
        self.work = int(self.costs[shared].sum())
        arguments = self.argv.ctypes.data + 8 * self.starts
        columns = (self.functions, self.grids, self.firsts, shared, arguments)
        self._columns = [np.ascontiguousarray(column, np.int64) for column in columns]
        self._progress, self._workers = np.zeros(0, np.int64), 0
        addresses = [column.ctypes.data for column in self._columns]
        self._table = np.array([len(self.functions), 1, 0, *addresses, 0], np.int64)
        self._address = self._table.ctypes.data

    def only(self, number: int, argv: Int64Array) -> Launches:
        """One launch alone, with other arguments."""
        one = slice(number, number + 1)
        return Launches(self.functions[one], self.grids[one], self.firsts[one], self.costs[one], argv, self.starts[one])

    def note_times(self, address: int) -> None:
        """Each run from now on adds to the int64s there when it began and when each launch ended, in nanoseconds."""
        self._table[_CLOCK] = address

    def table(self, workers: int) -> int:
        """The address of what the launch loop reads, for a run of so many workers that begins now."""
        if self._workers != workers:
            self._workers = 0
            self._progress = np.zeros(len(self.functions) * (workers + 1) * COUNTER_BYTES // 8, np.int64)
            self._table[_WORKERS], self._table[_PROGRESS] = workers, self._progress.ctypes.data
            self._workers = workers
        elif workers > 1:
            self._progress.fill(0)
        return self._address


class _Loop:
    """The launch loop in memory, and how it is called: alone, or by each of Numba's threads."""

    def __init__(self) -> None:
        self._kernel = linked_loop()
        self._numbers = np.arange(4096, dtype=np.int64)  # of workers
        self._parts = np.array([self._numbers.ctypes.data], np.int64)
        self._strides, self._one = np.array([8], np.int64), np.array([1], np.int64)
        self._counts: dict[int, Int64Array] = {}
        self._ends = self._parts.ctypes.data, self._one.ctypes.data, self._strides.ctypes.data
        address = self._kernel.address

        self.alone: Callable[[int], None] = partial(
            ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(address), *self._ends
        )
        """All by the calling thread; takes a table's address."""

    def together(self, parallel_for: Callable[..., None], table: int, workers: int) -> None:
        """By so many threads."""
        if workers not in self._counts:
            self._counts[workers] = np.array([workers], np.int64)
        parts, _, strides = self._ends
        parallel_for(self._kernel.address, parts, self._counts[workers].ctypes.data, strides, table, 0, 1, workers)


def linked_loop() -> LinkedKernel:
    """The launch loop in memory."""
    source = store.keep(Path(__file__).with_name("launch_loop.py").read_bytes(), "launch_loop", tag())
    compile_missing([source.path])
    (kernel,) = link([source.path])
    return kernel


@cache
def _loop() -> _Loop:
    return _Loop()


def run(launches: Launches) -> None:
    """Runs launches in order, on all threads but for small ones."""
    small = launches.work < SHARED_FROM
    count = 1 if small else workers()
    table = launches.table(count)
    if count > 1:
        with turn():
            _loop().together(parallel_for(), table, count)
        return
    alone = partial(_loop().alone, table)
    launches.alone = alone if small else None
    alone()
