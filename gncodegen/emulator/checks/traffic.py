"""Bytes that a launch moves between its threads and each allocation of global memory."""

from __future__ import annotations

from collections import Counter

import numpy as np

from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.memory import DeviceMemory
from gncodegen.emulator.state.observer import Observer, Offsets
from gncodegen.emulator.state.threads import Threads


class Traffic(Observer):
    """Counts a launch's global accesses: what threads ask for, before any cache.

    Args:
        memory: the device's memory, with every allocation of the launch.

    Attributes: `read` and `written`, bytes by the allocation's label and the width of an access in bytes.
    """

    def __init__(self, memory: DeviceMemory) -> None:
        self.read: Counter[tuple[str, int]] = Counter()
        self.written: Counter[tuple[str, int]] = Counter()
        self._starts, _ = memory.bounds()
        self._labels = [one.label for one in memory.allocations]

    def access(
        self, threads: Threads, offsets: Offsets, nbytes: int, active: ActiveLanes, *, write: bool, strong: bool
    ) -> None:
        """Count `nbytes` for each active lane at its offsets index."""
        owners = np.bincount(np.searchsorted(self._starts, offsets, "right") - 1)
        count = self.written if write else self.read
        for owner in np.flatnonzero(owners):
            count[self._labels[owner], nbytes] += int(owners[owner]) * nbytes
