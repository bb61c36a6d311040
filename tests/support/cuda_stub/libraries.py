"""What bench/gpu.py calls of torch and CuPy, on a GPU of the stub."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from support.cuda_stub.arrays import Capsule, GpuArray, OtherStream
from support.cuda_stub.driver import Driver
from support.cuda_stub.streams import LEGACY, Use


def lend_torch(driver: Driver, monkeypatch: Any) -> None:
    """Makes torch see the stub's GPU; its streams wait for nothing unless told."""
    import torch

    from support.cuda_stub.tensors import Gpu

    gpu = Gpu(driver).lend(monkeypatch)

    def cuda(tensor: Any) -> Any:
        return gpu.tensor(tensor)

    monkeypatch.setattr(torch.Tensor, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: SimpleNamespace(cuda_stream=OtherStream(driver).handle))
    monkeypatch.setattr(torch.cuda, "synchronize", driver.streams.finish_all)


def lend_cupy(driver: Driver, monkeypatch: Any) -> None:
    """A module that stands for CuPy 14, whose own needs a driver that its runtime library knows."""
    cupy: Any = ModuleType("cupy")

    class Device:
        synchronize = staticmethod(driver.streams.finish_all)

    class Stream(OtherStream):
        def __init__(self, *, non_blocking: bool) -> None:
            super().__init__(driver)
            assert non_blocking

    def from_dlpack(array: Any) -> _Array:
        assert array.__dlpack_device__() == (2, 0)
        found = Capsule(array.__dlpack__(stream=LEGACY, max_version=(1, 0), copy=None))
        return _Array(driver, found.address, found.shape, array.dtype, array)

    def asarray(array: Any) -> _Array:
        owner = GpuArray(driver, array) if isinstance(array, np.ndarray) else array
        known = owner.__cuda_array_interface__
        return _Array(driver, known["data"][0], known["shape"], np.dtype(known["typestr"]), owner)

    cupy.from_dlpack, cupy.asarray = from_dlpack, asarray
    cupy.asnumpy = lambda array: array.host()
    cupy.cuda = SimpleNamespace(is_available=lambda: True, Stream=Stream, Device=Device)
    monkeypatch.setitem(sys.modules, "cupy", cupy)


class _Array:
    """An array of CuPy's: the memory of an `owner`, used in the default stream."""

    def __init__(self, driver: Driver, address: int, shape: Any, dtype: np.dtype[Any], owner: Any) -> None:
        self._driver, self._address, self._shape, self._dtype, self._owner = driver, address, shape, dtype, owner
        self.__cuda_array_interface__ = {
            "shape": tuple(shape), "typestr": dtype.str, "data": (address, False), "stream": LEGACY, "version": 3,
        }  # fmt: skip

    def host(self) -> np.ndarray:
        """A copy on the host, after the work of the default stream."""
        found: list[np.ndarray] = []
        streams, memory = self._driver.streams, self._driver.memory.device

        def read() -> None:
            found.append(memory.read(self._address, self._shape, self._dtype))

        streams.finish(streams.submit(LEGACY, read, "copy to the host", Use(self._address, False)))
        return found[0]

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __eq__(self, other: Any) -> Any:
        return self.host() == other.host()
