"""Statistics of training data, in float64 and in pieces, so that no second copy of the data is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_PIECE = 1 << 20
"""Elements converted to float64 at a time."""


def _pieces(x: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """The observations in float64, a few at a time."""
    step = max(1, _PIECE // max(1, x[0].size))
    for start in range(0, len(x), step):
        yield np.asarray(x[start : start + step], dtype=np.float64)


def moments(x: NDArray[Any], axes: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population standard deviation of x (N, …) over `axes`, shifted first: a constant gives exactly 0."""
    index = tuple(slice(1) if axis in axes else slice(None) for axis in range(x.ndim))
    shift = np.asarray(x[index], dtype=np.float64)
    count = np.prod([x.shape[axis] for axis in axes])
    mean = shift + sum(np.sum(piece - shift, axis=axes, keepdims=True) for piece in _pieces(x)) / count
    variance = sum(np.sum(np.square(piece - mean), axis=axes, keepdims=True) for piece in _pieces(x)) / count
    return mean, np.sqrt(variance)


def extremes(x: NDArray[Any], axes: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest of x (N, …) over `axes`."""
    least = np.min(x, axis=axes, keepdims=True).astype(np.float64)
    return least, np.max(x, axis=axes, keepdims=True).astype(np.float64)
