"""Races between blocks in global memory, over a whole launch.

An address written by one block may not be touched by another. Strong accesses (volatile, relaxed, acquire, release,
atomic) race with weak ones only. `clocks.VectorClocks` adds what orders the blocks of a cooperative or cluster launch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.ptx.scalars import Array
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.memory import DeviceMemory
from gncodegen.emulator.state.observer import Observer, Offsets
from gncodegen.emulator.state.threads import Threads

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

    def access(
        self, threads: Threads, offsets: Offsets, nbytes: int, active: ActiveLanes, *, write: bool, strong: bool
    ) -> None:
        """Note an access and compare it with those of other blocks.

        Raises:
            EmulationFault: another block touched the bytes, and one of the two writes.
        """
        width = max(nbytes // self.granule, 1)
        place = offsets // nbytes if nbytes >= self.granule else offsets // self.granule
        block = (threads.block if active.all else threads.block[active.index]) + (threads.first + 1)
        mine = block.astype(np.int32)[:, None]
        writer, reader = self.writer.reshape(-1, width), self.reader.reshape(-1, width)
        self._compare(threads, active, offsets, writer[place], mine, write, "written")
        if write:
            self._compare(threads, active, offsets, reader[place], mine, write, "read")
        if strong:
            if write:
                self.strong = np.zeros_like(self.writer) if self.strong is None else self.strong
                _merge(self.strong.reshape(-1, width), place, mine)
            return
        if self.strong is not None:
            atomic = self.strong.reshape(-1, width)[place]
            self._compare(threads, active, offsets, atomic, mine, write, "written atomically")
        if not write:
            _merge(reader, place, mine)
            return
        writer[place] = mine
        self._compare(threads, active, offsets, writer[place], mine, write, "written")

    def _compare(
        self, threads: Threads, active: ActiveLanes, offsets: Offsets, found: Array, mine: Array, write: bool, did: str
    ) -> None:
        if not found.any() or (found == mine).all():
            return
        bad = (found != 0) & (found != mine)
        if not bad.any():
            return
        lane, granule = (int(one[0]) for one in np.nonzero(bad))
        other = found[lane, granule]
        name = "several blocks" if other == _MANY else f"block {int(other) - 1}"
        what = self._memory.describe(int(offsets[lane]) + granule * self.granule)
        verb = "written" if write else "read"
        threads.fault(
            f"race between blocks: {what} is {verb} here and {did} by {name} in the same launch", active, lane
        )


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
