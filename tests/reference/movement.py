"""Layers that only move elements: every one is a list of places, and its gradient goes back along it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Backward = Callable[[ArrayLike], tuple[Array, ...]]


def _taken(x: ArrayLike, places: NDArray[np.int64]) -> tuple[Array, Backward]:
    """The elements of x with these numbers, in an array of their shape."""
    x = np.asarray(x, np.float64)

    def backward(dy: ArrayLike) -> tuple[Array]:
        dx = np.zeros(x.size)
        np.add.at(dx, places, np.asarray(dy, np.float64))
        return (dx.reshape(x.shape),)

    return x.reshape(-1)[places], backward


def _numbers(x: ArrayLike) -> NDArray[np.int64]:
    return np.arange(np.size(x)).reshape(np.shape(x))


def crop(x: ArrayLike, *sides: tuple[int, int]) -> tuple[Array, Backward]:
    """Observations (N, …, C) without so many elements at the start and end of each axis."""
    kept = (slice(low, n - high) for n, (low, high) in zip(np.shape(x)[1:], sides, strict=False))
    return _taken(x, _numbers(x)[:, *kept])


def _channel(row: int, column: int, channel: int, block: int, channels: int, order: str) -> int:
    """The number of a channel that stands for a place in a block."""
    if order == "depth-first":
        return (row * block + column) * channels + channel
    return (channel * block + row) * block + column


def depth_to_space(x: ArrayLike, block: int, order: str) -> tuple[Array, Backward]:
    """Channels of a position become a block of positions."""
    numbers = _numbers(x)
    n, height, width, depth = numbers.shape
    channels = depth // block**2
    places = np.empty((n, height * block, width * block, channels), np.int64)
    for row in range(block):
        for column in range(block):
            for channel in range(channels):
                source = numbers[..., _channel(row, column, channel, block, channels, order)]
                places[:, row::block, column::block, channel] = source
    return _taken(x, places)


def space_to_depth(x: ArrayLike, block: int, order: str) -> tuple[Array, Backward]:
    """A block of positions becomes channels of one."""
    numbers = _numbers(x)
    n, height, width, channels = numbers.shape
    places = np.empty((n, height // block, width // block, channels * block**2), np.int64)
    for row in range(block):
        for column in range(block):
            for channel in range(channels):
                target = _channel(row, column, channel, block, channels, order)
                places[..., target] = numbers[:, row::block, column::block, channel]
    return _taken(x, places)
