"""Memory of arrays that callers keep: uninitialised, and used again when the last view of an array is gone."""

from __future__ import annotations

import mmap
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gncodegen.allocation import aligned, mapped

SMALLEST = 64 << 10
"""Bytes from which memory is kept here; the C library's allocator keeps smaller pieces itself."""

MOST_SPARE = 256 << 20
"""Bytes of spare memory; what came back first is given back to the system."""

ALIGNED_FROM = 4 << 10
"""Bytes from which arrays begin at a line of the caches: smaller ones are never written past them."""

FULLNESS = 0.75
"""The least part of a spare piece that an array fills, if it is to lie there."""


@dataclass(frozen=True, eq=False)
class _Piece:
    """Memory of the system's: `size` bytes from `start` on."""

    memory: mmap.mmap
    start: int
    size: int

    @staticmethod
    def of(size: int) -> _Piece:
        """A new piece."""
        return _Piece(*mapped(size), size)


class _Lease(ref[NDArray[Any]]):
    """Knows which piece an array lies in. NumPy's views hold the array, so it lives as long as they do."""

    piece: _Piece


class Pool:
    """Pieces of memory, lent to arrays and taken back."""

    def __init__(self) -> None:
        # Arrays end in any thread, also while this one is here: nothing below needs a lock.
        self._spare: list[_Piece] = []
        self._leases: dict[int, _Lease] = {}

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A C-contiguous array of undefined values; unless it is small it begins on a 64-byte boundary."""
        kind = np.dtype(dtype)
        size = prod(shape) * kind.itemsize
        if size < ALIGNED_FROM:
            return np.empty(shape, kind)
        if size < SMALLEST:
            return aligned(shape, kind, zeroed=False)
        piece = self._piece(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        # The buffer is no array: NumPy lets views of an array hold the array below it.
        array = np.ndarray(shape, kind, piece.memory, piece.start)
        lease = _Lease(array, self._back)
        lease.piece = piece
        self._leases[id(lease)] = lease
        return array

    def _piece(self, size: int) -> _Piece:
        for piece in tuple(reversed(self._spare)):
            if FULLNESS * piece.size <= size <= piece.size:
                with suppress(ValueError):  # another thread took it
                    self._spare.remove(piece)
                    return piece
        return _Piece.of(size)

    def _back(self, lease: ref[NDArray[Any]]) -> None:
        piece = self._leases.pop(id(lease)).piece
        self._spare.append(piece)
        while sum(each.size for each in tuple(self._spare)) > MOST_SPARE:
            with suppress(IndexError):
                self._spare.pop(0)


POOL = Pool()
"""Of this process."""
