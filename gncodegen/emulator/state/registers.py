"""The registers of a wave."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.emulator.ptx.registers import RegisterLayout, stored_as
from gncodegen.emulator.ptx.scalars import Array


class RegisterFile:
    """Registers in one array for each size: a row is a register, a column a lane.

    Args:
        layout: of the kernel's registers.
        lanes: of the wave.
    """

    def __init__(self, layout: RegisterLayout, lanes: int) -> None:
        self._layout, self._lanes = layout, lanes
        self._files = {dtype: np.zeros((count, lanes), dtype) for dtype, count in layout.counts.items()}
        self._views: dict[np.dtype[Any], Array] = {}
        self._rows: dict[np.dtype[Any], list[Array]] = {}

    def view(self, name: str, dtype: np.dtype[Any]) -> Array:
        """A register at a type, one entry a lane; of a wider register the low part."""
        stored = self._layout.stored[name]
        if stored.itemsize == dtype.itemsize:
            if dtype not in self._rows:
                self._rows[dtype] = list(self.file(dtype))
            return self._rows[dtype][self._layout.rows[name]]
        return self.file(stored)[self._layout.rows[name]].view(dtype).reshape(self._lanes, -1)[:, 0]

    def file(self, dtype: np.dtype[Any]) -> Array:
        """All registers of a type's size at that type: (registers, lanes)."""
        found = self._views.get(dtype)
        if found is None:
            found = self._views[dtype] = self._files[stored_as(dtype)].view(dtype)
        return found
