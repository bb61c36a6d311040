"""How long each call of a Program takes on the CPU, in runs like any other: the launch loop notes the times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.kernels.program import Program
from gncodegen.runtime.arrays import address_of, lasting
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

    @property
    def seconds(self) -> NDArray[np.float64]:
        """The times of each run, by call: (runs, calls); of a call that a run left out 0."""
        found = np.zeros((len(self._runs), len(self.program.calls)))
        for times, parts in zip(found, self._runs, strict=True):
            for clock, place, begin, end in parts:
                noted = np.diff(clock[place : place + end - begin + 1])
                times[begin:end] = np.maximum(noted, 0) * 1e-9
        return found

    def _execute(self, arguments: Mapping[Key, NDArray[Any]], hoisted: bool, count: int) -> None:
        self._runs.append([])
        super()._execute(arguments, hoisted, count)

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
