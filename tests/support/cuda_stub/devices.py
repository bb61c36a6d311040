"""GPUs, their properties and contexts."""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.cuda_stub.abi import ADDRESS, HANDLE, INT, UNSIGNED, Status, StatusError, entry, put

if TYPE_CHECKING:
    from support.cuda_stub.driver import Driver

VERSION = 13050
"""Of CUDA, as cuDriverGetVersion writes it."""


@dataclass
class Gpu:
    """What a GPU is asked for.

    Args:
        name: of the product.
        capability: (major, minor).
        processors: streaming multiprocessors.
        shared: bytes of shared memory that one block may use.
        memory: bytes.
    """

    name: str
    capability: tuple[int, int]
    processors: int
    shared: int = 232448
    memory: int = 1 << 32

    @property
    def architecture(self) -> str:
        """For example "sm_90"."""
        return "sm_{}{}".format(*self.capability)

    def attribute(self, which: int) -> int:
        """CUdevice_attribute; 1 for the many that say that something is supported."""
        return {
            1: 1024, 2: 1024, 3: 1024, 4: 64, 5: (1 << 31) - 1, 6: 65535, 7: 65535, 8: 48 << 10, 9: 64 << 10, 10: 32,
            12: 64 << 10, 16: self.processors, 38: 50 << 20, 39: 2048, 75: self.capability[0], 76: self.capability[1],
            81: self.shared + 1024, 82: 64 << 10, 97: self.shared, 106: 32, 111: 1024, 18: 0,
        }.get(which, 1)  # fmt: skip


GPUS = (
    Gpu("Stub H100", (9, 0), 132),
    Gpu("Stub V100", (7, 0), 80, 96 << 10),
    Gpu("Stub GTX 1080", (6, 1), 20, 48 << 10),
    Gpu("Stub of the future", (13, 0), 200),
    Gpu("Stub A100", (8, 0), 108, 163 << 10),
    Gpu("Stub of a middle kind", (9, 1), 132),
)
"""By number."""


class Devices:
    """Entry points of GPUs and contexts; every GPU has its primary context."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.gpus = list(GPUS)
        self.version = VERSION
        self._contexts = [driver.register(gpu) for gpu in self.gpus]
        self._thread = threading.local()
        self._texts: dict[str, ctypes.Array[ctypes.c_char]] = {}

    def check(self, number: int) -> int:
        """The number of a GPU.

        Raises:
            StatusError: INVALID_DEVICE.
        """
        if not 0 <= number < len(self.gpus):
            raise StatusError(Status.INVALID_DEVICE)
        return number

    def current(self) -> int:
        """The number of the calling thread's GPU.

        Raises:
            StatusError: INVALID_CONTEXT.
        """
        context = getattr(self._thread, "context", 0)
        if not context:
            raise StatusError(Status.INVALID_CONTEXT)
        return self._contexts.index(context)

    def context_of(self, number: int) -> int:
        """The handle of a GPU's context."""
        return self._contexts[self.check(number)]

    @entry("cuInit", UNSIGNED)
    def initialise(self, flags: int) -> None:
        pass

    @entry("cuDriverGetVersion", ADDRESS)
    def driver_version(self, out: int) -> None:
        put(out, self.version, INT)

    @entry("cuGetErrorName", INT, ADDRESS)
    def error_name(self, status: int, out: int) -> None:
        put(out, self._text(f"CUDA_ERROR_{Status(status).name}"))

    @entry("cuGetErrorString", INT, ADDRESS)
    def error_text(self, status: int, out: int) -> None:
        put(out, self._text(f"the stub of the driver says {Status(status).name}"))

    def _text(self, text: str) -> int:
        if text not in self._texts:
            self._texts[text] = ctypes.create_string_buffer(text.encode())
        return ctypes.addressof(self._texts[text])

    # ---- GPUs ------------------------------------------------------------------------------------------------------

    @entry("cuDeviceGetCount", ADDRESS)
    def count(self, out: int) -> None:
        put(out, len(self.gpus), INT)

    @entry("cuDeviceGet", ADDRESS, INT)
    def get(self, out: int, number: int) -> None:
        put(out, self.check(number), INT)

    @entry("cuDeviceGetName", ADDRESS, INT, INT)
    def name(self, out: int, size: int, number: int) -> None:
        text = self.gpus[self.check(number)].name.encode()[: size - 1] + b"\0"
        ctypes.memmove(out, text, len(text))

    @entry("cuDeviceGetUuid", ADDRESS, INT)
    def identifier(self, out: int, number: int) -> None:
        ctypes.memset(out, 1 + self.check(number), 16)

    @entry("cuDeviceTotalMem", ADDRESS, INT)
    def total_memory(self, out: int, number: int) -> None:
        put(out, self.gpus[self.check(number)].memory)

    @entry("cuDeviceGetAttribute", ADDRESS, INT, INT)
    def attribute(self, out: int, which: int, number: int) -> None:
        put(out, self.gpus[self.check(number)].attribute(which), INT)

    @entry("cuDeviceGetPCIBusId", ADDRESS, INT, INT)
    def bus(self, out: int, size: int, number: int) -> None:
        text = f"0000:{self.check(number):02x}:00.0".encode() + b"\0"
        ctypes.memmove(out, text, len(text))

    # ---- contexts --------------------------------------------------------------------------------------------------

    @entry("cuDevicePrimaryCtxRetain", ADDRESS, INT)
    def retain(self, out: int, number: int) -> None:
        put(out, self.context_of(number))

    @entry("cuDevicePrimaryCtxRelease", INT)
    def release(self, number: int) -> None:
        self.check(number)

    @entry("cuDevicePrimaryCtxGetState", INT, ADDRESS, ADDRESS)
    def state(self, number: int, flags: int, active: int) -> None:
        put(flags, 0, UNSIGNED)
        put(active, 1, INT)

    @entry("cuCtxSetCurrent", HANDLE)
    def set_current(self, context: int) -> None:
        if context and context not in self._contexts:
            raise StatusError(Status.INVALID_CONTEXT)
        self._thread.context = context

    @entry("cuCtxGetCurrent", ADDRESS)
    def get_current(self, out: int) -> None:
        put(out, getattr(self._thread, "context", 0))

    @entry("cuCtxPushCurrent", HANDLE)
    def push(self, context: int) -> None:
        stack = self._thread.__dict__.setdefault("stack", [])
        stack.append(getattr(self._thread, "context", 0))
        self.set_current(context)

    @entry("cuCtxPopCurrent", ADDRESS)
    def pop(self, out: int) -> None:
        stack = self._thread.__dict__.get("stack", [])
        put(out, getattr(self._thread, "context", 0))
        self._thread.context = stack.pop() if stack else 0

    @entry("cuCtxGetDevice", ADDRESS)
    @entry("cuCtxGetDevice", ADDRESS, HANDLE, since=13000)
    def device(self, out: int, context: int = 0) -> None:
        put(out, self._contexts.index(context) if context else self.current(), INT)

    @entry("cuCtxGetId", HANDLE, ADDRESS)
    def number(self, context: int, out: int) -> None:
        put(out, context)

    @entry("cuCtxGetFlags", ADDRESS)
    def flags(self, out: int) -> None:
        put(out, 0, UNSIGNED)

    @entry("cuCtxGetGreenCtx", HANDLE, ADDRESS)
    def green(self, context: int, out: int) -> None:
        put(out, 0)
