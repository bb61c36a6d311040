"""A stand-in for cuda.core and the driver's bindings: device memory and launches are the emulator's, calls are logged.

It has the names and signatures of cuda.core 1.2 that gncodegen uses; `legacy=True` those of 0.5.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from gncodegen.emulator import DeviceMemory, Executable, run
from gncodegen.environment import environment


class CUDAError(Exception):
    """As cuda.core's."""


class FakeCuda:
    """One GPU that is not there; `log` has what was asked of it."""

    def __init__(
        self, *, capability: tuple[int, int] = (9, 0), driver_version: int = 13020, legacy: bool = False
    ) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.memory = DeviceMemory()
        self.capability, self.driver_version, self.legacy = capability, driver_version, legacy
        self.broken: Exception | None = None
        self.free_bytes = 1 << 40
        self.handles = 100
        self.streams: dict[int, Any] = {}
        self.modules = {
            "cuda.core": self._core(),
            "cuda.core.utils": SimpleNamespace(StridedMemoryView=self._view_type()),
            "cuda.bindings.driver": self._driver(),
        }

    def import_module(self, name: str) -> Any:
        return self.modules[name]

    def count(self, *names: str) -> int:
        return sum(entry[0] in names for entry in self.log)

    # ---- cuda.core -------------------------------------------------------------------------------------------------

    def _core(self) -> SimpleNamespace:  # noqa: C901  one small class after the other
        fake = self

        class Event:
            def sync(self) -> None:
                fake.log.append(("event sync",))
                if fake.broken:
                    raise fake.broken

        class Stream:
            def __init__(self, name: str, handle: int) -> None:
                self.name, self.handle = name, handle
                self.captured: list[Any] | None = None
                fake.streams[handle] = self

            @staticmethod
            def from_handle(handle: int) -> Stream:
                return Stream("caller's", handle)

            def submit(self, what: tuple[Any, ...], do: Any) -> None:
                if self.captured is not None:
                    self.captured.append((what, do))
                    return
                fake.log.append((*what, self.name))
                do()

            def record(self) -> Event:
                assert self.captured is None
                return Event()

            def wait(self, other: Stream) -> None:
                fake.log.append(("wait", self.name, other.name))

            def sync(self) -> None:
                fake.log.append(("sync", self.name))
                if fake.broken:
                    raise fake.broken

        class LaunchConfig:
            def __init__(self, grid=None, cluster=None, block=None, shmem_size=None, **more: bool) -> None:
                allowed = "cooperative_launch" if fake.legacy else "is_cooperative"
                if set(more) - {allowed}:
                    raise TypeError(f"unexpected keyword {more}")
                self.grid, self.cluster, self.block, self.shmem_size = grid, cluster, block, shmem_size
                self.cooperative = more.get(allowed, False)

        class Kernel:
            def __init__(self, name: str) -> None:
                self.name = name
                if fake.legacy:
                    self._handle = f"handle of {name}"
                else:
                    self.handle = f"handle of {name}"

        class ObjectCode:
            @staticmethod
            def from_cubin(code: bytes, *, name: str = "") -> ObjectCode:
                assert code[:4] == b"\x7fELF"
                if fake.broken:
                    raise fake.broken
                return ObjectCode()

            def get_kernel(self, name: str) -> Kernel:
                return Kernel(name)

        class Graph:
            def __init__(self, operations: list[Any]) -> None:
                self.operations = operations

            def launch(self, stream: Stream) -> None:
                fake.log.append(("graph", stream.name, len(self.operations)))
                for _, do in self.operations:
                    do()

        class GraphBuilder:
            def __init__(self) -> None:
                self.stream = Stream("capture", 77)

            def begin_building(self) -> GraphBuilder:
                fake.log.append(("capture",))
                self.stream.captured = []
                return self

            def end_building(self) -> GraphBuilder:
                return self

            def complete(self) -> Graph:
                return Graph(self.stream.captured or [])

        class Device:
            def __init__(self, number: int) -> None:
                if fake.broken:
                    raise fake.broken
                self.device_id, self.name, self.compute_capability = number, "Fake GPU", fake.capability
                self.properties = SimpleNamespace(multiprocessor_count=4, l2_cache_size=1 << 20)
                self.default_stream = Stream("default", 0)

            def set_current(self) -> None:
                pass

            def create_stream(self, options: Any = None) -> Stream:
                assert options.nonblocking is False
                fake.handles += 1
                return Stream("own", fake.handles)

            def create_graph_builder(self) -> GraphBuilder:
                return GraphBuilder()

            def allocate(self, size: int, *, stream: Stream) -> Any:
                if size > fake.free_bytes:
                    raise CUDAError("CUDA_ERROR_OUT_OF_MEMORY: The API call failed because it was unable to allocate")
                fake.log.append(("allocate", size))
                return SimpleNamespace(handle=fake.memory.allocate(size))

        def launch(to: Any, config: LaunchConfig, kernel: Kernel, *arguments: Any) -> None:
            assert all(type(a) in (int, np.uint32) for a in arguments), "ints are pointers to cuda.core"
            stream = to.stream if isinstance(to, GraphBuilder) else to
            assert (stream.captured is not None) == isinstance(to, GraphBuilder)
            stream.submit(("launch", kernel.name, config), lambda: fake._run(kernel.name, config, arguments))

        class LegacyPinnedMemoryResource:
            def allocate(self, size: int) -> Any:
                memory = np.zeros(size, np.uint8)
                return SimpleNamespace(handle=memory.ctypes.data, memory=memory)

        return SimpleNamespace(
            Device=Device, Stream=Stream, LaunchConfig=LaunchConfig, ObjectCode=ObjectCode, launch=launch,
            StreamOptions=SimpleNamespace, LegacyPinnedMemoryResource=LegacyPinnedMemoryResource,
            LEGACY_DEFAULT_STREAM=Stream("default", 0), Buffer=SimpleNamespace(from_handle=self._buffer),
        )  # fmt: skip

    def _run(self, name: str, config: Any, arguments: tuple[Any, ...]) -> None:
        ptx = next(Path(environment().cache_dir).rglob(f"{name.removeprefix('kernel_')}.ptx"))
        cluster = config.cluster or 1
        run(
            Executable(ptx.read_text()),
            grid=config.grid * cluster,
            block=config.block,
            arguments=[np.uint64(a) if isinstance(a, int) else a for a in arguments],
            memory=self.memory,
            cluster=cluster,
            cooperative=config.cooperative,
            dynamic_shared=config.shmem_size,
        )

    def _buffer(self, address: int, size: int, *, owner: Any = None) -> Any:
        return SimpleNamespace(address=address, size=size, owner=owner)

    def _view_type(self) -> Any:
        fake = self

        class StridedMemoryView:
            """Of `__cuda_array_interface__`."""

            def __init__(self, value: Any, stream_ptr: int) -> None:
                facts = value.__cuda_array_interface__
                fake.log.append(("view", stream_ptr))
                self.ptr, self.shape, self.dtype = facts["data"][0], facts["shape"], np.dtype(facts["typestr"])
                strides = facts.get("strides")
                self.strides = None if strides is None else tuple(s // self.dtype.itemsize for s in strides)
                self.device_id = getattr(value, "gpu", 0)

            @classmethod
            def from_any_interface(cls, value: Any, stream_ptr: int) -> Any:
                return cls(value, stream_ptr)

            @classmethod
            def from_buffer(cls, buffer: Any, shape: Any, *, dtype: Any) -> Any:
                view = object.__new__(cls)
                view.ptr, view.shape, view.dtype, view.owner = buffer.address, shape, dtype, buffer.owner
                return view

            def __dlpack__(self, **options: Any) -> Any:
                return ("capsule", self.ptr, self.shape, self.dtype, self.owner, options)

        if self.legacy:
            del StridedMemoryView.from_any_interface
        return StridedMemoryView

    # ---- the driver's bindings --------------------------------------------------------------------------------------

    def _driver(self) -> SimpleNamespace:
        def copy(name: str, do: Any) -> Any:
            def call(target: int, source: int, nbytes: int, stream: Any) -> tuple[int]:
                self._submit(stream, (name, nbytes), lambda: do(target, source, nbytes))
                return (0,)

            return call

        def in_(target: int, source: int, nbytes: int) -> None:
            self.memory.write(target, np.frombuffer(ctypes.string_at(source, nbytes), np.uint8))

        def out(target: int, source: int, nbytes: int) -> None:
            ctypes.memmove(target, self.memory.read(source, nbytes, np.uint8).tobytes(), nbytes)

        def within(target: int, source: int, nbytes: int) -> None:
            self.memory.write(target, self.memory.read(source, nbytes, np.uint8))

        def fill(address: int, value: int, nbytes: int, stream: Any) -> tuple[int]:
            self._submit(stream, ("fill", nbytes), lambda: self.memory.write(address, np.full(nbytes, value, np.uint8)))
            return (0,)

        def attribute(which: str, value: int, kernel: str, device: int) -> tuple[int]:
            self.log.append(("attribute", which, value, kernel, device))
            return (0,)

        names = ("CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES",
                 "CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED")  # fmt: skip
        return SimpleNamespace(
            cuMemcpyHtoDAsync=copy("in", in_), cuMemcpyDtoHAsync=copy("out", out),
            cuMemcpyDtoDAsync=copy("within", within),
            cuMemsetD8Async=fill, cuKernelSetAttribute=attribute, cuDriverGetVersion=lambda: (0, self.driver_version),
            cuMemGetInfo=lambda: (0, self.free_bytes, 1 << 41),
            CUfunction_attribute=SimpleNamespace(**{name: name for name in names}),
        )  # fmt: skip

    def _submit(self, handle: Any, what: tuple[Any, ...], do: Any) -> None:
        self.streams[handle].submit(what, do)


class GpuArray:
    """An array of another library in the fake GPU's memory."""

    def __init__(
        self, fake: FakeCuda, values: np.ndarray, *, shift: int = 0, strides: Any = None, gpu: int = 0
    ) -> None:
        self.base = fake.memory.allocate(values.nbytes + shift)
        fake.memory.write(self.base + shift, values)
        self.gpu = gpu
        self.__cuda_array_interface__ = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (self.base + shift, False),
            "strides": strides,
            "version": 3,
        }
