"""Where a kernel's registers lie: those of one size together, a row for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class RegisterLayout:
    """Rows for registers in one array for each size.

    Attributes: `stored` (name → type), `rows` (name → row), `counts` (the type of a size → registers of that size).

    Args:
        stored: name → type.
    """

    def __init__(self, stored: Mapping[str, np.dtype[Any]]) -> None:
        self.stored = stored
        self.rows: dict[str, int] = {}
        self.counts: dict[np.dtype[Any], int] = {}
        for name, dtype in stored.items():
            size = stored_as(dtype)
            self.rows[name] = self.counts.get(size, 0)
            self.counts[size] = self.rows[name] + 1


def stored_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type under which registers of a type's size are stored together."""
    return dtype if dtype.kind in "bcu" else np.dtype(f"u{dtype.itemsize}")
