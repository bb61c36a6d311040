"""Networks on a GPU, in the PTX emulator, or compiled for inspection only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from threading import RLock
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import TargetError
from gncodegen.kernels.program import Program
from gncodegen.kernels.store import Source
from gncodegen.process import forks
from gncodegen.runtime.arrays import on_gpu
from gncodegen.runtime.backend import Array, Key, PersistentBuffers
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.runtime.device_call_times import TimedDeviceExecutor
from gncodegen.runtime.device_executor import DeviceArena, DeviceExecutor, DeviceHyperparameters
from gncodegen.runtime.pool import POOL
from gncodegen.runtime.state import HostValues
from gncodegen.targets.cuda.target import CudaTarget
from gncodegen.targets.device import Device, LoadedKernel
from gncodegen.targets.registry import TargetOptions, check_math


class DeviceValues:
    """Arrays in a device's memory, where kernels read and update them.

    Args:
        initial: their values.
        dtype: element type of all.
        device: where.
        lock: held while they are copied.
    """

    def __init__(self, initial: Mapping[str, NDArray[Any]], dtype: str, device: Device, lock: RLock) -> None:
        self.dtype, self._device, self._lock, self.version = dtype, device, lock, 0
        self.shapes: Mapping[str, tuple[int, ...]] = {name: np.shape(value) for name, value in initial.items()}
        size = np.dtype(dtype).itemsize
        self._allocation = device.allocate({name: math.prod(shape) * size for name, shape in self.shapes.items()})
        for name, value in initial.items():
            self.write(name, value)

    def address(self, name: str) -> int:
        """Of an array's first element."""
        return self._allocation.addresses[name]

    def place(self, name: str) -> DeviceArray:
        """The array where it lies, whose memory lives as long."""
        return DeviceArray(self._device, self.address(name), self.shapes[name], self.dtype, self._allocation)

    def read(self, name: str) -> NDArray[Any]:
        """A copy on the host."""
        array = np.empty(self.shapes[name], self.dtype)
        with self._lock:
            self._device.download(self.address(name), array)
        return array

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Copies an array in."""
        with self._lock:
            self._device.upload(self.address(name), np.ascontiguousarray(array, self.dtype))
            self.version += 1


class DeviceBackend:
    """Kernels launched on a device.

    Args:
        target: what kernels are compiled for.
        device: where they run.
    """

    def __init__(self, target: CudaTarget, device: Device) -> None:
        self.target, self.device = target, device
        self._arena = DeviceArena(device)
        self._hyperparameters: DeviceHyperparameters | None = None
        self._kernels: dict[Source, LoadedKernel] = {}

    @property
    def lock(self) -> RLock:
        """Held by whoever runs."""
        return self._arena.lock

    def values(self, initial: Mapping[str, NDArray[Any]], dtype: str) -> DeviceValues:
        """One piece of device memory for all, filled."""
        return DeviceValues(initial, dtype, self.device, self.lock)

    def runner(
        self,
        program: Program,
        sources: Mapping[str, Source],
        persistent: PersistentBuffers,
        executor: type[DeviceExecutor] = DeviceExecutor,
    ) -> DeviceExecutor:
        """Loads the kernels and binds what stays in its place.

        Raises:
            TargetError: the program averages over ranks that do not reach this device.
        """
        averaging = persistent.averaging
        if program.reductions:
            averaging.connect(self.device)
        if self._hyperparameters is None:
            self._hyperparameters = DeviceHyperparameters(self.device, persistent.hyperparameters.array)
        kernels: dict[str, LoadedKernel] = {}
        for name, source in sources.items():
            if source not in self._kernels:
                self._kernels[source] = self.device.load(source, program.kernels[name])
            kernels[name] = self._kernels[source]
        addresses: dict[Key, int] = {("hyperparameters", "hyperparameters"): self._hyperparameters.address}
        for kind, values in persistent.by_kind.items():
            assert isinstance(values, DeviceValues)
            addresses |= {(kind, name): values.address(name) for name in values.shapes}
        places = self._arena, addresses, self._hyperparameters
        return executor(program, kernels, self.device, *places, persistent.values, averaging)

    @property
    def has_clock(self) -> bool:
        """Whether calls can be timed."""
        return self.device.has_clock

    def timed_runner(
        self, program: Program, sources: Mapping[str, Source], persistent: PersistentBuffers
    ) -> TimedDeviceExecutor:
        """As `runner`; the device times each launch."""
        runner = self.runner(program, sources, persistent, TimedDeviceExecutor)
        assert isinstance(runner, TimedDeviceExecutor)
        return runner

    def synchronize(self) -> None:
        """Waits until all work asked for up to now is done."""
        self.device.synchronize()

    def import_device_array(self, value: Any, what: str) -> DeviceArray | None:
        """An array in this device's memory, not copied."""
        if isinstance(value, DeviceArray):
            return value
        view = self.device.view(value, what) if on_gpu(value) else None
        return None if view is None else DeviceArray(self.device, view.address, view.shape, view.dtype, view.owner)

    def empty(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """An array on the device where `like` is there, else on the host."""
        if isinstance(like, DeviceArray):
            return DeviceArray.empty(self.device, shape, dtype)
        return POOL.array(shape, dtype)

    def stream(self, stream: Any) -> AbstractContextManager[None]:
        """Within it, work goes to the caller's stream."""
        return self.device.stream(stream)


class InspectionBackend:
    """Kernels compiled for an architecture, to be read; nothing runs.

    Args:
        target: what kernels are compiled for.
    """

    def __init__(self, target: CudaTarget) -> None:
        self.target, self.lock = target, forks.lock(forks.Rank.RUN)

    def values(self, initial: Mapping[str, NDArray[Any]], dtype: str) -> HostValues:
        """Copies on the host, so that a network can be loaded, changed and saved."""
        return HostValues(initial, dtype)

    def runner(
        self, program: Program, sources: Mapping[str, Source], persistent: PersistentBuffers
    ) -> InspectionBackend:
        """Nothing to prepare."""
        return self

    def run(self, arguments: Mapping[Key, Any], count: int = 0) -> NoReturn:
        """Refuses."""
        name = self.target.machine.target
        raise TargetError(
            f"target={name!r} compiles kernels for inspection and does not run them; allowed: target='cuda' on a "
            f"machine with a GPU, or the emulator; write target={name!r}, emulate=True"
        )

    def result(self, key: Key) -> NoReturn:
        """Refuses, as `run` does."""
        self.run({})

    has_clock = False

    def timed_runner(self, program: Program, sources: Mapping[str, Source], persistent: PersistentBuffers) -> NoReturn:
        """Refuses, as `run` does."""
        self.run({})

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def import_device_array(self, value: Any, what: str) -> None:
        """None: no array of a GPU is read here."""

    def empty(self, shape: tuple[int, ...], dtype: str, like: Array) -> NDArray[Any]:
        """An array of the host."""
        return POOL.array(shape, dtype)

    def stream(self, stream: Any) -> AbstractContextManager[None]:
        """Refuses, as `run` does."""
        self.run({})


def gpu_backend(options: TargetOptions) -> DeviceBackend:
    """The GPU that is here.

    Raises:
        OptionsError: it has no tensor cores for `math`.
        TargetError: there is none, or it cannot be used.
    """
    from gncodegen.targets.cuda.device.gpu import Gpu  # noqa: PLC0415  inspection needs no driver

    gpu = Gpu(int(options.target.partition(":")[2] or 0))
    check_math(gpu.architecture, options.math, options.dtype)
    return DeviceBackend(CudaTarget(gpu.architecture, gpu.processors, gpu.l2, options.math), gpu)


def architecture_backend(options: TargetOptions) -> DeviceBackend | InspectionBackend:
    """An architecture: its kernels are compiled to be read, or run in the emulator."""
    target = CudaTarget(options.target, math=options.math)
    if not options.emulate:
        return InspectionBackend(target)
    from gncodegen.targets.cuda.device.emulated import EmulatedDevice  # noqa: PLC0415  inspection runs nothing

    return DeviceBackend(target, EmulatedDevice())
