"""Bytes that a launch moves between its threads and each allocation of global memory."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter

import numpy as np

from gncodegen.emulator.state.memory import DeviceMemory
from gncodegen.emulator.state.observer import Access, Observer
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
        starts, _ = memory.bounds()
        self._starts: list[int] = starts.tolist()
        self._labels = [one.label for one in memory.allocations]

    def access(self, threads: Threads, access: Access) -> None:
        """Count the bytes that each active lane asks for."""
        count, nbytes = self.written if access.write else self.read, access.nbytes
        first, last = (bisect_right(self._starts, byte) - 1 for byte in (access.span[0], access.span[1] - nbytes))
        if first == last:
            count[self._labels[first], nbytes] += access.active.count * nbytes
            return
        owners = np.bincount(np.searchsorted(self._starts, access.offsets, "right") - 1)
        for owner in np.flatnonzero(owners):
            count[self._labels[owner], nbytes] += int(owners[owner]) * nbytes
