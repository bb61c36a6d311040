"""Cubins, kernels and launches: what the assembler reports of a kernel decides whether a launch is taken."""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gncodegen.cache import files
from gncodegen.emulator import Executable, run
from gncodegen.environment import environment
from gncodegen.targets.cuda.occupancy import resident_blocks
from support.cuda_stub.abi import (
    ADDRESS,
    CLUSTER_DIMENSION,
    COOPERATIVE,
    HANDLE,
    INT,
    SIZE,
    TEXT,
    UNSIGNED,
    LaunchAttribute,
    LaunchConfig,
    Status,
    StatusError,
    entry,
    put,
)
from support.cuda_stub.streams import Use

if TYPE_CHECKING:
    from support.cuda_stub.driver import Driver

STATIC_SHARED = 48 << 10
"""Bytes of shared memory of a block without an attribute that asks for more."""

MOST_REGISTERS = 64 << 10
PORTABLE, LARGEST = 8, 16
"""Blocks of a cluster: on every GPU, and with the attribute."""

DYNAMIC_SHARED, NON_PORTABLE = 8, 14
"""CUfunction_attribute that can be set."""


@dataclass(eq=False)
class Library:
    """A cubin.

    Args:
        capability: (major, minor) that it is for.
    """

    capability: tuple[int, int]


@dataclass(eq=False)
class Kernel:
    """A kernel of a cubin; its PTX and the assembler's report lie in the cache."""

    name: str
    device: int
    folder: Path
    attributes: dict[int, int] = field(default_factory=dict)

    def _read(self, suffix: str) -> bytes:
        content = files.read(self.folder / f"{self.name.removeprefix('kernel_')}{suffix}")
        assert content is not None
        return content

    @cached_property
    def executable(self) -> Executable:
        return Executable(self._read(".ptx").decode(), self.name)

    @cached_property
    def report(self) -> dict[str, int]:
        return json.loads(self._read(".json"))


@dataclass
class Launch:
    """A launch that was asked for: in a stream or, captured, in a graph."""

    kernel: str
    grid: int
    block: int
    shared: int
    cluster: int
    cooperative: bool
    stream: int


class Kernels:
    """Entry points of libraries, kernels and launches.

    Attributes: `launches` were asked for, so many `ended`; `runs` = False leaves kernels undone; `cache` has their PTX,
    None = the process's own.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.cache: Path | None = None
        self.launches: list[Launch] = []
        self.runs = True
        self.ended = 0
        self._known: dict[str, Kernel] = {}

    # ---- loading ---------------------------------------------------------------------------------------------------

    @entry("cuLibraryLoadData", ADDRESS, ADDRESS, ADDRESS, ADDRESS, UNSIGNED, ADDRESS, ADDRESS, UNSIGNED)
    def load(self, out: int, code: int, *options: int) -> None:
        magic, flags = ctypes.string_at(code, 4), UNSIGNED.from_address(code + 48).value
        if magic != b"\x7fELF":
            raise StatusError(Status.INVALID_VALUE)
        found = divmod(flags >> 8 & 0xFF, 10)
        have = self._driver.devices.gpus[self._driver.devices.current()].capability
        if found[0] != have[0] or found[1] > have[1]:
            raise StatusError(Status.NO_BINARY_FOR_GPU)
        put(out, self._driver.register(Library(found)))

    @entry("cuLibraryUnload", HANDLE)
    def unload(self, handle: int) -> None:
        self._driver.find(handle, Library)
        self._driver.forget(handle)

    @entry("cuLibraryGetKernel", ADDRESS, HANDLE, TEXT)
    def kernel(self, out: int, library: int, name: bytes) -> None:
        self._driver.find(library, Library)
        text, cache = name.decode(), self.cache or Path(environment().cache_dir)
        found = cache.glob(f"kernels/sm_*/{text.removeprefix('kernel_')}.ptx")
        wanted = max(found, key=lambda path: path.stat().st_mtime, default=None)  # others are of other versions
        if wanted is None:
            raise StatusError(Status.NOT_FOUND)
        put(out, self._driver.register(Kernel(text, self._driver.devices.current(), wanted.parent)))

    @entry("cuKernelGetFunction", ADDRESS, HANDLE)
    def function(self, out: int, kernel: int) -> None:
        self._driver.find(kernel, Kernel)
        put(out, kernel)

    @entry("cuKernelGetLibrary", ADDRESS, HANDLE)
    def library(self, out: int, kernel: int) -> None:
        self._driver.find(kernel, Kernel)
        put(out, 0)

    @entry("cuKernelSetAttribute", INT, INT, HANDLE, INT)
    def set_attribute(self, which: int, value: int, kernel: int, device: int) -> None:
        found = self._driver.find(kernel, Kernel)
        most = self._driver.devices.gpus[self._driver.devices.check(device)].shared
        if which == DYNAMIC_SHARED and value + found.report["shared"] > most:
            raise StatusError(Status.INVALID_VALUE)
        found.attributes[which] = value

    @entry("cuKernelGetAttribute", ADDRESS, INT, HANDLE, INT)
    def attribute(self, out: int, which: int, kernel: int, device: int) -> None:
        found = self._driver.find(kernel, Kernel)
        known = {0: 1024, 1: found.report["shared"], 4: found.report["registers"], 8: STATIC_SHARED}
        put(out, found.attributes.get(which, known.get(which, 0)), INT)

    @entry("cuKernelGetParamInfo", HANDLE, SIZE, ADDRESS, ADDRESS)
    def parameter(self, kernel: int, place: int, offset: int, size: int) -> None:
        sizes = _sizes(self._driver.find(kernel, Kernel))
        if place >= len(sizes):
            raise StatusError(Status.INVALID_VALUE)
        put(offset, sum(sizes[:place]))
        put(size, sizes[place])

    @entry("cuKernelGetParamCount", HANDLE, ADDRESS)
    def parameter_count(self, kernel: int, out: int) -> None:
        put(out, len(_sizes(self._driver.find(kernel, Kernel))))

    # ---- occupancy -------------------------------------------------------------------------------------------------

    def occupancy(self, kernel: Kernel, block: int, dynamic: int) -> int:
        """Blocks of a kernel that one multiprocessor holds."""
        target, report = self._driver.devices.gpus[kernel.device].architecture, kernel.report
        return resident_blocks(target, block, report["registers"], report["shared"] + dynamic)

    @entry("cuOccupancyMaxActiveBlocksPerMultiprocessor", ADDRESS, HANDLE, INT, SIZE)
    @entry("cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags", ADDRESS, HANDLE, INT, SIZE, UNSIGNED)
    def most_blocks(self, out: int, kernel: int, block: int, dynamic: int, flags: int = 0) -> None:
        put(out, self.occupancy(self._driver.find(kernel, Kernel), block, dynamic), INT)

    @entry("cuOccupancyMaxActiveClusters", ADDRESS, HANDLE, ADDRESS)
    def most_clusters(self, out: int, kernel: int, config: int) -> None:
        found, given = self._driver.find(kernel, Kernel), LaunchConfig.from_address(config)
        cluster, _ = _attributes(given)
        gpu = self._driver.devices.gpus[found.device]
        put(out, gpu.processors * self.occupancy(found, given.block[0], given.shared) // cluster, INT)

    # ---- launching -------------------------------------------------------------------------------------------------

    @entry("cuLaunchKernelEx", ADDRESS, HANDLE, ADDRESS, ADDRESS)
    def launch_with_options(self, config: int, kernel: int, arguments: int, extra: int) -> None:
        given = LaunchConfig.from_address(config)
        cluster, cooperative = _attributes(given)
        self._launch(
            kernel, (*given.grid,), (*given.block,), given.shared, given.stream, arguments, cluster, cooperative
        )

    @entry("cuLaunchKernel", HANDLE, *[UNSIGNED] * 7, HANDLE, ADDRESS, ADDRESS)
    def launch(
        self, kernel: int, gx: int, gy: int, gz: int, bx: int, by: int, bz: int, shared: int, stream: int,
        arguments: int, extra: int,
    ) -> None:  # fmt: skip
        self._launch(kernel, (gx, gy, gz), (bx, by, bz), shared, stream, arguments, 1, False)

    def _launch(
        self, handle: int, grid: tuple[int, ...], block: tuple[int, ...], shared: int, stream: int, arguments: int,
        cluster: int, cooperative: bool,
    ) -> None:  # fmt: skip
        kernel = self._driver.find(handle, Kernel)
        if grid[1:] != (1, 1) or block[1:] != (1, 1) or grid[0] < 1 or not 1 <= block[0] <= 1024:
            raise StatusError(Status.INVALID_VALUE)
        self._check(kernel, grid[0], block[0], shared, cluster, cooperative)
        values, uses = _arguments(kernel, arguments)
        asked = Launch(kernel.name, grid[0], block[0], shared, cluster, cooperative, stream)
        self.launches.append(asked)

        def act() -> None:
            if self.runs:
                run(
                    kernel.executable, grid=grid[0], block=block[0], arguments=values,
                    memory=self._driver.memory.device, cluster=cluster, cooperative=cooperative, dynamic_shared=shared,
                )  # fmt: skip
            self.ended += 1

        self._driver.streams.submit(stream, act, kernel.name, *uses)

    def _check(self, kernel: Kernel, grid: int, block: int, shared: int, cluster: int, cooperative: bool) -> None:
        gpu, report = self._driver.devices.gpus[kernel.device], kernel.report
        if shared > max(STATIC_SHARED - report["shared"], kernel.attributes.get(DYNAMIC_SHARED, 0)):
            raise StatusError(Status.INVALID_VALUE)
        if -(-report["registers"] // 8) * 8 * block > MOST_REGISTERS:
            raise StatusError(Status.LAUNCH_OUT_OF_RESOURCES)
        largest = LARGEST if kernel.attributes.get(NON_PORTABLE) else PORTABLE
        if cluster > 1 and (gpu.capability < (9, 0) or cluster > largest or grid % cluster):
            raise StatusError(Status.INVALID_CLUSTER_SIZE)
        if cooperative and grid > gpu.processors * self.occupancy(kernel, block, shared):
            raise StatusError(Status.COOPERATIVE_LAUNCH_TOO_LARGE)


def _attributes(config: LaunchConfig) -> tuple[int, bool]:
    """Blocks of a cluster, and whether the launch is cooperative."""
    cluster, cooperative = 1, False
    for place in range(config.count):
        given = LaunchAttribute.from_address(config.attributes + place * ctypes.sizeof(LaunchAttribute))
        if given.kind == CLUSTER_DIMENSION:
            cluster = given.value[0]
        elif given.kind == COOPERATIVE:
            cooperative = bool(given.value[0])
    return cluster, cooperative


def _sizes(kernel: Kernel) -> list[int]:
    return [int(one.kind[1:]) // 8 for one in kernel.executable.parameters]


def _arguments(kernel: Kernel, address: int) -> tuple[list[np.generic], list[Use]]:
    """The arguments that an array of pointers leads to, and the memory that addresses lead to, which come first."""
    values: list[np.generic] = []
    uses: list[Use] = []
    sizes = _sizes(kernel)
    for place, size in enumerate(sizes):
        data = ctypes.string_at(ADDRESS.from_address(address + 8 * place).value, size)
        values.append(np.frombuffer(data, f"u{size}")[0])
        if {*sizes[: place + 1]} == {8}:
            uses.append(Use(int(values[-1]), True))
    return values, uses
