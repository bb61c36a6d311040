"""Elementwise functions of several operands, which broadcast."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Backward = Callable[[ArrayLike], tuple[Array, ...]]

FORWARD: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "multiply": np.multiply,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "subtract": np.subtract,
    "divide": np.divide,
    "power": np.power,
    "prelu": lambda x, slope: np.where(x > 0, x, slope * x),
    "mask": lambda x, mask: np.where(mask > 0, mask * x, 0.0),
    "remainder": np.fmod,
    "modulo": np.mod,
    "less": lambda a, b: 1.0 * (a < b),
    "less-or-equal": lambda a, b: 1.0 * (a <= b),
    "greater": lambda a, b: 1.0 * (a > b),
    "greater-or-equal": lambda a, b: 1.0 * (a >= b),
    "equal": lambda a, b: 1.0 * (a == b),
    "not-equal": lambda a, b: 1.0 * (a != b),
    "mask-lowest": lambda x, mask: np.where(mask > 0, x, -np.inf),
}


def _slopes(function: str, x: list[Array], y: Array) -> list[Array]:  # noqa: C901, PLR0911, PLR0912
    """The derivative of y by each operand, in the shape of y; of equal extremes each has its share."""
    match function:
        case "add":
            return [np.ones_like(y) for _ in x]
        case "multiply":
            others = [[b for j, b in enumerate(x) if j != i] for i in range(len(x))]
            return [reduce(np.multiply, rest, np.ones_like(y)) for rest in others]
        case "minimum" | "maximum":
            hits = [np.broadcast_to(a == y, y.shape).astype(float) for a in x]
            return [hit / sum(hits) for hit in hits]
        case "subtract":
            return [np.ones_like(y), -np.ones_like(y)]
        case "divide":
            return [1 / (x[1] + 0 * y), -x[0] / x[1] ** 2]
        case "power":
            return [x[1] * x[0] ** (x[1] - 1), y * np.log(x[0])]
        case "prelu":
            return [np.where(x[0] > 0, 1.0, x[1]), np.where(x[0] > 0, 0.0, x[0]) + 0 * y]
        case "remainder":
            return [np.ones_like(y), -np.trunc(x[0] / x[1])]
        case "modulo":
            return [np.ones_like(y), -np.floor(x[0] / x[1])]
        case "select":
            return [0 * y, np.where(x[0] != 0, 1.0, 0 * y), np.where(x[0] != 0, 0 * y, 1.0)]
        case "mask":
            return [np.where(x[1] > 0, x[1], 0.0) + 0 * y, np.where(x[1] > 0, x[0], 0.0) + 0 * y]
        case "mask-lowest":
            return [(x[1] > 0) + np.zeros_like(y), np.zeros_like(y)]
        case _ if function in FORWARD:  # comparisons
            return [0 * y, 0 * y]
        case _:
            raise ValueError(function)


def _summed(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sums over the axes along which an array of this shape repeats."""
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    axes = tuple(axis for axis, extent in enumerate(shape) if extent == 1)
    return gradient.sum(axis=axes, keepdims=True)


def elementwise(function: str, *operands: ArrayLike) -> tuple[Array, Backward]:
    """A function by its name in gn.elementwise; those of any number of operands fold."""
    x = [np.asarray(operand, np.float64) for operand in operands]
    y = np.where(x[0] != 0, x[1], x[2]) if function == "select" else reduce(FORWARD[function], x)

    def backward(dy: ArrayLike) -> tuple[Array, ...]:
        whole = [np.asarray(dy, np.float64) * slope for slope in _slopes(function, x, y)]
        return tuple(_summed(gradient, a.shape) for gradient, a in zip(whole, x, strict=True))

    return y, backward
