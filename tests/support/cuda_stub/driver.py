"""The driver: handles, faults, and a table of entry points."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

from gncodegen.errors import EmulationFault
from support.cuda_stub.abi import Status, StatusError, entries
from support.cuda_stub.devices import GPUS, VERSION, Devices
from support.cuda_stub.graphs import Graphs
from support.cuda_stub.kernels import Kernels
from support.cuda_stub.memory import Memory
from support.cuda_stub.streams import Operation, Streams

Found = TypeVar("Found")

FIRST_HANDLE, STEP = 0x5000_0000, 0x10

STARTING = ("cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent")
"""What the first use of a GPU calls."""


class Driver:
    """A driver with a few GPUs.

    Attributes: `calls` has (name, arguments) of every call, `faults` what is wrong and a real driver might not report;
    `answers` are statuses to return instead of doing what is asked for.

    Args:
        slot: gives a C function an address that callers may keep beyond Python's end.
    """

    def __init__(self, slot: Callable[[Any], int]) -> None:
        self.active, self._slot = False, slot
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.faults: list[str] = []
        self.answers: dict[str, Status] = {}
        self._sticky: Status | None = None
        self._handles: dict[int, object] = {}
        self._numbers = count(FIRST_HANDLE, STEP)
        self._lock = threading.RLock()
        self._process = os.getpid()
        self.devices = Devices(self)
        self.streams = Streams(self)
        self.graphs = Graphs(self)
        self.memory = Memory(self)
        self.kernels = Kernels(self)
        self._table: dict[str, dict[int, tuple[tuple[Any, ...], Callable[..., None]]]] = {}
        for part in (self.devices, self.streams, self.graphs, self.memory, self.kernels):
            for name, since, types, method in entries(part):
                self._table.setdefault(name, {})[since] = types, method
        self._made: dict[tuple[str, int], tuple[Any, int]] = {}

    # ---- what the parts share --------------------------------------------------------------------------------------

    def register(self, found: object) -> int:
        """A new handle."""
        handle = next(self._numbers)
        self._handles[handle] = found
        return handle

    def find(self, handle: int, kind: type[Found]) -> Found:
        """What a handle stands for.

        Raises:
            StatusError: INVALID_HANDLE; a fault, too, since a real driver may crash instead.
        """
        found = self._handles.get(handle)
        if not isinstance(found, kind):
            self.fault(f"{handle:#x} is no {kind.__name__.lower()}" + (" (any more)" if found is None else ""))
            raise StatusError(Status.INVALID_HANDLE)
        return found

    def forget(self, handle: int) -> None:
        """Makes a handle stand for nothing."""
        del self._handles[handle]

    def fault(self, what: str) -> None:
        """Notes what is wrong."""
        self.faults.append(what)

    def attempt(self, operation: Operation) -> None:
        """Does what an operation does; what the emulator finds is an error of every later call that waits."""
        try:
            operation.action()
        except EmulationFault as fault:
            self.fault(f"{operation.what}: {fault}")
            self._sticky = Status.LAUNCH_FAILED if "trapped" in fault.reason else Status.ILLEGAL_ADDRESS

    def raise_sticky(self) -> None:
        """Raises the error that the GPU's work ended with, if it did."""
        if self._sticky is not None:
            raise StatusError(self._sticky)

    # ---- for tests -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Answers from now on, as if nothing had happened; memory and streams of earlier tests stay."""
        self.active, self._sticky = True, None
        self.devices.gpus[:], self.devices.version = GPUS, VERSION
        self.kernels.runs = True
        for record in (self.calls, self.faults, self.answers, self.kernels.launches):
            record.clear()

    def end(self) -> None:
        """Lets nobody start from now on, as a library without a driver behind it; what lives can still end."""
        self.streams.finish_all()
        self.active = False

    def count(self, *names: str) -> int:
        """How often functions of these names were called."""
        return sum(name in names for name, _ in self.calls)

    # ---- entry points ----------------------------------------------------------------------------------------------

    def resolve(self, name: str, version: int) -> int:
        """The address of an entry point; of one that is not known, of a function that says so."""
        signatures = self._table.get(name, {})
        fitting = [since for since in signatures if since <= version]
        key = (name, max(fitting, default=0))
        if key not in self._made:
            types, method = signatures[key[1]] if fitting else ((), _unsupported)
            made = ctypes.CFUNCTYPE(ctypes.c_int, *types)(self._entry(name, method))
            self._made[key] = made, self._slot(made)
        return self._made[key][1]

    def _entry(self, name: str, method: Callable[..., None]) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            if os.getpid() != self._process and not name.startswith("cuGetError"):
                return Status.NOT_INITIALIZED
            with self._lock, _uncollected():
                return self._call(name, method, arguments)

        return call

    def _call(self, name: str, method: Callable[..., None], arguments: tuple[Any, ...]) -> int:
        self.calls.append((name, arguments))
        answer = self.answers.get(name) if self.active or name not in STARTING else Status.STUB_LIBRARY
        if answer is not None:
            return answer
        try:
            method(*arguments)
        except StatusError as refused:
            return refused.status
        except Exception as error:  # one of the stub itself
            self.fault(f"{name}{arguments}: {type(error).__name__}: {error}")
            return Status.UNKNOWN
        return Status.SUCCESS


@contextmanager
def _uncollected() -> Generator[None]:
    """No garbage is collected meanwhile: what frees pinned memory waits for all work, also for a kernel half done."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _unsupported(*arguments: Any) -> None:
    raise StatusError(Status.NOT_SUPPORTED)
