"""Races between blocks in global memory, over a whole launch.

An address written by one block may not be touched by another. Strong accesses (volatile, relaxed, acquire, release,
atomic) race with weak ones only. `clocks.VectorClocks` adds what orders the blocks of a cooperative or cluster launch,
or of one whose kernel publishes what it wrote.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.ptx.scalars import Array
from gncodegen.emulator.state.memory import DeviceMemory
from gncodegen.emulator.state.observer import Access, Observer
from gncodegen.emulator.state.threads import Threads

_MOST_BYTES = 1 << 27
_MANY = np.int32(2**31 - 1)


class BlockOrder(Observer):
    """Who touched each granule of global memory in this launch: the block's number + 1, 0 for none.

    Args:
        memory: the device's memory.
        granule: bytes told apart.
    """

    def __init__(self, memory: DeviceMemory, granule: int) -> None:
        self.granule, self._memory = granule, memory
        count = -(-memory.bytes.size // granule // 16) * 16 + 16
        self.writer: npt.NDArray[np.int32] = np.zeros(count, np.int32)
        self.reader: npt.NDArray[np.int32] = np.zeros(count, np.int32)
        self.strong: npt.NDArray[np.int32] | None = None
        self._written = False
        self._unmerged: list[tuple[Access, Array]] = []  # reads, with their blocks, that `reader` does not know yet
        self._bytes = 0

    def access(self, threads: Threads, access: Access) -> None:
        """Note an access and compare it with those of other blocks.

        Raises:
            EmulationFault: another block touched the bytes, and one of the two writes.
        """
        mine = _blocks(threads, access)
        place, width = self._place(access)
        if access.write or self._written:
            writer = self.writer.reshape(-1, width)
            self._compare(threads, access, writer.take(place, axis=0), mine, "written")
        if access.write:
            self._merge_reads(access)
            reader = self.reader.reshape(-1, width)
            self._compare(threads, access, reader.take(place, axis=0), mine, "read")
        if access.strong:
            if access.write:
                self.strong = np.zeros_like(self.writer) if self.strong is None else self.strong
                _merge(self.strong.reshape(-1, width), place, mine)
            return
        if self.strong is not None:
            atomic = self.strong.reshape(-1, width).take(place, axis=0)
            self._compare(threads, access, atomic, mine, "written atomically")
        if not access.write:
            self._unmerged.append((access, mine))
            self._bytes += access.offsets.nbytes + mine.nbytes
            if self._bytes > _MOST_BYTES:
                self._merge_reads(None)
            return
        self._written = True
        writer = self.writer.reshape(-1, width)
        writer[place] = mine
        self._compare(threads, access, writer.take(place, axis=0), mine, "written")

    def _place(self, access: Access) -> tuple[Array, int]:
        """Each lane's row among the granules in rows as wide as the access, and that width."""
        width = max(access.nbytes // self.granule, 1)
        return access.offsets // (self.granule * width), width

    def _merge_reads(self, write: Access | None) -> None:
        """Note the readers of the granules near a write, or of all: most that is read is never written."""
        low, high = write.span if write is not None else (0, self._memory.bytes.size)
        kept: list[tuple[Access, Array]] = []
        for access, mine in self._unmerged:
            if access.span[0] < high and access.span[1] > low:
                place, width = self._place(access)
                _merge(self.reader.reshape(-1, width), place, mine)
            else:
                kept.append((access, mine))
        self._unmerged = kept
        self._bytes = sum(access.offsets.nbytes + mine.nbytes for access, mine in kept)

    def _compare(self, threads: Threads, access: Access, found: Array, mine: Array, did: str) -> None:
        if not found.any() or (found == mine).all():
            return
        bad = (found != 0) & (found != mine)
        if not bad.any():
            return
        lane, granule = (int(one[0]) for one in np.nonzero(bad))
        other = found[lane, granule]
        name = "several blocks" if other == _MANY else f"block {int(other) - 1}"
        what = self._memory.describe(int(access.offsets[lane]) + granule * self.granule)
        verb = "written" if access.write else "read"
        threads.fault(
            f"race between blocks: {what} is {verb} here and {did} by {name} in the same launch", access.active, lane
        )


def _blocks(threads: Threads, access: Access) -> Array:
    """Each lane's block in the launch + 1, as a column."""
    block = threads.block if access.active.all else threads.block[access.lanes]
    return (block + (threads.first + 1)).astype(np.int32)[:, None]


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
