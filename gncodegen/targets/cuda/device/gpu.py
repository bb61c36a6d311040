"""A GPU as a device: kernels launched through cuda.core on raw addresses, whole runs replayed as CUDA graphs."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError, TargetError
from gncodegen.kernels.schedule import Schedule
from gncodegen.kernels.store import Source
from gncodegen.targets.cuda import architectures
from gncodegen.targets.cuda.compile import entry
from gncodegen.targets.cuda.device import cuda_python as cuda
from gncodegen.targets.cuda.device.streams import Streams
from gncodegen.targets.cuda.emulated import arguments_of
from gncodegen.targets.device import Allocation, Bytes, DeviceLaunch, LoadedKernel, View, Work

ALIGNMENT = 256
"""Bytes; parts of an allocation start on such boundaries."""


class Gpu:
    """One GPU and the stream that its work goes to.

    Args:
        number: of the GPU, as cuda.core counts.

    Raises:
        TargetError: missing packages, no driver, no GPU, an old driver, or an architecture without kernels.
    """

    def __init__(self, number: int = 0) -> None:
        self.device = cuda.open_device(number)
        self.name = str(self.device.name)
        capability = self.device.compute_capability
        try:
            self.architecture = architectures.of_gpu((capability.major, capability.minor)).name
        except TargetError as error:
            allowed = ", ".join(architectures.ARCHITECTURES)
            raise TargetError(
                f"target='cuda': the GPU {self.name} is of architecture sm_{capability.major}{capability.minor}; "
                f"allowed: {allowed}; write target='cpu'"
            ) from error
        self.processors = int(self.device.properties.multiprocessor_count)
        self.l2 = int(self.device.properties.l2_cache_size)
        self._streams = Streams(self.device)
        self._process = os.getpid()

    @property
    def has_clock(self) -> bool:
        """Events."""
        return True

    @property
    def number(self) -> int:
        """As the driver counts."""
        return int(self.device.device_id)

    @property
    def identifier(self) -> str:
        """Its UUID, which a process that sees only some GPUs also knows."""
        return str(self.device.uuid)

    def enter(self) -> None:
        """Makes this GPU the calling thread's; another library may have chosen another.

        Raises:
            TargetError: this process was forked from the one that the network is of.
        """
        if os.getpid() != self._process:
            raise TargetError(
                f"this process is a fork of process {self._process}, which uses {self.name}, and no GPU can be used "
                "on both sides of a fork; allowed: a process that was started anew; write "
                "multiprocessing.get_context('spawn') and compile or load the network there"
            )
        self.device.set_current()

    # ---- memory --------------------------------------------------------------------------------------------------

    def allocate(self, sizes: Mapping[str, int]) -> Allocation:
        """One piece of device memory, cut into parts."""
        self.enter()
        offsets, total = _layout(sizes)
        base, memory = self._streams.allocate(total)
        return Allocation({label: base + offset for label, offset in offsets.items()}, memory)

    def staging(self, sizes: Mapping[str, int]) -> dict[str, Bytes]:
        """One piece of page-locked memory, cut as `allocate` cuts."""
        self.enter()
        offsets, total = _layout(sizes)
        whole = cuda.pinned(total)
        return {label: whole[offset : offset + sizes[label]] for label, offset in offsets.items()}

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copies an array in and waits, since the caller may change it."""
        self._enqueue("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes)
        self.synchronize()

    def upload_later(self, address: int, staged: Bytes) -> None:
        """Copies staging memory in, in the stream's order."""
        self._enqueue("cuMemcpyHtoDAsync", address, staged.ctypes.data, staged.nbytes)

    def download(self, address: int, array: NDArray[Any]) -> None:
        """Copies into a C-contiguous array and waits."""
        self.synchronize()  # the driver waits within a copy to such memory, and other threads would wait with it
        self._enqueue("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes)
        self.synchronize()

    def copy(self, source: int, target: int, nbytes: int) -> None:
        """Copies on the device, in the stream's order."""
        self._enqueue("cuMemcpyDtoDAsync", target, source, nbytes)

    def _enqueue(self, name: str, *arguments: int) -> None:
        """Calls a function of the driver whose last argument is the stream."""
        self.enter()
        with self._streams.ordered() as stream:
            cuda.call(name, *arguments, stream.handle)

    # ---- work ----------------------------------------------------------------------------------------------------

    def load(self, source: Source, schedule: Schedule) -> LoadedKernel:
        """Loads a cubin."""
        self.enter()
        handle = cuda.load(source.read(".cubin"), entry(source.path), source.beside(".cubin"))
        cuda.allow(handle, self.number, _tile(schedule, "dynamic_shared"), schedule.cluster())
        if not schedule.tiles.get("cooperative", False):
            return LoadedKernel(source, schedule, handle)
        each = cuda.resident_blocks(handle, _tile(schedule, "threads"), _tile(schedule, "dynamic_shared"))
        return LoadedKernel(source, schedule, handle, most_blocks=each * self.processors)

    def prepare(self, work: Work) -> Callable[[], None]:
        """Work that is started as a CUDA graph from the second time on."""
        return _Prepared(self, work)

    def prepare_timed(self, work: Work) -> Callable[[], Callable[[], list[float]]]:
        """Work that is started launch by launch, with an event in front of the first and behind each."""
        return _Prepared(self, work).timed

    def mark(self) -> Callable[[], None]:
        """An event in the stream; the function waits for it."""
        self.enter()
        with self._streams.ordered() as stream, cuda.reported():
            event = stream.record()

        def wait() -> None:
            with cuda.reported():
                event.sync()

        return wait

    def aside(self, ask: Callable[[int], None]) -> None:
        """Work in a stream beside the others."""
        self.enter()
        ask(int(self._streams.aside().handle))

    def join(self) -> Callable[[], bool]:
        """Work from here on waits for all that went aside."""
        self.enter()
        event = self._streams.join()

        def passed() -> bool:
            with cuda.reported():
                return bool(event.is_done)

        return passed

    def ordered(self) -> AbstractContextManager[Any]:
        """The stream for work that comes after all work before."""
        return self._streams.ordered()

    def synchronize(self) -> None:
        """Waits for all work."""
        self.enter()
        self._streams.synchronize()

    # ---- streams and arrays of others ----------------------------------------------------------------------------

    @contextmanager
    def stream(self, stream: Any) -> Generator[None]:
        """Within it, this thread's work goes to the caller's stream, after what was asked for before."""
        self.enter()
        with self._streams.use(cuda.accept_stream(stream, self.device)):
            yield

    @property
    def stream_handle(self) -> int:
        """Address of the stream in which all work so far is done; 1 for the default stream, as array interfaces do."""
        self.enter()
        with self._streams.ordered() as stream:
            return int(stream.handle) or 1

    def view(self, value: Any, what: str) -> View:
        """An array in this GPU's memory where it is, ready on this stream."""
        handle = self.stream_handle
        try:
            if getattr(value, "requires_grad", False):  # some versions of cuda.core look only at the memory
                raise BufferError("it requires a gradient")
            view = cuda.strided_view(value, handle)
            if view.dtype is None:
                raise TypeError("its element type is unknown to NumPy")
            shape, strides, dtype = tuple(view.shape), view.strides, np.dtype(view.dtype)
        except (BufferError, RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            raise ArrayError(
                f"{what} cannot be read on the GPU ({error}); allowed: arrays with __dlpack__ or "
                "__cuda_array_interface__, without a gradient to record; give x.detach() or a NumPy array"
            ) from error
        if view.device_id != self.number:
            raise ArrayError(
                f"{what} lies on GPU {view.device_id}; allowed: GPU {self.number}, where the network runs; "
                "copy it there"
            )
        if not _dense(shape, strides):
            raise ArrayError(
                f"{what} has strides {tuple(strides)} for the shape {shape}; allowed: dense, row-major arrays; give "
                "x.contiguous() or cupy.ascontiguousarray(x)"
            )
        return View(int(view.ptr), shape, dtype, (view, value))

    def export(
        self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any], owner: Any, stream: int | None, **options: Any
    ) -> Any:
        """A DLPack capsule, after making the consumer's stream wait for this one.

        Raises:
            BufferError: it is wanted on another device, where cuda.core copies to none.
        """
        if options.get("dl_device") == (cuda.DLPACK_CUDA, self.number):
            del options["dl_device"]  # cuda.core takes no device, not even the array's own
        if stream is None:
            self.synchronize()
        elif stream != -1:
            self.enter()
            theirs = cuda.accept_stream(stream, self.device)
            with self._streams.ordered() as ours, cuda.reported():
                theirs.wait(ours)
            owner = self._streams.lend(owner)
        return cuda.capsule(address, shape, dtype, owner, **options)


class _Prepared:
    """Work on fixed addresses: launched one by one the first time, captured and replayed as a graph after that.

    Capturing costs about as much as a few runs, so addresses that come once are not captured.
    """

    def __init__(self, gpu: Gpu, work: Work) -> None:
        self._gpu, self._runs, self._graph = gpu, 0, None
        self._uploads = _merged([(address, staged.ctypes.data, staged.nbytes) for staged, address in work.uploads])
        self._downloads = _merged([(address, staged.ctypes.data, staged.nbytes) for address, staged in work.downloads])
        self._launches = [(*_configured(launch), launch) for launch in work.launches if launch.grid]
        self._work = work  # keeps the staging memory

    def __call__(self) -> None:
        gpu = self._gpu
        gpu.enter()
        self._runs += 1
        with gpu.ordered() as stream, cuda.reported():
            if self._graph is None and self._runs > 1:
                self._graph = self._captured()
            if self._graph is None:
                self._enqueue(stream, stream)
            else:
                self._graph.launch(stream)

    def timed(self) -> Callable[[], list[float]]:
        """Starts it outside a graph; what is returned waits, and gives the seconds of each launch."""
        events: list[Any] = []
        self._gpu.enter()
        with self._gpu.ordered() as stream, cuda.reported():
            self._enqueue(stream, stream, lambda: events.append(cuda.timed_event(stream)))

        def seconds() -> list[float]:
            with cuda.reported():
                events[-1].sync()
                times = iter([cuda.seconds_between(begin, end) for begin, end in pairwise(events)])
            return [next(times) if launch.grid else 0.0 for launch in self._work.launches]

        return seconds

    def _captured(self) -> Any:
        builder = self._gpu.device.create_graph_builder()
        builder.begin_building()
        self._enqueue(builder.stream, builder)
        return builder.end_building().complete()

    def _enqueue(self, stream: Any, launcher: Any, note: Callable[[], None] | None = None) -> None:
        """Asks for everything in order.

        Args:
            stream: takes copies.
            launcher: takes launches: the stream, or what captures it.
            note: called before the first launch and after each.
        """
        launch = cuda.core().launch
        for address, host, nbytes in self._uploads:
            cuda.call("cuMemcpyHtoDAsync", address, host, nbytes, stream.handle)
        if note is not None:
            note()
        for kernel, config, arguments, _ in self._launches:
            launch(launcher, config, kernel, *arguments)
            if note is not None:
                note()
        for address, host, nbytes in self._downloads:
            cuda.call("cuMemcpyDtoHAsync", host, address, nbytes, stream.handle)


def _configured(launch: DeviceLaunch) -> tuple[Any, Any, list[Any]]:
    """LoadedKernel, launch options and arguments, as cuda.core takes them: addresses are ints."""
    schedule = launch.kernel.schedule
    threads, shared = (_tile(schedule, name) for name in ("threads", "dynamic_shared"))
    cluster = schedule.cluster(launch.numbers)
    cooperative = bool(schedule.tiles.get("cooperative", False))
    config = cuda.launch_config(launch.grid, threads, shared, cluster, cooperative)
    arguments = arguments_of(launch.addresses, launch.first, launch.numbers)
    addresses = len(launch.addresses)
    return launch.kernel.handle, config, [*map(int, arguments[:addresses]), *arguments[addresses:]]


def _tile(schedule: Schedule, name: str) -> int:
    return int(schedule.tiles.get(name, 0))  # pyright: ignore[reportArgumentType]


def _layout(sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Offset of each part, and the size of all; never 0."""
    offsets: dict[str, int] = {}
    total = 0
    for label, size in sizes.items():
        offsets[label] = total
        total += -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
    return offsets, max(total, ALIGNMENT)


def _merged(copies: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """(address, host address, bytes) of copies; those of neighbouring parts are one, with the padding between them."""
    merged: list[tuple[int, int, int]] = []
    for address, host, nbytes in copies:
        if merged:
            last, last_host, size = merged[-1]
            if address - last == host - last_host and 0 <= address - (last + size) < ALIGNMENT:
                merged[-1] = (last, last_host, address - last + nbytes)
                continue
        merged.append((address, host, nbytes))
    return merged


def _dense(shape: tuple[int, ...], strides: Sequence[int] | None) -> bool:
    """Whether an array's elements lie in a run, row-major; strides count elements."""
    if strides is None or 0 in shape:
        return True
    expected = 1
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True
