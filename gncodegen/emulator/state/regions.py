"""State spaces as byte buffers: lanes' addresses to checked places in them (PTX ISA 5.1).

Generic addresses: global memory starts at `memory.BASE`; shared, local and constant windows carry their number in the
top byte. A shared address may name another block of the cluster by rank + 1 in its bits 24 and up (mapa).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.ptx.scalars import Array
from gncodegen.emulator.state.lanes import Active
from gncodegen.emulator.state.memory import BASE, Memory

if TYPE_CHECKING:
    from gncodegen.emulator.state.machine import Machine

WINDOW_BITS = 56
SHARED, LOCAL, CONSTANT = (number << WINDOW_BITS for number in (1, 2, 3))
RANK_BITS = 24
Flat = npt.NDArray[np.int64]


class Log(Protocol):
    """What watches the accesses to a region for races."""

    def touch(self, machine: Machine, flat: Flat, nbytes: int, active: Active, *, write: bool, strong: bool) -> None:
        """Note that each active lane touches `nbytes` from its flat index on."""
        ...


class Watchers:
    """Several logs of one region.

    Args:
        logs: who is told, in this order.
    """

    def __init__(self, logs: Sequence[Log]) -> None:
        self._logs = logs

    def touch(self, machine: Machine, flat: Flat, nbytes: int, active: Active, *, write: bool, strong: bool) -> None:
        """Tell every log of the accesses."""
        for log in self._logs:
            log.touch(machine, flat, nbytes, active, write=write, strong=strong)


class Region:
    """Bytes that lanes address.

    Attributes: `data`, its initialised flags `ready` (None: not tracked) and its race `log` (None: not watched).
    """

    name = "memory"

    def __init__(self, data: Array, ready: Array | None, log: Log | None) -> None:
        self.data, self.ready, self.log = data, ready, log

    def place(self, machine: Machine, offset: Flat, active: Active, nbytes: int) -> Flat:
        """Each lane's flat index of its address in this region; a fault where it leaves the region."""
        raise NotImplementedError

    def describe(self, flat: int) -> str:
        """What lies at a flat index, for a fault."""
        return f"{self.name} byte {flat}"


class GlobalRegion(Region):
    """The device's memory."""

    name = "global"

    def __init__(self, memory: Memory, log: Log | None, tracked: bool) -> None:
        super().__init__(memory.bytes, memory.initialised if tracked else None, log)
        self._memory = memory
        self._starts, self._ends = memory.bounds()

    def place(self, machine: Machine, offset: Flat, active: Active, nbytes: int) -> Flat:
        """Each lane's index; a fault outside every allocation."""
        flat = offset - BASE
        low, high = int(flat.min()), int(flat.max())
        first = int(np.searchsorted(self._starts, low, "right")) - 1
        if first >= 0 and high + nbytes <= self._ends[first]:
            return flat
        owner = np.searchsorted(self._starts, flat, "right") - 1
        bad = (owner < 0) | (flat + nbytes > self._ends[np.maximum(owner, 0)] if self._ends.size else True)
        if np.any(bad):
            lane = int(np.flatnonzero(bad)[0])
            machine.fault(f"{nbytes} bytes at {self._near(int(flat[lane]))} are out of bounds", active, lane)
        return flat

    def describe(self, flat: int) -> str:
        """The allocation's label and the byte in it."""
        return self._near(flat)

    def _near(self, flat: int) -> str:
        owner = self._memory.nearest(flat + BASE)
        if owner is None or flat + BASE < owner.start:
            return f"address {flat + BASE:#x}, in no allocation,"
        return f"byte {flat + BASE - owner.start} of {owner.label} ({owner.nbytes} bytes)"


class SharedRegion(Region):
    """Every block's shared memory, one behind the other."""

    name = "shared"

    def __init__(self, blocks: int, nbytes: int, cluster: int, log: Log | None, tracked: bool) -> None:
        self.limit, self.stride, self._cluster = nbytes, -(-max(nbytes, 1) // 128) * 128, cluster
        size = blocks * self.stride
        super().__init__(np.full(size, 0xFF, np.uint8), np.zeros(size, np.uint8) if tracked else None, log)

    def place(self, machine: Machine, offset: Flat, active: Active, nbytes: int) -> Flat:
        """Each lane's index in its block's part, or in the part of the block that its address names."""
        block = machine.block if active.all else machine.block[active.index]
        if self._cluster > 1:
            rank = offset >> RANK_BITS
            named = (rank > 0) & (rank <= self._cluster)
            block = np.where(named, block // self._cluster * self._cluster + rank - 1, block)
            offset = np.where(named, offset & ((1 << RANK_BITS) - 1), offset)
        if int(offset.min()) < 0 or int(offset.max()) + nbytes > self.limit:
            lane = int(np.flatnonzero((offset < 0) | (offset + nbytes > self.limit))[0])
            at = f"byte {int(offset[lane])} of the block's {self.limit} bytes of shared memory"
            machine.fault(f"{nbytes} bytes at {at} are out of bounds", active, lane)
        return offset + block * self.stride

    def describe(self, flat: int) -> str:
        """The byte in the block's shared memory."""
        return f"shared byte {flat % self.stride}"


class LocalRegion(Region):
    """Every thread's local memory, one behind the other."""

    name = "local"

    def __init__(self, lanes: int, nbytes: int) -> None:
        self.limit, self.stride = nbytes, -(-max(nbytes, 1) // 16) * 16
        super().__init__(np.full(lanes * self.stride, 0xFF, np.uint8), None, None)

    def place(self, machine: Machine, offset: Flat, active: Active, nbytes: int) -> Flat:
        """Each lane's index in its own part."""
        if int(offset.min()) < 0 or int(offset.max()) + nbytes > self.limit:
            lane = int(np.flatnonzero((offset < 0) | (offset + nbytes > self.limit))[0])
            at = f"byte {int(offset[lane])} of the thread's {self.limit} bytes of local memory"
            machine.fault(f"{nbytes} bytes at {at} are out of bounds", active, lane)
        return offset + active.index * self.stride


class ConstantRegion(Region):
    """The module's own constants and global variables."""

    name = "constant"

    def __init__(self, data: Array) -> None:
        super().__init__(data, None, None)

    def place(self, machine: Machine, offset: Flat, active: Active, nbytes: int) -> Flat:
        """Each lane's index."""
        if int(offset.min()) < 0 or int(offset.max()) + nbytes > self.data.size:
            lane = int(np.flatnonzero((offset < 0) | (offset + nbytes > self.data.size))[0])
            machine.fault(f"{nbytes} bytes at constant byte {int(offset[lane])} are out of bounds", active, lane)
        return offset


_WINDOWS = {SHARED >> WINDOW_BITS: "shared", LOCAL >> WINDOW_BITS: "local", CONSTANT >> WINDOW_BITS: "constant"}


def resolve(
    machine: Machine, space: str, address: Flat, active: Active, nbytes: int
) -> list[tuple[Region, Flat, Active, Any]]:
    """Lanes' addresses in a space ("" generic) as (region, flat indices, lanes, their places among the active) parts.

    Raises:
        EmulationFault: an address is misaligned or out of bounds.
    """
    if nbytes > 1:
        odd = int(np.bitwise_or.reduce(address)) & (nbytes - 1)
        if odd:
            lane = int(np.flatnonzero(address & (nbytes - 1))[0])
            machine.fault(f"{nbytes} bytes at {int(address[lane]):#x} are misaligned", active, lane)
    if space in {"shared", "local"}:
        region = machine.regions[space]
        return [(region, region.place(machine, address, active, nbytes), active, slice(None))]
    window = address >> WINDOW_BITS
    first = int(window[0])
    if (window == first).all():
        return [_window(machine, first, address, active, nbytes, slice(None))]
    parts: list[tuple[Region, Flat, Active, Any]] = []
    for number in np.unique(window):
        chosen = np.flatnonzero(window == number)
        lanes = Active(active.size, index=active.index[chosen])
        parts.append(_window(machine, int(number), address[chosen], lanes, nbytes, chosen))
    return parts


def _window(
    machine: Machine, number: int, address: Flat, active: Active, nbytes: int, chosen: Any
) -> tuple[Region, Flat, Active, Any]:
    name = _WINDOWS.get(number, "global")
    region = machine.regions[name]
    offset = address if name == "global" else address & ((1 << WINDOW_BITS) - 1)
    return region, region.place(machine, offset, active, nbytes), active, chosen
