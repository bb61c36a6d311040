"""What gncodegen calls of nccl.core, with its signatures, on the memory and streams of the driver's stub."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from support.cuda_stub.driver import Driver
from support.cuda_stub.streams import Use

NAMES = ("Communicator", "CustomRedOp", "NcclDataType", "UniqueId", "get_error_string", "get_unique_id")


class UniqueId:
    def __init__(self, content: bytes = b"\0" * 128) -> None:
        self._content = content

    def __bytes__(self) -> bytes:
        return self._content

    @staticmethod
    def from_bytes(b: bytes | bytearray | memoryview) -> UniqueId:
        assert len(b) == 128
        return UniqueId(bytes(b))


def get_unique_id(empty: bool = False) -> UniqueId:
    Communicator.log.append("get_unique_id")
    return UniqueId(b"\0" * 128 if empty else b"stub" * 32)


def get_error_string(nccl_result: int) -> str:
    return f"the stub says {nccl_result}"


def NcclDataType(value: Any) -> np.dtype[Any]:  # noqa: N802  a class there
    return np.dtype(value)


class CustomRedOp:
    def __init__(self, scalar: float, datatype: Any) -> None:
        self.scalar, self.datatype, self.open = scalar, datatype, True

    def close(self) -> None:
        self.open = False


class Communicator:
    """A communicator; `log` has the names of all calls, `joined` makes the sum over ranks of one rank's values."""

    log: list[str] = []  # noqa: RUF012  the test's
    joined: Callable[[np.ndarray], np.ndarray] = staticmethod(lambda values: values)
    driver: Driver
    status = 0

    @classmethod
    def init(cls, nranks: int, rank: int, unique_id: Any, config: Any = None) -> Communicator:
        assert bytes(unique_id) == b"stub" * 32
        cls.log.append(f"init {rank} of {nranks} on GPU {cls.driver.devices.current()}")
        made = cls()
        made.gpu, made.whole = cls.driver.devices.current(), True
        return made

    def create_pre_mul_sum(self, scalar: Any, datatype: Any = None) -> CustomRedOp:
        self.log.append(f"create_pre_mul_sum {scalar:g}")
        return CustomRedOp(scalar, datatype)

    def allreduce(self, sendbuf: Any, recvbuf: Any, op: Any, *, stream: Any = None, config: Any = None) -> None:
        """Of one device array, as late as its stream's order allows."""
        assert sendbuf is recvbuf
        assert op.open
        assert self.whole
        assert self.driver.devices.current() == self.gpu
        self.log.append("allreduce")
        address, memory = sendbuf.__cuda_array_interface__["data"][0], self.driver.memory.device
        scale = op.datatype.type(op.scalar)

        def add() -> None:
            values = memory.read(address, sendbuf.shape, sendbuf.dtype)
            memory.write(address, type(self).joined(values * scale))

        self.driver.streams.submit(
            stream, add, f"allreduce of {sendbuf.nbytes} bytes", Use(address, True, sendbuf.nbytes)
        )

    def get_async_error(self) -> int:
        return self.status

    def destroy(self) -> None:
        self.log.append("destroy")
        self.whole = False


def install(driver: Driver, patch: pytest.MonkeyPatch) -> type[Communicator]:
    """Makes `import nccl.core` find this; returns its communicator."""
    core = ModuleType("nccl.core")
    for name in NAMES:
        setattr(core, name, globals()[name])
    patch.setitem(sys.modules, "nccl", ModuleType("nccl"))
    patch.setitem(sys.modules, "nccl.core", core)
    Communicator.driver, Communicator.log = driver, []
    return Communicator
