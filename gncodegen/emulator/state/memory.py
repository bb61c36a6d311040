"""The device's global memory: allocations with guarded gaps, and which bytes hold a value."""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.ptx.scalars import Array
from gncodegen.errors import EmulationFault

BASE = 1 << 36  # above 32 bits, so that a truncated pointer faults
ALIGNMENT = 256
GAP = 256
POISON = 0xFF  # four of them are a NaN
_SET = 0xFF


@dataclass(frozen=True, order=True)
class GuardedAllocation:
    """Bytes [start, start + nbytes) under a label."""

    start: int
    nbytes: int
    label: str


class DeviceMemory:
    """One device address space.

    Addresses are ints; every allocation is 256-byte aligned, and touching the gap between two is a fault.
    """

    def __init__(self, capacity: int = 1 << 20) -> None:
        self.bytes: npt.NDArray[np.uint8] = np.full(capacity, POISON, np.uint8)
        self.initialised: npt.NDArray[np.uint8] = np.zeros(capacity, np.uint8)
        self._allocations: list[GuardedAllocation] = []
        self._free: list[GuardedAllocation] = []
        self._top = GAP

    def allocate(self, nbytes: int, label: str = "") -> int:
        """The address of `nbytes` fresh bytes, none of them initialised; `label` names them in faults.

        Raises:
            ValueError: nbytes is negative.
        """
        if nbytes < 0:
            raise ValueError(f"nbytes is {nbytes}; it is at least 0")
        room = -(-nbytes // ALIGNMENT) * ALIGNMENT + GAP
        hole = next((hole for hole in self._free if hole.nbytes >= room), None)
        if hole is None:
            start, self._top = BASE + self._top, self._top + room
            self._grow()
        else:
            start = hole.start
            self._free.remove(hole)
            if hole.nbytes > room:
                insort(self._free, GuardedAllocation(hole.start + room, hole.nbytes - room, ""))
        insort(self._allocations, GuardedAllocation(start, nbytes, label or f"allocation at {start:#x}"))
        self.bytes[start - BASE : start - BASE + nbytes] = POISON
        self.forget(start, nbytes)
        return start

    def free(self, address: int) -> None:
        """Give an allocation back; touching its bytes is a fault from now on.

        Raises:
            EmulationFault: no allocation starts there.
        """
        found = self.find(address)
        if found is None or found.start != address:
            raise EmulationFault(f"free({address:#x}): no allocation starts there")
        self._allocations.remove(found)
        insort(self._free, GuardedAllocation(address, -(-found.nbytes // ALIGNMENT) * ALIGNMENT + GAP, ""))

    def write(self, address: int, values: npt.ArrayLike) -> None:
        """Copy an array's bytes, in C order, to an address; they count as initialised.

        Raises:
            EmulationFault: the bytes leave their allocation.
        """
        data = np.ascontiguousarray(values)
        at = self._host(address, data.nbytes)
        self.bytes[at : at + data.nbytes] = data.reshape(-1).view(np.uint8)
        self.initialised[at : at + data.nbytes] = _SET

    def read(self, address: int, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """A copy of the bytes at an address, initialised or not, as an array.

        Raises:
            EmulationFault: the bytes leave their allocation.
        """
        kind = np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        at = self._host(address, nbytes)
        return self.bytes[at : at + nbytes].copy().view(kind).reshape(shape)

    def initialise(self, address: int, nbytes: int) -> None:
        """Count bytes as initialised without changing them."""
        at = self._host(address, nbytes)
        self.initialised[at : at + nbytes] = _SET

    def forget(self, address: int, nbytes: int) -> None:
        """Count bytes as uninitialised without changing them: their slot in an arena is used anew."""
        at = self._host(address, nbytes)
        self.initialised[at : at + nbytes] = 0

    def find(self, address: int) -> GuardedAllocation | None:
        """The allocation that owns an address, None where there is none."""
        place = bisect_right(self._allocations, address, key=lambda one: one.start) - 1
        if place < 0:
            return None
        found = self._allocations[place]
        return found if address < found.start + max(found.nbytes, 1) else None

    def nearest(self, address: int) -> GuardedAllocation | None:
        """The last allocation that starts at or before an address."""
        place = bisect_right(self._allocations, address, key=lambda one: one.start) - 1
        return self._allocations[max(place, 0)] if self._allocations else None

    def describe(self, offset: int) -> str:
        """What lies at an offset into `bytes`, for a fault: the allocation's label and the byte in it."""
        owner = self.nearest(offset + BASE)
        if owner is None or offset + BASE < owner.start:
            return f"address {offset + BASE:#x}, in no allocation,"
        return f"byte {offset + BASE - owner.start} of {owner.label} ({owner.nbytes} bytes)"

    @property
    def allocations(self) -> tuple[GuardedAllocation, ...]:
        """All of them, by address."""
        return tuple(self._allocations)

    def bounds(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Starts and ends of all allocations in order, as offsets into `bytes`."""
        starts = np.array([one.start - BASE for one in self._allocations], np.int64)
        return starts, starts + np.array([one.nbytes for one in self._allocations], np.int64)

    def _host(self, address: int, nbytes: int) -> int:
        found = self.find(address)
        if nbytes and (found is None or address + nbytes > found.start + found.nbytes):
            label = found.label if found else "no allocation"
            raise EmulationFault(f"host access to {nbytes} bytes at {address:#x} leaves {label}")
        return address - BASE

    def _grow(self) -> None:
        if self._top <= self.bytes.size:
            return
        more = max(self.bytes.size, self._top - self.bytes.size + GAP) // ALIGNMENT * ALIGNMENT + ALIGNMENT
        self.bytes = np.concatenate([self.bytes, np.full(more, POISON, np.uint8)])
        self.initialised = np.concatenate([self.initialised, np.zeros(more, np.uint8)])
