"""What the runtime asks of a device: memory, copies, and work that runs again and again on fixed addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gncodegen.kernels.schedule import Schedule
from gncodegen.kernels.store import Source

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Allocation:
    """Device memory that is given back when nobody holds this any more.

    Args:
        addresses: of its parts, by label.
        owner: what keeps the memory.
    """

    addresses: Mapping[str, int]
    owner: Any


@dataclass(frozen=True)
class LoadedKernel:
    """A loaded kernel.

    Args:
        source: the generated file.
        schedule: what it was generated from.
        handle: what the device launches.
        most_blocks: of one launch, where its blocks wait for each other and so must be on the device at once.
    """

    source: Source
    schedule: Schedule
    handle: Any
    most_blocks: int | None = None


@dataclass(frozen=True)
class DeviceLaunch:
    """One launch on fixed addresses.

    Args:
        kernel: which one.
        grid: blocks.
        addresses: one per buffer.
        first: number of the first tile.
        numbers: that the kernel reads.
        name: of the kernel in its Program.
        layers: what it computes.
        fresh: (address, bytes) of buffers whose life starts here: what was in their place before is gone.
    """

    kernel: LoadedKernel
    grid: int
    addresses: tuple[int, ...]
    first: int = 0
    numbers: tuple[int, ...] = ()
    name: str = ""
    layers: tuple[str, ...] = ()
    fresh: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Work:
    """Copies in, launches, copies out, in this order, on fixed addresses.

    Args:
        uploads: (staging memory, address) pairs.
        launches: in order.
        downloads: (address, staging memory) pairs.
    """

    uploads: tuple[tuple[Bytes, int], ...]
    launches: tuple[DeviceLaunch, ...]
    downloads: tuple[tuple[int, Bytes], ...]


@dataclass(frozen=True)
class View:
    """Another library's dense array in device memory.

    Args:
        address: of its first element.
        shape: extents.
        dtype: element type.
        owner: the array itself.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: Any


class Device(Protocol):
    """A GPU, or what stands in for one. Work and copies are done in the order in which they are asked for."""

    @property
    def number(self) -> int:
        """As the driver counts GPUs."""
        ...

    @property
    def identifier(self) -> str:
        """Of this GPU, among all there are."""
        ...

    @property
    def has_clock(self) -> bool:
        """Whether launches can be timed."""
        ...

    def allocate(self, sizes: Mapping[str, int]) -> Allocation:
        """Fresh memory: a part of that many bytes for each label, each on a 256-byte boundary.

        Raises:
            TargetError: there is not enough; says how much is needed and free.
        """
        ...

    def staging(self, sizes: Mapping[str, int]) -> dict[str, Bytes]:
        """Host memory for uploads and downloads of Work, laid out as `allocate` does."""
        ...

    def load(self, source: Source, schedule: Schedule) -> LoadedKernel:
        """A compiled kernel, ready to launch."""
        ...

    def prepare(self, work: Work) -> Callable[[], None]:
        """A way to start this work; it may be started any number of times."""
        ...

    def prepare_timed(self, work: Work) -> Callable[[], Callable[[], list[float]]]:
        """A way to start this work launch by launch; what that returns waits and gives the seconds of each launch.

        Raises:
            TargetError: there is no clock.
        """
        ...

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copies an array in; it may change afterwards."""
        ...

    def upload_later(self, address: int, staged: Bytes) -> None:
        """Copies staging memory in; it may not change before `mark` of that time has passed."""
        ...

    def download(self, address: int, array: NDArray[Any]) -> None:
        """Copies into a C-contiguous array, after all work before."""
        ...

    def copy(self, source: int, target: int, nbytes: int) -> None:
        """Copies from device memory to device memory."""
        ...

    def mark(self) -> Callable[[], None]:
        """A function that waits until all work asked for up to now is done."""
        ...

    def aside(self, ask: Callable[[int], None]) -> None:
        """Calls `ask` with the address of a stream whose work comes after all work so far, beside what comes next.

        Raises:
            TargetError: the device has no streams.
        """
        ...

    def join(self) -> Callable[[], bool]:
        """Makes work from here on wait for all that went aside; returns a function that says whether it is done."""
        ...

    def synchronize(self) -> None:
        """Waits until all work asked for up to now is done."""
        ...

    def view(self, value: Any, what: str) -> View | None:
        """An array in this device's memory where it is, ready on the device's stream; None for anything else.

        Raises:
            ArrayError: its elements are not in a run, or of a type that NumPy has not; `what` names it.
        """
        ...

    def export(
        self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any], owner: Any, stream: int | None, **options: Any
    ) -> Any:
        """A DLPack capsule of an array, which keeps `owner`; ready on the consumer's stream."""
        ...

    @property
    def stream_handle(self) -> int | None:
        """The stream that work goes to, as an address; None where there are none."""
        ...

    def stream(self, stream: Any) -> AbstractContextManager[None]:
        """Within it, the calling thread's work goes to the caller's stream.

        Raises:
            TargetError: the device has no streams.
        """
        ...
