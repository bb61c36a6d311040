"""Bytes that a launch moves between its threads and each allocation of global memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gncodegen.emulator.state.lanes import Active
    from gncodegen.emulator.state.machine import Machine
    from gncodegen.emulator.state.memory import Memory
    from gncodegen.emulator.state.regions import Flat


class Traffic:
    """A log of a launch's global accesses: what threads ask for, before any cache.

    Args:
        memory: the device's memory, with every allocation of the launch.

    Attributes: `read` and `written`, bytes by the allocation's label and the width of an access in bytes.
    """

    def __init__(self, memory: Memory) -> None:
        self.read: Counter[tuple[str, int]] = Counter()
        self.written: Counter[tuple[str, int]] = Counter()
        self._starts, _ = memory.bounds()
        self._labels = [one.label for one in memory.allocations]

    def touch(self, machine: Machine, flat: Flat, nbytes: int, active: Active, *, write: bool, strong: bool) -> None:
        """Count `nbytes` for each active lane at its flat index."""
        owners = np.bincount(np.searchsorted(self._starts, flat, "right") - 1)
        count = self.written if write else self.read
        for owner in np.flatnonzero(owners):
            count[self._labels[owner], nbytes] += int(owners[owner]) * nbytes
