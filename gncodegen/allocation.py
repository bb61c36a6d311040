"""Memory of arrays: on boundaries that vector registers and the system's pages want, and what never changes."""

from __future__ import annotations

import mmap
from contextlib import suppress
from ctypes import CDLL, addressof, c_char
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

ALIGNMENT = 64
"""Bytes; a cache line and the widest vector register."""

HUGE_PAGE = 2 << 20
"""Bytes; what lasts and is half as large or more lies on such pages where Linux grants them: a copy takes 10 % less."""

MAPPED_FROM = 64 << 10
"""Bytes from which an array that never changes has pages of its own, which go back to the system with it."""


def aligned(shape: tuple[int, ...] | int, dtype: DTypeLike, *, zeroed: bool = True) -> NDArray[Any]:
    """A C-contiguous array, of zeros or uninitialised, whose first element lies on a 64-byte boundary."""
    allocate = np.zeros if zeroed else np.empty
    return _placed(allocate(_nbytes(shape, dtype) + ALIGNMENT, np.uint8), ALIGNMENT, shape, dtype)


def lasting(shape: tuple[int, ...] | int, dtype: DTypeLike) -> NDArray[Any]:
    """The same for an array that outlives many runs: on huge pages if it is large, which take long to come by."""
    if _nbytes(shape, dtype) < HUGE_PAGE // 2 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return aligned(shape, dtype)
    memory, start = mapped(_nbytes(shape, dtype), filled=0.5)
    return np.ndarray(shape, dtype, np.frombuffer(memory, np.uint8), start)


PRIVATE: dict[str, int] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
"""Arguments of mmap.mmap for memory that is no other process's; Windows has no other."""


def mapped(size: int, kind: type[mmap.mmap] = mmap.mmap, filled: float = 1) -> tuple[mmap.mmap, int]:
    """So many bytes of the system's on huge pages, and the offset at which they begin; the last page, if they fill it.

    Args:
        size: in bytes.
        kind: of the memory object.
        filled: the least part of a huge page that they fill.
    """
    whole = int(size / HUGE_PAGE + 1 - filled) * HUGE_PAGE if hasattr(mmap, "MADV_HUGEPAGE") else 0
    memory = kind(-1, max(size, whole) + (HUGE_PAGE if whole else 0), **PRIVATE)
    if not whole:
        return memory, 0
    start = -address_of(np.frombuffer(memory, np.uint8)) % HUGE_PAGE
    with suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_HUGEPAGE, start, whole)
    return memory, start


class _Unchanging(mmap.mmap):
    """Memory that nobody writes once it is filled."""


def unchanging(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """A read-only C-contiguous array of these values, which nobody else can change: one made here is not copied."""
    kind = np.dtype(dtype)
    if is_unchanging(values) and values.dtype == kind:
        return values
    if values.size * kind.itemsize < MAPPED_FROM:
        array = aligned(values.shape, kind, zeroed=False)
    else:
        memory, start = mapped(values.size * kind.itemsize, _Unchanging)
        array = np.ndarray(values.shape, kind, memory, start)
    array[...] = values
    array.flags.writeable = False
    return array


def is_unchanging(array: NDArray[Any]) -> bool:
    """Whether it is a large array that `unchanging` made: others may read it where it is."""
    return isinstance(array.base, _Unchanging) and not array.flags.writeable


def _nbytes(shape: tuple[int, ...] | int, dtype: DTypeLike) -> int:
    return prod((shape,) if isinstance(shape, int) else shape) * np.dtype(dtype).itemsize


def _placed(memory: NDArray[np.uint8], boundary: int, shape: tuple[int, ...] | int, dtype: DTypeLike) -> NDArray[Any]:
    """An array at the first multiple of `boundary` in memory."""
    return np.ndarray(shape, dtype, memory, -address_of(memory) % boundary)


def address_of(array: NDArray[Any]) -> int:
    """Where an array's first element lies."""
    try:
        buffer: Any = array
        return addressof(c_char.from_buffer(buffer))  # a fifth of the time of what follows
    except (TypeError, ValueError):  # read-only, strided or empty
        return array.__array_interface__["data"][0]


def give_back() -> None:
    """Gives memory that the C library keeps for later back to the system, where it can: glibc's keeps a model's."""
    with suppress(AttributeError, OSError, TypeError):
        CDLL(None).malloc_trim(0)
