"""The registers of a wave, and the values of all that its instructions name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gncodegen.emulator.ptx.scalars import Array


class RegisterFile:
    """Registers in one array for each size: a row is a register, a column a lane.

    Args:
        registers: name → stored type.
        lanes: of the wave.
    """

    def __init__(self, registers: Mapping[str, np.dtype[Any]], lanes: int) -> None:
        self._stored, self._rows, self._lanes = registers, rows(registers), lanes
        counts: dict[np.dtype[Any], int] = {}
        for dtype in registers.values():
            counts[_plain(dtype)] = counts.get(_plain(dtype), 0) + 1
        self._files = {dtype: np.zeros((count, lanes), dtype) for dtype, count in counts.items()}

    def view(self, name: str, dtype: np.dtype[Any]) -> Array:
        """A register at a type, one entry a lane; of a wider register the low part."""
        stored = _plain(self._stored[name])
        row = self._files[stored][self._rows[name]]
        if stored.itemsize == dtype.itemsize:
            return row.view(dtype)
        return row.view(dtype).reshape(self._lanes, -1)[:, 0]

    def file(self, dtype: np.dtype[Any]) -> Array:
        """All registers of a type's size at that type: (registers, lanes)."""
        return self._files[_plain(dtype)].view(dtype)


def rows(registers: Mapping[str, np.dtype[Any]]) -> dict[str, int]:
    """Each register's row among those of its size."""
    result: dict[str, int] = {}
    counts: dict[np.dtype[Any], int] = {}
    for name, dtype in registers.items():
        result[name] = counts.get(_plain(dtype), 0)
        counts[_plain(dtype)] = result[name] + 1
    return result


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type under which registers of a type's size are stored together."""
    return dtype if dtype.kind in "bc" else np.dtype(f"u{dtype.itemsize}")
