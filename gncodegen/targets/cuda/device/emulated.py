"""The emulator as a device: launches run as compiled PTX on the CPU, in checked memory."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gncodegen.emulator import DeviceMemory
from gncodegen.errors import EmulationFault, TargetError
from gncodegen.kernels.schedule import Schedule
from gncodegen.kernels.store import Source
from gncodegen.process import forks
from gncodegen.targets.cuda.emulated import arguments_of, launch_emulated
from gncodegen.targets.device import Allocation, Bytes, DeviceLaunch, LoadedKernel, Work


class EmulatedDevice:
    """Device memory, every part of it an allocation of its own, and a launcher that checks all accesses."""

    number = 0
    identifier = "emulator"
    has_clock = False

    def __init__(self) -> None:
        self.memory = DeviceMemory()
        self._lock = forks.lock(forks.Rank.MEMORY)
        self._unused: deque[int] = deque()

    @contextmanager
    def _used(self) -> Generator[DeviceMemory]:
        """The memory, which other threads may not change meanwhile, after freeing what nobody holds any more."""
        with self._lock:
            while self._unused:
                self.memory.free(self._unused.popleft())
            yield self.memory

    def allocate(self, sizes: Mapping[str, int]) -> Allocation:
        """Fresh memory; reading it before it is written is a fault."""
        with self._used() as memory:
            addresses = {label: memory.allocate(max(size, 1), label) for label, size in sizes.items()}
        owner = _Owner()
        # The garbage collector calls this at any moment, also while memory is being used.
        weakref.finalize(owner, self._unused.extend, tuple(addresses.values())).atexit = False
        return Allocation(addresses, owner)

    def staging(self, sizes: Mapping[str, int]) -> dict[str, Bytes]:
        """Plain host memory."""
        return {label: np.zeros(size, np.uint8) for label, size in sizes.items()}

    def load(self, source: Source, schedule: Schedule) -> LoadedKernel:
        """Nothing to load: the emulator reads the PTX beside the source."""
        return LoadedKernel(source, schedule, None)

    def prepare(self, work: Work) -> Callable[[], None]:
        """Runs the work at once whenever it is called."""

        def run() -> None:
            with self._used() as memory:
                for staged, address in work.uploads:
                    memory.write(address, staged)
                for launch in work.launches:
                    _launch(launch, memory)
                for address, staged in work.downloads:
                    staged[:] = memory.read(address, staged.shape, np.uint8)

        return run

    def prepare_timed(self, work: Work) -> NoReturn:
        """Refuses: how long NumPy takes says nothing of a GPU."""
        raise TargetError(
            "the emulator has no clock; allowed: target='cuda' on a machine with a GPU, or 'cpu'; compile for it"
        )

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copies an array in."""
        with self._used() as memory:
            memory.write(address, array)

    def upload_later(self, address: int, staged: Bytes) -> None:
        """Copies staging memory in, at once."""
        with self._used() as memory:
            memory.write(address, staged)

    def download(self, address: int, array: NDArray[Any]) -> None:
        """Copies into a C-contiguous array."""
        with self._used() as memory:
            array[...] = memory.read(address, array.shape, array.dtype)

    def copy(self, source: int, target: int, nbytes: int) -> None:
        """Copies within the memory."""
        with self._used() as memory:
            memory.write(target, memory.read(source, nbytes, np.uint8))

    def mark(self) -> Callable[[], None]:
        """Nothing to wait for."""
        return lambda: None

    def aside(self, ask: Callable[[int], None]) -> NoReturn:
        """Refuses, as `stream` does."""
        self.stream(None)

    def join(self) -> NoReturn:
        """Refuses, as `stream` does."""
        self.stream(None)

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def view(self, value: Any, what: str) -> None:
        """None: no array of a GPU is read here."""

    def export(
        self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any], owner: Any, stream: int | None, **options: Any
    ) -> NoReturn:
        """Refuses: nothing here lies on a GPU."""
        raise TargetError("the emulator's arrays lie in no GPU; allowed: y.numpy(); write target='cuda'")

    @property
    def stream_handle(self) -> None:
        """None: there are no streams."""

    def stream(self, stream: Any) -> NoReturn:
        """There are none."""
        raise TargetError("stream: the emulator has no streams; allowed: target='cuda'; leave stream() out")


class _Owner:
    """Lives as long as an allocation is held."""


def _launch(launch: DeviceLaunch, memory: DeviceMemory) -> None:
    for address, nbytes in launch.fresh:
        memory.forget(address, nbytes)
    kernel, arguments = launch.kernel, arguments_of(launch.addresses, launch.first, launch.numbers)
    try:
        launch_emulated(kernel.source, kernel.schedule, launch.grid, arguments, memory)
    except EmulationFault as fault:
        layers = f"{' + '.join(launch.layers)}: " if launch.layers else ""
        raise EmulationFault(
            f"{layers}{fault.reason}",
            kernel=launch.name or fault.kernel,
            source=str(kernel.source.path),
            line=fault.line,
            block=fault.block,
            thread=fault.thread,
            instruction=fault.instruction,
        ) from fault
