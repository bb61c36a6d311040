"""Races between blocks in global memory, over a whole launch.

An address written by one block may not be touched by another. Strong accesses (volatile, relaxed, acquire, release,
atomic) race with weak ones only. `clocks.Clocks` adds what orders the blocks of a cooperative or cluster launch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.ptx.scalars import Array
from gncodegen.emulator.state.lanes import Active, Mask
from gncodegen.emulator.state.regions import Flat

if TYPE_CHECKING:
    from gncodegen.emulator.state.machine import Machine

_MANY = np.int32(2**31 - 1)


class Order:
    """Who touched each granule of global memory in this launch: the block's number + 1, 0 for none.

    Args:
        nbytes: bytes of the device's memory.
        granule: bytes told apart.
    """

    def __init__(self, nbytes: int, granule: int) -> None:
        self.granule = granule
        count = -(-nbytes // granule // 16) * 16 + 16
        self.writer: npt.NDArray[np.int32] = np.zeros(count, np.int32)
        self.reader: npt.NDArray[np.int32] = np.zeros(count, np.int32)
        self.strong: npt.NDArray[np.int32] | None = None

    def touch(self, machine: Machine, flat: Flat, nbytes: int, active: Active, *, write: bool, strong: bool) -> None:
        """Note an access and compare it with those of other blocks.

        Raises:
            EmulationFault: another block touched the bytes, and one of the two writes.
        """
        width = max(nbytes // self.granule, 1)
        place = flat // nbytes if nbytes >= self.granule else flat // self.granule
        block = (machine.block if active.all else machine.block[active.index]) + (machine.first + 1)
        mine = block.astype(np.int32)[:, None]
        writer, reader = self.writer.reshape(-1, width), self.reader.reshape(-1, width)
        self._compare(machine, active, flat, writer[place], mine, write, "written")
        if write:
            self._compare(machine, active, flat, reader[place], mine, write, "read")
        if strong:
            if write:
                self.strong = np.zeros_like(self.writer) if self.strong is None else self.strong
                _merge(self.strong.reshape(-1, width), place, mine)
            return
        if self.strong is not None:
            atomic = self.strong.reshape(-1, width)[place]
            self._compare(machine, active, flat, atomic, mine, write, "written atomically")
        if not write:
            _merge(reader, place, mine)
            return
        writer[place] = mine
        self._compare(machine, active, flat, writer[place], mine, write, "written")

    def _compare(
        self, machine: Machine, active: Active, flat: Flat, found: Array, mine: Array, write: bool, did: str
    ) -> None:
        if not found.any() or (found == mine).all():
            return
        bad = (found != 0) & (found != mine)
        if not bad.any():
            return
        lane, granule = (int(one[0]) for one in np.nonzero(bad))
        other = found[lane, granule]
        name = "several blocks" if other == _MANY else f"block {int(other) - 1}"
        what = machine.regions["global"].describe(int(flat[lane]) + granule * self.granule)
        verb = "written" if write else "read"
        machine.fault(
            f"race between blocks: {what} is {verb} here and {did} by {name} in the same launch", active, lane
        )

    def observe(self, machine: Machine, active: Active, address: Flat, acquires: bool) -> None:
        """A strong load; orders nothing here."""

    def publish(self, machine: Machine, active: Active, address: Flat, releases: bool, *, joins: bool = False) -> None:
        """A strong store; orders nothing here."""

    def fence(self, machine: Machine, active: Active) -> None:
        """A fence of device scope; orders nothing here."""

    def barrier(self, machine: Machine, passed: Mask | None) -> None:
        """All blocks (None) or the flagged ones passed a barrier of their own."""

    def cluster(self, machine: Machine, passed: Mask | None) -> None:
        """All clusters (None) or the flagged blocks' passed a cluster barrier; orders nothing here."""


def _merge(tags: Array, place: Array, mine: Array) -> None:
    """Add each lane's block to the tags of the granules it touches."""
    before = tags[place]
    if not before.any():
        after = np.broadcast_to(mine, before.shape)
    elif (before == mine).all():
        return
    else:
        after = np.where((before == 0) | (before == mine), mine, _MANY)
    tags[place] = after
    lost = (tags[place] != after).any(axis=1)
    if lost.any():
        tags[place[lost]] = _MANY
