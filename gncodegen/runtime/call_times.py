"""How long each call of a Program takes on the CPU, in runs like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.kernels.program import Program
from gncodegen.process.signals import imported
from gncodegen.runtime.execution import Key
from gncodegen.runtime.executor import Executor


class TimedExecutor(Executor):
    """Runs a program and notes when each call ends; `seconds` has an array of times for each run, by call."""

    def __init__(self, program: Program, *arguments: Any) -> None:
        super().__init__(program, *arguments)
        self.seconds: list[NDArray[np.float64]] = []

    def _execute(self, arguments: Mapping[Key, NDArray[Any]], hoisted: bool, count: int) -> None:
        self.seconds.append(np.zeros(len(self.program.calls)))
        super()._execute(arguments, hoisted, count)

    def _run(self, count: int, begin: int, end: int) -> None:
        clock = imported("gncodegen.targets.cpu.runner").times(self._launched(count, begin, end))
        self.seconds[-1][begin:end] = np.maximum(np.diff(clock), 0) * 1e-9
