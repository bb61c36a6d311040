"""Device and host memory: allocations, pools that keep what is given back, and copies."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gncodegen.emulator import DeviceMemory
from support.cuda_stub.abi import ADDRESS, HANDLE, INT, SIZE, UNSIGNED, Status, StatusError, entry, put
from support.cuda_stub.streams import Operation, Stream, Use

if TYPE_CHECKING:
    from support.cuda_stub.driver import Driver

MEMORY_TYPE, ORDINAL = 2, 9
"""CUpointer_attribute."""

ON_HOST, ON_DEVICE = 1, 2
"""CUmemorytype."""

RESERVED, USED = 5, 7
"""CUmemPool_attribute: bytes now."""


@dataclass(eq=False)
class Block:
    """One allocation.

    Args:
        size: bytes.
        device: number of its GPU.
        born: the operation that allocates it, if that is one of a stream.
        uses: (operation, what it does here) of those that were not done when they were looked at last.
        dying: whether it was asked to be freed: what is asked for from now on finds no memory.
    """

    size: int
    device: int
    born: Operation | None = None
    uses: list[tuple[Operation, Use]] = field(default_factory=list)
    dying: bool = False


@dataclass(eq=False)
class Pool:
    """Memory that was given back stays reserved, in pieces that are not joined, until somebody trims."""

    device: int
    idle: list[int] = field(default_factory=list)


class Memory:
    """Entry points of memory."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.device = DeviceMemory()
        self.blocks: dict[int, Block] = {}
        self.pinned: dict[int, np.ndarray] = {}
        self._pools: dict[int, int] = {}

    @property
    def bytes_held(self) -> int:
        """Of all allocations."""
        return sum(block.size for block in self.blocks.values())

    # ---- what is allowed -------------------------------------------------------------------------------------------

    def block(self, address: int) -> Block | None:
        """The allocation that an address lies in."""
        found = self.device.find(address)
        return None if found is None else self.blocks.get(found.start)

    def check_device(self, stream: Stream, what: str, uses: tuple[Use, ...]) -> None:
        """A fault where work touches no allocation, or one of another GPU."""
        for use in uses:
            block = self.block(use.address)
            if block is None or block.dying:
                self._driver.fault(f"{what} in {stream.name} touches {use.address:#x}, where no memory is (any more)")
            elif block.device != stream.device:
                self._driver.fault(f"{what} in {stream.name} touches memory of GPU {block.device}")

    def check_order(self, operation: Operation) -> None:
        """A fault where work is not ordered with the allocation, or with other work on the same memory."""
        before: set[int] | None = None
        for use in operation.uses:
            block = self.block(use.address)
            if block is None:
                continue
            block.uses = [(other, its) for other, its in block.uses if not other.done]
            others = [other for other, its in block.uses if use.meets(its) and other.stream is not operation.stream]
            if block.born is not None and not block.born.done:
                others.append(block.born)
            if others and before is None:
                before = {id(each) for each in operation.ancestors()}
            for other in others:
                if id(other) not in (before or ()):
                    self._unordered(operation, other)
            block.uses.append((operation, use))

    def _unordered(self, later: Operation, earlier: Operation) -> None:
        names = [each.stream.name if each.stream else "no stream" for each in (later, earlier)]
        self._driver.fault(f"{later.what} in {names[0]} does not wait for {earlier.what} in {names[1]}")

    # ---- allocations -----------------------------------------------------------------------------------------------

    def allocate(self, size: int, device: int, pool: Pool | None = None) -> int:
        """The address of fresh memory.

        Raises:
            StatusError: OUT_OF_MEMORY.
        """
        piece = min((piece for piece in (pool.idle if pool else ()) if piece >= size), default=0)
        if pool is not None and piece:
            pool.idle.remove(piece)
        elif size > self.free_bytes(device):
            raise StatusError(Status.OUT_OF_MEMORY)
        address = self.device.allocate(size)
        self.blocks[address] = Block(size, device)
        return address

    def free_bytes(self, device: int) -> int:
        """What a new piece can be made of."""
        used = sum(block.size for block in self.blocks.values() if block.device == device)
        pools = [self._driver.find(handle, Pool) for handle in self._pools.values()]
        idle = sum(sum(pool.idle) for pool in pools if pool.device == device)
        return max(0, self._driver.devices.gpus[device].memory - used - idle)

    @entry("cuMemAlloc", ADDRESS, SIZE)
    def allocate_now(self, out: int, size: int) -> None:
        self._driver.streams.unsafe()
        put(out, self.allocate(size, self._driver.devices.current()))

    @entry("cuMemAllocAsync", ADDRESS, SIZE, HANDLE)
    def allocate_in_order(self, out: int, size: int, stream: int) -> None:
        self.allocate_from_pool(out, size, self._pool(self._driver.streams.of(stream).device), stream)

    @entry("cuMemAllocFromPoolAsync", ADDRESS, SIZE, HANDLE, HANDLE)
    def allocate_from_pool(self, out: int, size: int, pool: int, stream: int) -> None:
        if not size:
            raise StatusError(Status.INVALID_VALUE)
        if self._driver.streams.of(stream).capture is not None:
            self._driver.fault("memory is allocated in a captured stream")
        found = self._driver.find(pool, Pool)
        address = self.allocate(size, found.device, found)
        self.blocks[address].born = self._driver.streams.submit(stream, lambda: None, f"allocation of {size} bytes")
        put(out, address)

    @entry("cuMemFree", ADDRESS)
    def free_now(self, address: int) -> None:
        self._driver.streams.unsafe()
        self._driver.streams.finish_all()
        self.give_back(address)

    @entry("cuMemFreeAsync", ADDRESS, HANDLE)
    def free_in_order(self, address: int, stream: int) -> None:
        if address not in self.blocks or self.blocks[address].dying:
            self._driver.fault(f"{address:#x} is freed, where no allocation starts (any more)")
            raise StatusError(Status.INVALID_VALUE)
        if self._driver.streams.of(stream).capture is not None:
            self._driver.fault("memory is freed in a captured stream")
        block = self.blocks[address]
        what = f"freeing of {block.size} bytes at {address:#x}"

        def free() -> None:
            self.give_back(address)
            self._driver.find(self._pool(block.device), Pool).idle.append(block.size)

        self._driver.streams.submit(stream, free, what, Use(address, True))
        block.dying = True

    def give_back(self, address: int) -> None:
        """Frees an allocation.

        Raises:
            StatusError: INVALID_VALUE.
        """
        if self.blocks.pop(address, None) is None:
            self._driver.fault(f"{address:#x} is freed, where no allocation starts (any more)")
            raise StatusError(Status.INVALID_VALUE)
        self.device.free(address)

    # ---- pools -----------------------------------------------------------------------------------------------------

    def _pool(self, device: int) -> int:
        if device not in self._pools:
            self._pools[device] = self._driver.register(Pool(device))
        return self._pools[device]

    @entry("cuDeviceGetMemPool", ADDRESS, INT)
    @entry("cuDeviceGetDefaultMemPool", ADDRESS, INT)
    def pool_of_device(self, out: int, device: int) -> None:
        put(out, self._pool(self._driver.devices.check(device)))

    @entry("cuMemGetMemPool", ADDRESS, ADDRESS, INT)
    @entry("cuMemGetDefaultMemPool", ADDRESS, ADDRESS, INT)
    def pool_of_location(self, out: int, location: int, kind: int) -> None:
        put(out, self._pool(INT.from_address(location + 4).value))

    @entry("cuMemPoolGetAttribute", HANDLE, INT, ADDRESS)
    def pool_attribute(self, pool: int, which: int, out: int) -> None:
        found = self._driver.find(pool, Pool)
        used = sum(block.size for block in self.blocks.values() if block.device == found.device)
        put(out, {RESERVED: used + sum(found.idle), USED: used}.get(which, 0))

    @entry("cuMemPoolSetAttribute", HANDLE, INT, ADDRESS)
    def set_pool_attribute(self, pool: int, which: int, value: int) -> None:
        self._driver.find(pool, Pool)

    @entry("cuMemPoolTrimTo", HANDLE, SIZE)
    def trim(self, pool: int, keep: int) -> None:
        found = self._driver.find(pool, Pool)
        while sum(found.idle) > keep:
            found.idle.pop()

    @entry("cuMemGetInfo", ADDRESS, ADDRESS)
    def info(self, free: int, total: int) -> None:
        device = self._driver.devices.current()
        put(free, self.free_bytes(device))
        put(total, self._driver.devices.gpus[device].memory)

    # ---- host memory -----------------------------------------------------------------------------------------------

    @entry("cuMemAllocHost", ADDRESS, SIZE)
    def allocate_host(self, out: int, size: int) -> None:
        memory = np.full(size, 0xAB, np.uint8)
        self.pinned[memory.ctypes.data] = memory
        put(out, memory.ctypes.data)

    @entry("cuMemHostAlloc", ADDRESS, SIZE, UNSIGNED)
    def allocate_host_with_flags(self, out: int, size: int, flags: int) -> None:
        self.allocate_host(out, size)

    @entry("cuMemFreeHost", ADDRESS)
    def free_host(self, address: int) -> None:
        self._driver.streams.finish_all()
        if self.pinned.pop(address, None) is None:
            raise StatusError(Status.INVALID_VALUE)

    def _is_pinned(self, address: int) -> bool:
        return any(start <= address < start + memory.size for start, memory in self.pinned.items())

    # ---- copies ----------------------------------------------------------------------------------------------------

    @entry("cuMemcpyHtoDAsync", ADDRESS, ADDRESS, SIZE, HANDLE)
    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        pinned = self._is_pinned(source)
        self._check_captured(stream, pinned)
        now = b"" if pinned else ctypes.string_at(source, size)  # pageable memory is read before the call returns

        def copy() -> None:
            self.device.write(target, np.frombuffer(now or ctypes.string_at(source, size), np.uint8))

        self._driver.streams.submit(stream, copy, f"copy of {size} bytes from the host", Use(target, True))

    @entry("cuMemcpyDtoHAsync", ADDRESS, ADDRESS, SIZE, HANDLE)
    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        pinned = self._is_pinned(target)
        self._check_captured(stream, pinned)

        def copy() -> None:
            ctypes.memmove(target, self.device.read(source, size, np.uint8).tobytes(), size)

        what = f"copy of {size} bytes to the host"
        operation = self._driver.streams.submit(stream, copy, what, Use(source, False))
        if not pinned:  # such a call returns when the copy is done
            self._driver.streams.finish(operation)

    @entry("cuMemcpyDtoDAsync", ADDRESS, ADDRESS, SIZE, HANDLE)
    def copy_within(self, target: int, source: int, size: int, stream: int) -> None:
        def copy() -> None:
            self.device.write(target, self.device.read(source, size, np.uint8))

        what = f"copy of {size} bytes on the device"
        self._driver.streams.submit(stream, copy, what, Use(target, True), Use(source, False))

    @entry("cuMemsetD8Async", ADDRESS, ctypes.c_ubyte, SIZE, HANDLE)
    def fill(self, address: int, value: int, size: int, stream: int) -> None:
        def fill() -> None:
            self.device.write(address, np.full(size, value, np.uint8))

        self._driver.streams.submit(stream, fill, f"filling of {size} bytes", Use(address, True))

    def _check_captured(self, stream: int, pinned: bool) -> None:
        if not pinned and self._driver.streams.of(stream).capture is not None:
            self._driver.fault("a copy of memory that is not page-locked is captured")

    # ---- pointers --------------------------------------------------------------------------------------------------

    def _attribute(self, which: int, address: int) -> int:
        block, pinned = self.block(address), self._is_pinned(address)
        if block is None:
            return {MEMORY_TYPE: ON_HOST if pinned else 0, ORDINAL: 0 if pinned else -2}.get(which, 0)
        return {MEMORY_TYPE: ON_DEVICE, ORDINAL: block.device}.get(which, 0)

    @entry("cuPointerGetAttribute", ADDRESS, INT, ADDRESS)
    def attribute(self, out: int, which: int, address: int) -> None:
        if self.block(address) is None and not self._is_pinned(address):
            raise StatusError(Status.INVALID_VALUE)
        put(out, self._attribute(which, address), INT)

    @entry("cuPointerGetAttributes", UNSIGNED, ADDRESS, ADDRESS, ADDRESS)
    def attributes(self, count: int, kinds: int, out: int, address: int) -> None:
        for place in range(count):
            which = INT.from_address(kinds + 4 * place).value
            put(ADDRESS.from_address(out + 8 * place).value, self._attribute(which, address), INT)
