"""Asynchronous copies in flight (PTX ISA 9.7.9.25).

The bytes of a copy reach shared memory only at the wait that covers it, and are uninitialised until then, so that a
missing wait is a fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gncodegen.emulator.ptx.scalars import Array, element
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.observer import Offsets
from gncodegen.emulator.state.regions import Region, StateSpaces
from gncodegen.emulator.state.threads import Threads


@dataclass
class _Copy:
    """One issued copy of `nbytes` a lane."""

    active: ActiveLanes
    region: Region
    offsets: Offsets
    nbytes: int
    data: Array
    group: Array  # a lane's commit group, -1: not committed, -2: arrived


class AsyncCopies:
    """The copies in flight of a wave, and every lane's count of committed groups."""

    def __init__(self, lanes: int) -> None:
        self._pending: list[_Copy] = []
        self._groups = np.zeros(lanes, np.int64)

    def issue(
        self, threads: Threads, spaces: StateSpaces, active: ActiveLanes, address: Offsets, nbytes: int, data: Array
    ) -> None:
        """Start a copy; its target counts as uninitialised until it arrives."""
        for region, offsets, lanes, chosen in spaces.resolve(threads, "shared", address, active, nbytes):
            if region.ready is not None:
                region.ready.view(element(nbytes))[offsets // nbytes] = 0
            region.note(threads, offsets, nbytes, lanes, write=True)
            group = np.full(lanes.count, -1, np.int64)
            self._pending.append(_Copy(lanes, region, offsets, nbytes, data[chosen], group))

    def commit(self, active: ActiveLanes) -> None:
        """Close each lane's current group."""
        members = active.mask
        for copy in self._pending:
            mine = members[copy.active.index] & (copy.group == -1)
            copy.group[mine] = self._groups[copy.active.index[mine]]
        self._groups[active.index] += 1

    def wait(self, threads: Threads, active: ActiveLanes, most: int, *, loose: bool = False) -> None:
        """Let all but the `most` latest groups of each lane arrive; `loose`: uncommitted copies too."""
        members = active.mask
        for copy in self._pending:
            lanes = copy.active.index
            due = members[lanes] & (copy.group < self._groups[lanes] - most) & (copy.group != -2)
            due &= (copy.group >= 0) | loose
            if due.any():
                _arrive(threads, copy, due)
        self._pending = [copy for copy in self._pending if (copy.group != -2).any()]

    def note(self, threads: Threads) -> None:
        """Note every copy in flight as a write of the interval that begins: it may land at any time."""
        for copy in self._pending:
            flying = copy.group != -2
            lanes = ActiveLanes(copy.active.size, index=copy.active.index[flying])
            copy.region.note(threads, copy.offsets[flying], copy.nbytes, lanes, write=True)


def _arrive(threads: Threads, copy: _Copy, due: Array) -> None:
    kind = element(copy.nbytes)
    place = copy.offsets[due] // copy.nbytes
    copy.region.data.view(kind)[place] = copy.data[due]
    if copy.region.ready is not None:
        copy.region.ready.view(kind)[place] = np.full(copy.nbytes, 0xFF, np.uint8).view(kind)[0]
    lanes = ActiveLanes(copy.active.size, index=copy.active.index[due])
    copy.region.note(threads, copy.offsets[due], copy.nbytes, lanes, write=True)
    copy.group[due] = -2
