"""Where the elements of a resized axis come from: a sparse matrix, whose rows say what each output is the sum of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.layers.base import Operation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.float64]
    Method = Callable[["Resampling", Places, int, float], Places]

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


def _tent(x: Places, a: float) -> Places:
    return np.clip(1 - x, 0, 1)


def _keys(x: Places, a: float) -> Places:
    """The cubic kernel (Keys, 1981)."""
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _nearest(how: Resampling, places: Places, n: int, scale: float) -> Places:
    return np.eye(n)[np.clip(ROUNDING[how.rounding](places), 0, n - 1).astype(int)]


def _by_kernel(kernel: Callable[[Places, float], Places], reach: int) -> Method:
    """The weights that a kernel has at the distances to inputs; outside stand the first and the last, or nothing."""

    def weights(how: Resampling, places: Places, n: int, scale: float) -> Places:
        shrunk = min(scale, 1.0) if how.antialias else 1.0
        low, most = np.floor(places).astype(int), ceil(reach / shrunk)
        found, rows = np.zeros((len(places), n)), np.arange(len(places))
        for tap in range(1 - most, most + 1):
            share = kernel(np.abs(low + tap - places) * shrunk, how.coefficient)
            inside = (low + tap >= 0) & (low + tap < n)
            found[rows, np.clip(low + tap, 0, n - 1)] += share * (inside | (not how.exclude_outside))
        return found / found.sum(1, keepdims=True) if how.antialias or how.exclude_outside else found

    return weights


def _area(how: Resampling, places: Places, n: int, scale: float) -> Places:
    """Output i is the mean of the inputs that i … i + 1 of the m outputs cover, in whole or in part."""
    m = len(places)
    inputs = np.arange(n)
    covered = np.array([(inputs >= i * n // m) & (inputs < -(-(i + 1) * n // m)) for i in range(m)], np.float64)
    return covered / covered.sum(1, keepdims=True)


METHODS: Mapping[str, Method] = {
    "nearest": _nearest,
    "linear": _by_kernel(_tent, 1),
    "cubic": _by_kernel(_keys, 2),
    "area": _area,
}
"""The weights (m, n) of n inputs in outputs at m places, m = scale · n."""


@dataclass(frozen=True)
class Resampling:
    """How an axis gets another extent.

    Args:
        method: a row of METHODS.
        coordinates: a row of COORDINATES.
        rounding: a row of ROUNDING, which "nearest" uses.
        antialias: where there are fewer outputs, "linear" and "cubic" are as much wider.
        exclude_outside: they weigh inputs alone, and not the first and the last beyond the ends.
        coefficient: the parameter a of "cubic".
    """

    method: str
    coordinates: str
    rounding: str
    antialias: bool = False
    exclude_outside: bool = False
    coefficient: float = CUBIC

    def matrix(self, n: int, m: int, scale: float) -> NDArray[np.float64]:
        """The weights (m, n) of n inputs in each of m outputs."""
        places = COORDINATES[self.coordinates](np.arange(m, dtype=np.float64), n, n * scale, scale)
        return METHODS[self.method](self, places, n, scale)


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
