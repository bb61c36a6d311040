"""Where the elements of a resized axis come from: a sparse matrix, whose rows say what each output is the sum of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.layers.base import Operation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.float64]

COORDINATES: Mapping[str, Callable[[Any, int, float, float], Any]] = {
    "half-pixel": lambda i, n, m, scale: (i + 0.5) / scale - 0.5,
    "asymmetric": lambda i, n, m, scale: i / scale,
    "align-corners": lambda i, n, m, scale: i * (n - 1) / (m - 1) if m != 1 else 0 * i,
    "half-pixel-symmetric": lambda i, n, m, scale: n / 2 * (1 - floor(m) / m) + (i + 0.5) / scale - 0.5,
    "half-pixel-or-first": lambda i, n, m, scale: (i + 0.5) / scale - 0.5 if m > 1 else 0 * i,
}
"""Where output i lies among n inputs; m = n · scale outputs, which need not be whole."""

ROUNDING: Mapping[str, Callable[[Any], Any]] = {
    "round": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
    "round-half-down": lambda x: np.ceil(x - 0.5),
}
"""The input that stands for a place between two."""

CUBIC = -0.75
"""The parameter a of the cubic kernel, as ONNX, PyTorch and OpenCV have it."""


def _nearest(how: Resampling, places: Places, n: int) -> Places:
    return np.eye(n)[np.clip(ROUNDING[how.rounding](places), 0, n - 1).astype(int)]


def _linear(how: Resampling, places: Places, n: int) -> Places:
    places = np.clip(places, 0, n - 1)
    low = np.minimum(np.floor(places).astype(int), max(n - 2, 0))
    fraction = (places - low)[:, None]
    return np.eye(n)[low] * (1 - fraction) + np.eye(n)[np.minimum(low + 1, n - 1)] * fraction


def _cubic(how: Resampling, places: Places, n: int) -> Places:
    """Four inputs each, the first or the last one for those outside (Keys, 1981)."""
    low = np.floor(places).astype(int)
    found = np.zeros((len(places), n))
    for tap in (-1, 0, 1, 2):
        x = np.abs(places - low - tap)
        near, far = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1, CUBIC * (((x - 5) * x + 8) * x - 4)
        found += np.eye(n)[np.clip(low + tap, 0, n - 1)] * np.where(x <= 1, near, far)[:, None]
    return found


def _area(how: Resampling, places: Places, n: int) -> Places:
    """Output i is the mean of the inputs that i … i + 1 of the m outputs cover, in whole or in part."""
    m = len(places)
    inputs = np.arange(n)
    covered = np.array([(inputs >= i * n // m) & (inputs < -(-(i + 1) * n // m)) for i in range(m)], np.float64)
    return covered / covered.sum(1, keepdims=True)


METHODS: Mapping[str, Callable[[Resampling, Places, int], Places]] = {
    "nearest": _nearest,
    "linear": _linear,
    "cubic": _cubic,
    "area": _area,
}
"""The weights (m, n) of n inputs in outputs at m places."""


@dataclass(frozen=True)
class Resampling:
    """How an axis gets another extent.

    Args:
        method: a row of METHODS.
        coordinates: a row of COORDINATES.
        rounding: a row of ROUNDING, which "nearest" uses.
    """

    method: str
    coordinates: str
    rounding: str

    def matrix(self, n: int, m: int, scale: float) -> NDArray[np.float64]:
        """The weights (m, n) of n inputs in each of m outputs."""
        places = COORDINATES[self.coordinates](np.arange(m, dtype=np.float64), n, n * scale, scale)
        return METHODS[self.method](self, places, n)


def along(matrix: NDArray[np.float64], axis: int) -> Operation:
    """The op that multiplies a matrix (outputs, inputs) by every line of an array along one axis; zeros cost nothing.

    Args:
        matrix: few entries of a row are not 0.
        axis: as the op counts it, the batch included.
    """
    rows, columns = np.nonzero(matrix)
    starts = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return Operation(
        "sparse_product",
        (),
        {
            "axis": axis,
            "starts": tuple(starts.tolist()),
            "columns": tuple(columns.tolist()),
            "weights": tuple(matrix[rows, columns].tolist()),
        },
    )


def is_identity(matrix: NDArray[np.float64]) -> bool:
    """Whether a matrix changes nothing."""
    return matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix)))
