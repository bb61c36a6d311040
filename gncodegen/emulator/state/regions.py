"""State spaces as byte buffers: lanes' addresses to checked offsets in them (PTX ISA 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gncodegen.emulator.ptx.scalars import Array
from gncodegen.emulator.ptx.spaces import RANK_BITS, WINDOW_BITS, WINDOWS
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.memory import BASE, DeviceMemory
from gncodegen.emulator.state.observer import Access, Observer, Offsets
from gncodegen.emulator.state.threads import Threads


class Region:
    """Bytes that lanes address.

    Attributes: `data`, its initialised flags `ready` (None: not tracked) and the `observers` of accesses to it.
    """

    name = "memory"

    def __init__(self, data: Array, ready: Array | None) -> None:
        self.data, self.ready = data, ready
        self.observers: list[Observer] = []

    def place(self, threads: Threads, address: Offsets, active: ActiveLanes, nbytes: int) -> Offsets:
        """Each lane's offset in this region; a fault where its access leaves the region."""
        raise NotImplementedError

    def describe(self, offset: int) -> str:
        """What lies at an offset, for a fault."""
        return f"{self.name} byte {offset}"

    def note(
        self,
        threads: Threads,
        offsets: Offsets,
        nbytes: int,
        active: ActiveLanes,
        *,
        write: bool,
        strong: bool = False,
        agreed: bool = False,
    ) -> None:
        """Tell the observers of an access."""
        if self.observers:
            access = Access(threads, offsets, nbytes, active, write=write, strong=strong)
            access.agreed = agreed
            for one in self.observers:
                one.access(threads, access)


class GlobalRegion(Region):
    """The device's memory."""

    name = "global"

    def __init__(self, memory: DeviceMemory, tracked: bool) -> None:
        super().__init__(memory.bytes, memory.initialised if tracked else None)
        self.describe = memory.describe
        self._starts, self._ends = memory.bounds()

    def place(self, threads: Threads, address: Offsets, active: ActiveLanes, nbytes: int) -> Offsets:
        """Each lane's offset; a fault outside every allocation."""
        offsets = address - BASE
        low, high = int(offsets.min()), int(offsets.max())
        first = int(np.searchsorted(self._starts, low, "right")) - 1
        if first >= 0 and high + nbytes <= self._ends[first]:
            return offsets
        owner = np.searchsorted(self._starts, offsets, "right") - 1
        bad = (owner < 0) | (offsets + nbytes > self._ends[np.maximum(owner, 0)] if self._ends.size else True)
        if np.any(bad):
            lane = int(np.flatnonzero(bad)[0])
            threads.fault(f"{nbytes} bytes at {self.describe(int(offsets[lane]))} are out of bounds", active, lane)
        return offsets


class SharedRegion(Region):
    """Every block's shared memory, one behind the other."""

    name = "shared"

    def __init__(self, blocks: int, nbytes: int, cluster: int, tracked: bool) -> None:
        self.limit, self.stride, self._cluster = nbytes, -(-max(nbytes, 1) // 128) * 128, cluster
        size = blocks * self.stride
        super().__init__(np.full(size, 0xFF, np.uint8), np.zeros(size, np.uint8) if tracked else None)

    def place(self, threads: Threads, address: Offsets, active: ActiveLanes, nbytes: int) -> Offsets:
        """Each lane's offset in its block's part, or in the part of the block that its address names."""
        block = threads.block if active.all else threads.block[active.index]
        if self._cluster > 1:
            rank = address >> RANK_BITS
            named = (rank > 0) & (rank <= self._cluster)
            block = np.where(named, block // self._cluster * self._cluster + rank - 1, block)
            address = np.where(named, address & ((1 << RANK_BITS) - 1), address)
        if int(address.min()) < 0 or int(address.max()) + nbytes > self.limit:
            lane = int(np.flatnonzero((address < 0) | (address + nbytes > self.limit))[0])
            at = f"byte {int(address[lane])} of the block's {self.limit} bytes of shared memory"
            threads.fault(f"{nbytes} bytes at {at} are out of bounds", active, lane)
        return address + block * self.stride

    def describe(self, offset: int) -> str:
        """The byte in the block's shared memory."""
        return f"shared byte {offset % self.stride}"


class LocalRegion(Region):
    """Every thread's local memory, one behind the other."""

    name = "local"

    def __init__(self, lanes: int, nbytes: int) -> None:
        self.limit, self.stride = nbytes, -(-max(nbytes, 1) // 16) * 16
        super().__init__(np.full(lanes * self.stride, 0xFF, np.uint8), None)

    def place(self, threads: Threads, address: Offsets, active: ActiveLanes, nbytes: int) -> Offsets:
        """Each lane's offset in its own part."""
        if int(address.min()) < 0 or int(address.max()) + nbytes > self.limit:
            lane = int(np.flatnonzero((address < 0) | (address + nbytes > self.limit))[0])
            at = f"byte {int(address[lane])} of the thread's {self.limit} bytes of local memory"
            threads.fault(f"{nbytes} bytes at {at} are out of bounds", active, lane)
        return address + active.index * self.stride


class ConstantRegion(Region):
    """The module's own constants and global variables."""

    name = "constant"

    def __init__(self, data: Array) -> None:
        super().__init__(data, None)

    def place(self, threads: Threads, address: Offsets, active: ActiveLanes, nbytes: int) -> Offsets:
        """Each lane's offset."""
        if int(address.min()) < 0 or int(address.max()) + nbytes > self.data.size:
            lane = int(np.flatnonzero((address < 0) | (address + nbytes > self.data.size))[0])
            threads.fault(f"{nbytes} bytes at constant byte {int(address[lane])} are out of bounds", active, lane)
        return address


Part = tuple[Region, Offsets, ActiveLanes, Any]
"""Some of the lanes of an access: their region, their offsets there, the lanes, and their places among the active."""


class StateSpaces:
    """The memory that the lanes of a wave can address.

    Args:
        regions: one of each kind.
    """

    def __init__(self, regions: Sequence[Region]) -> None:
        self._regions = {region.name: region for region in regions}

    def __getitem__(self, space: str) -> Region:
        return self._regions[space]

    def resolve(
        self, threads: Threads, space: str, address: Offsets, active: ActiveLanes, nbytes: int
    ) -> Sequence[Part]:
        """Lanes' addresses in a space ("" generic) as parts, each in one region.

        Raises:
            EmulationFault: an address is misaligned or out of bounds.
        """
        if nbytes > 1 and int(np.bitwise_or.reduce(address)) & (nbytes - 1):
            lane = int(np.flatnonzero(address & (nbytes - 1))[0])
            threads.fault(f"{nbytes} bytes at {int(address[lane]):#x} are misaligned", active, lane)
        if space in {"shared", "local"}:
            region = self._regions[space]
            return ((region, region.place(threads, address, active, nbytes), active, slice(None)),)
        window = address >> WINDOW_BITS
        first = int(window[0])
        if (window == first).all():
            return (self._in_window(threads, first, address, active, nbytes, slice(None)),)
        parts: list[Part] = []
        for number in np.unique(window):
            chosen = np.flatnonzero(window == number)
            lanes = ActiveLanes(active.size, index=active.index[chosen])
            parts.append(self._in_window(threads, int(number), address[chosen], lanes, nbytes, chosen))
        return parts

    def _in_window(
        self, threads: Threads, number: int, address: Offsets, active: ActiveLanes, nbytes: int, chosen: Any
    ) -> Part:
        region = self._regions[WINDOWS.get(number, "global")]
        within = address & ((1 << WINDOW_BITS) - 1) if number in WINDOWS else address
        return region, region.place(threads, within, active, nbytes), active, chosen
