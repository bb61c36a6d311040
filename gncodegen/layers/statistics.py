"""Statistics of training data, in float64 and in pieces, so that no second copy of the data is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

_PIECE = 1 << 19
"""Bytes of floating-point numbers that observations are converted to at a time, which stay in a cache."""

_EXACT = 1 << 24
"""Up to here float32 holds every sum of whole numbers."""

_LARGEST = 255
"""Of a byte."""


def moments(
    x: NDArray[Any], axes: tuple[int, ...], *, deviation: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population standard deviation of x (N, …) over its first axes `axes`; of a constant that is exactly 0.

    Every place of an observation has sums of its own, piece by piece; places of one statistic are joined at the end.
    Without `deviation` there are none, and zeros stand for them.

    Source: T. F. Chan, G. H. Golub, R. J. LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances, 1979.
    """
    if x.dtype.kind in "bu" and x.dtype.itemsize == 1:
        return _of_bytes(x, axes, deviation)
    with np.errstate(invalid="ignore"):  # of infinities; the statistics say so themselves
        return _moments(x, axes, deviation)


def _of_bytes(
    x: NDArray[Any], axes: tuple[int, ...], deviation: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same of bytes, whose sums and squares are whole: exact in float32 for some, in float64 for all."""
    first = x[(0,) * len(axes)]
    shift = np.zeros(first.shape)
    sums, squares = np.zeros((2, x[0].size))
    for piece in _pieces(x, shift, np.float32, _EXACT // (_LARGEST**2 if deviation else _LARGEST)):
        ones = np.ones(len(piece), np.float32)
        sums += ones @ piece
        if deviation:
            squares += ones @ np.multiply(piece, piece, out=piece)
    count = len(x) * (sums.size // first.size)
    totals = [each.reshape(-1, first.size).sum(0) for each in (sums, squares)]
    spread = [count * int(square) - int(total) ** 2 if deviation else 0 for total, square in zip(*totals, strict=True)]
    variance = np.array([each / count**2 for each in spread])
    return (totals[0] / count).reshape(first.shape), np.sqrt(variance).reshape(first.shape)


def _moments(
    x: NDArray[Any], axes: tuple[int, ...], deviation: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    shift = _shift(x, len(axes))
    width = x[0].size
    mean, squares, count = np.zeros(width), np.zeros(width), 0
    for piece in _pieces(x, shift):
        n = len(piece)
        local = (np.ones(n, piece.dtype) @ piece).astype(np.float64) / n
        delta = local - mean
        if deviation:
            centred = np.subtract(piece, local, out=piece)
            squares += np.einsum("nw,nw->w", centred, centred) + np.square(delta) * (count * n / (count + n))
        count += n
        mean += delta * (n / count)
    mean, squares = (each.reshape(-1, shift.size) for each in (mean, squares))
    middle = mean[0] + (mean - mean[0]).mean(0)
    variance = (squares.sum(0) + count * np.square(mean - middle).sum(0)) / (count * len(mean))
    return shift + middle.reshape(shift.shape), np.sqrt(variance).reshape(shift.shape)


def _shift(x: NDArray[Any], axes: int) -> NDArray[np.float64]:
    """The first value of each statistic, where sums of x itself would not be exact enough; else zeros."""
    first = x[(0,) * axes].astype(np.float64)
    return first if x.dtype.itemsize > 4 else np.zeros_like(first)


def _pieces(
    x: NDArray[Any], shift: NDArray[np.float64], dtype: DTypeLike = np.float64, most: int = _EXACT
) -> Iterator[NDArray[Any]]:
    """A few observations at a time less their shift (n, places), in a buffer that the next ones overwrite.

    At most `most` of them.
    """
    width = x[0].size
    step = max(1, _PIECE // (np.dtype(dtype).itemsize * max(1, width)))
    step = min(step, len(x), most)
    buffer = np.empty((step, *x.shape[1:]), dtype)
    shifts = np.tile(shift.ravel(), width // shift.size) if shift.any() else None
    for start in range(0, len(x), step):
        part = x[start : start + step]
        buffer[: len(part)] = part
        piece = buffer[: len(part)].reshape(len(part), width)
        if shifts is not None:
            piece -= shifts
        yield piece


def extremes(x: NDArray[Any], axes: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest of x (N, …) over `axes`."""
    least = np.min(x, axis=axes, keepdims=True).astype(np.float64)
    return least, np.max(x, axis=axes, keepdims=True).astype(np.float64)
