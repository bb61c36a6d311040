"""How long each call of a Program takes on a device, by the device's own clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.kernels.program import Program
from gncodegen.runtime.device_executor import Array, DeviceExecutor
from gncodegen.runtime.execution import Key
from gncodegen.targets.device import Work


class TimedDeviceExecutor(DeviceExecutor):
    """Runs a program launch by launch, outside a graph, and times each launch.

    Where launches are shorter than it takes to ask for them, the device waits between them; that counts as theirs.
    """

    def __init__(self, program: Program, *arguments: Any) -> None:
        super().__init__(program, *arguments)
        self._known: list[NDArray[np.float64]] = []
        self._passing: list[Callable[[], list[float]]] = []  # of the last run, the hoisted calls first

    @property
    def seconds(self) -> NDArray[np.float64]:
        """The times of each run, by call: (runs, calls); of a call that a run left out 0."""
        self._collect()
        return np.array(self._known).reshape(-1, len(self.program.calls))

    @property
    def waits(self) -> NDArray[np.float64]:
        """None: the device waits between launches, and that counts as theirs."""
        return np.zeros_like(self.seconds)

    @property
    def averages(self) -> NDArray[np.float64]:
        """None: they pass in a stream of their own."""
        return np.zeros((len(self.seconds), 0, 2))

    def _execute(self, arguments: Mapping[Key, Array], hoisted: bool, count: int) -> None:
        self._collect()  # a run at a time: events are freed
        super()._execute(arguments, hoisted, count)

    def _collect(self) -> None:
        if self._passing:
            found = np.array([time for passing in self._passing for time in passing()])
            self._known.append(np.concatenate([np.zeros(len(self.program.calls) - len(found)), found]))
            self._passing.clear()

    def _prepared(self, work: Work) -> Callable[[], None]:
        # Without self, which holds what is returned: its memory would wait for the garbage collector.
        start, passing = self._device.prepare_timed(work), self._passing
        return lambda: passing.append(start())
