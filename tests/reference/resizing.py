"""Interpolation of images and volumes: every output is a sum of inputs, looked up one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Backward = Callable[[ArrayLike], tuple[Array, ...]]


def _place(i: int, inputs: int, outputs: float, scale: float, coordinates: str) -> float:
    """Where output i lies among the inputs at 0, 1, 2 …; outputs = scale · inputs, as in ONNX not rounded."""
    match coordinates:
        case "half-pixel":
            return (i + 0.5) / scale - 0.5
        case "asymmetric":
            return i / scale
        case "align-corners":
            return 0.0 if outputs == 1 else i * (inputs - 1) / (outputs - 1)
        case _:
            raise ValueError(coordinates)


def _round(place: float, rounding: str) -> int:
    return {
        "round": math.floor(place + 0.5),
        "floor": math.floor(place),
        "ceil": math.ceil(place),
        "round-half-down": math.ceil(place - 0.5),
    }[rounding]


def _shares(place: float, inputs: int, method: str, rounding: str) -> list[tuple[int, float]]:
    """The inputs that an output at this place takes, and how much of each."""
    if method == "nearest":
        return [(min(max(_round(place, rounding), 0), inputs - 1), 1.0)]
    place = min(max(place, 0), inputs - 1)
    low = math.floor(place)
    high = min(low + 1, inputs - 1)
    return [(low, 1 - (place - low)), (high, place - low)]


def _filtered(
    place: float, inputs: int, method: str, width: float, exclude_outside: bool, a: float
) -> list[tuple[int, float]]:
    """The inputs around this place that a kernel of this width weighs, their shares adding up to 1."""
    everywhere = range(-8 * inputs, 9 * inputs)
    weights = [(j, _keys(abs(j - place) / width, a) if method == "cubic" else max(0.0, 1 - abs(j - place) / width))
               for j in everywhere if not exclude_outside or 0 <= j < inputs]  # fmt: skip
    total = sum(weight for _, weight in weights)
    return [(min(max(j, 0), inputs - 1), weight / total) for j, weight in weights if weight]


def _keys(x: float, a: float) -> float:
    """The cubic kernel of Keys (1981)."""
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x >= 2:
        return 0.0
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a


def _covered(i: int, inputs: int, outputs: int) -> list[tuple[int, float]]:
    """The inputs that output i covers, in whole or in part, all alike."""
    begin, end = math.floor(i * inputs / outputs), math.ceil((i + 1) * inputs / outputs)
    return [(j, 1 / (end - begin)) for j in range(begin, end)]


def resize(
    x: ArrayLike,
    extents: Sequence[int],
    *,
    axes: Sequence[int],
    scales: Sequence[float] | None = None,
    method: str = "nearest",
    coordinates: str = "half-pixel",
    rounding: str = "round",
    antialias: bool = False,
    exclude_outside: bool = False,
    a: float = -0.75,
) -> tuple[Array, Backward]:
    """x with other extents along some axes, one after another."""
    shares = []
    y = np.asarray(x, np.float64)
    for number, (axis, outputs) in enumerate(zip(axes, extents, strict=True)):
        inputs = y.shape[axis]
        scale = outputs / inputs if scales is None else scales[number]
        length = outputs if scales is None else inputs * scale
        places = [_place(i, inputs, length, scale, coordinates) for i in range(outputs)]
        if method == "area":
            taken_by = [_covered(i, inputs, outputs) for i in range(outputs)]
        elif method == "cubic" or antialias or exclude_outside:
            width = max(1.0, 1 / scale) if antialias else 1.0
            taken_by = [_filtered(place, inputs, method, width, exclude_outside, a) for place in places]
        else:
            taken_by = [_shares(place, inputs, method, rounding) for place in places]
        shares.append((axis, inputs, taken_by))
        lines = np.moveaxis(y, axis, 0)
        y = np.moveaxis(np.array([sum(part * lines[j] for j, part in taken) for taken in shares[-1][2]]), 0, axis)

    def backward(dy: ArrayLike) -> tuple[Array]:
        dx = np.asarray(dy, np.float64)
        for axis, inputs, rows in reversed(shares):
            lines = np.moveaxis(dx, axis, 0)
            sums = np.zeros((inputs, *lines.shape[1:]))
            for i, taken in enumerate(rows):
                for j, part in taken:
                    sums[j] += part * lines[i]
            dx = np.moveaxis(sums, 0, axis)
        return (dx,)

    return y, backward
