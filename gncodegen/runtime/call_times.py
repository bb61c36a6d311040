"""How long each call of a Program takes on the CPU, in runs like any other: the launch loop notes the times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.allocation import address_of, lasting
from gncodegen.kernels.program import Program
from gncodegen.runtime.execution import Key
from gncodegen.runtime.executor import Executor

_WORDS = 1 << 14
"""Of one clock: times of some hundred runs, so that a run allocates nothing, and computes only where they lie."""


class TimedExecutor(Executor):
    """Runs a program and notes when each call ends."""

    def __init__(self, program: Program, *arguments: Any) -> None:
        super().__init__(program, *arguments)
        self._clock = np.zeros(0, np.int64)
        self._address = self._next = 0
        self._runs: list[list[tuple[NDArray[np.int64], int, int, int]]] = []  # clock, place in it, begin, end of calls
        self._spans: list[list[tuple[int, int]]] = []  # of the averages over ranks of each run

    @property
    def seconds(self) -> NDArray[np.float64]:
        """The times of each run, by call: (runs, calls); of a call that a run left out 0."""
        begins, ends = self._noted()
        return np.asarray(np.maximum(ends - begins, 0) * 1e-9, np.float64)

    @property
    def waits(self) -> NDArray[np.float64]:
        """What passed in front of each call since the end of the one before, alike."""
        begins, ends = self._noted()
        found = np.zeros(begins.shape)
        found[:, 1:] = np.where(ends[:, :-1] > 0, begins[:, 1:] - ends[:, :-1], 0)
        return np.asarray(np.maximum(found, 0) * 1e-9, np.float64)

    @property
    def averages(self) -> NDArray[np.float64]:
        """Seconds from the end of the last call before each average over ranks to its begin and to its end."""
        _, ends = self._noted()
        spans = np.array(self._spans, np.int64).reshape(len(self._spans), -1, 2)
        before = [reduction.begin - 1 for stop in self.program.stops for reduction in stop.begin][: spans.shape[1]]
        return np.asarray((spans - ends[:, before, None]) * 1e-9, np.float64)

    def _noted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """When each call of each run began and ended, in nanoseconds; 0 of one that was left out."""
        begins = np.zeros((len(self._runs), len(self.program.calls)), np.int64)
        ends = np.zeros_like(begins)
        for run, parts in enumerate(self._runs):
            for clock, place, begin, end in parts:
                noted = clock[place : place + end - begin + 1]
                begins[run, begin:end], ends[run, begin:end] = noted[:-1], noted[1:]
        return begins, ends

    def _execute(self, arguments: Mapping[Key, NDArray[Any]], hoisted: bool, count: int) -> None:
        self._runs.append([])
        self._averaging.spans = spans = []
        try:
            super()._execute(arguments, hoisted, count)
        finally:
            self._averaging.spans = None
        self._spans.append(spans)

    def _run(self, count: int, begin: int, end: int) -> None:
        launches = self._launched(count, begin, end)
        place, self._next = self._next, self._next + end - begin + 1
        if self._next > len(self._clock):
            self._clock = lasting((max(_WORDS, end - begin + 1),), np.int64)
            self._clock.fill(0)
            self._address = address_of(self._clock)
            place, self._next = 0, end - begin + 1
        launches.note_times(self._address + 8 * place)
        self._runs[-1].append((self._clock, place, begin, end))
        self._start(launches)
