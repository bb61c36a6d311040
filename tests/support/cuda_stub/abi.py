"""The C side: statuses, types of arguments, and Python functions as entry points."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, TypeVar

ADDRESS = SIZE = HANDLE = ctypes.c_uint64
INT, UNSIGNED, TEXT = ctypes.c_int, ctypes.c_uint, ctypes.c_char_p

Method = TypeVar("Method", bound=Callable[..., None])


class Status(IntEnum):
    """CUresult."""

    SUCCESS = 0
    INVALID_VALUE = 1
    OUT_OF_MEMORY = 2
    NOT_INITIALIZED = 3
    STUB_LIBRARY = 34
    NO_DEVICE = 100
    INVALID_DEVICE = 101
    INVALID_CONTEXT = 201
    NO_BINARY_FOR_GPU = 209
    INVALID_HANDLE = 400
    NOT_FOUND = 500
    NOT_READY = 600
    ILLEGAL_ADDRESS = 700
    LAUNCH_OUT_OF_RESOURCES = 701
    LAUNCH_FAILED = 719
    COOPERATIVE_LAUNCH_TOO_LARGE = 720
    NOT_SUPPORTED = 801
    SYSTEM_DRIVER_MISMATCH = 803
    STREAM_CAPTURE_UNSUPPORTED = 900
    STREAM_CAPTURE_INVALIDATED = 901
    STREAM_CAPTURE_UNMATCHED = 903
    STREAM_CAPTURE_ISOLATION = 905
    INVALID_CLUSTER_SIZE = 912
    UNKNOWN = 999


class StatusError(Exception):
    """What an entry point raises to return a status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


def entry(name: str, *types: Any, since: int = 0) -> Callable[[Method], Method]:
    """Makes a method an entry point.

    Args:
        name: as callers ask for it.
        types: of its arguments.
        since: the first CUDA version of this signature, 1000 major + 10 minor.
    """

    def mark(method: Method) -> Method:
        method.__dict__.setdefault("entries", []).append((name, since, types))
        return method

    return mark


def entries(part: object) -> Iterator[tuple[str, int, tuple[Any, ...], Callable[..., None]]]:
    """(name, since, types, bound method) of an object's entry points."""
    for attribute in dir(type(part)):
        for name, since, types in getattr(getattr(type(part), attribute), "entries", ()):
            yield name, since, types, getattr(part, attribute)


def put(address: int, value: int, kind: Any = ADDRESS) -> None:
    """Writes a number that the caller asked for; nothing where the address is NULL."""
    if address:
        kind.from_address(address).value = value


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = (("grid", UNSIGNED * 3), ("block", UNSIGNED * 3), ("shared", UNSIGNED), ("stream", HANDLE),
                ("attributes", ADDRESS), ("count", UNSIGNED))  # fmt: skip


class LaunchAttribute(ctypes.Structure):
    """CUlaunchAttribute."""

    _fields_ = (("kind", UNSIGNED), ("padding", ctypes.c_char * 4), ("value", UNSIGNED * 16))


COOPERATIVE, CLUSTER_DIMENSION = 2, 4
"""CUlaunchAttributeID."""
