"""Arrays and streams of another library on a GPU of the stub."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np

from support.cuda_stub.driver import Driver


class GpuArray:
    """An array in a GPU's memory that is known by `__cuda_array_interface__`.

    Args:
        driver: of the GPU.
        values: its content.
        shift: bytes between the start of its memory and the first element.
        strides: of its axes in bytes.
        gpu: number of the GPU.
        stream: that it is ready on, None where it is ready.
    """

    def __init__(
        self,
        driver: Driver,
        values: np.ndarray,
        *,
        shift: int = 0,
        strides: Any = None,
        gpu: int = 0,
        stream: Any = None,
    ) -> None:
        self._memory, self.gpu = driver.memory, gpu
        base = driver.memory.allocate(values.nbytes + shift, gpu)
        weakref.finalize(self, _free, driver, base).atexit = False
        driver.memory.device.write(base + shift, values)
        self.__cuda_array_interface__ = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (base + shift, False),
            "strides": strides,
            "stream": stream,
            "version": 3,
        }


class OtherStream:
    """A stream that another library made, and may destroy.

    Args:
        driver: of its GPU.
        gpu: number of the GPU.
    """

    def __init__(self, driver: Driver, gpu: int = 0) -> None:
        self._driver = driver
        self.handle = driver.streams.open(gpu, blocking=False)

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle

    def destroy(self) -> None:
        self._driver.streams.destroy(self.handle)


def _free(driver: Driver, address: int) -> None:
    driver.streams.finish_all()
    driver.memory.give_back(address)


class Capsule:
    """What a DLPack capsule says of its array; the capsule is used up.

    Attributes: `address`, `device` (type, number), `shape`.
    """

    def __init__(self, capsule: Any) -> None:
        take = ctypes.pythonapi.PyCapsule_GetPointer
        take.restype, take.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        name = ctypes.pythonapi.PyCapsule_GetName
        name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
        found = name(capsule)
        versioned = found == b"dltensor_versioned"
        # A versioned one starts with the version, a context, a deleter and flags, 32 bytes.
        at = take(capsule, found) + (32 if versioned else 0)
        word, number = ctypes.c_uint64.from_address, ctypes.c_int32.from_address
        self.address = word(at).value + word(at + 40).value
        self.device = number(at + 8).value, number(at + 12).value
        axes = number(at + 16).value
        self.shape = tuple(word(word(at + 24).value + 8 * axis).value for axis in range(axes))
