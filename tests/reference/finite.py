"""Central finite differences, the judge of every gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[np.float64]


def numeric_gradient(value: Callable[[Array], float], x: Array, step: float = 1e-5) -> Array:
    """d value / d x, one element at a time: (f(x + h e) − f(x − h e)) / 2h."""
    x = np.array(x, np.float64)
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + step
        above = value(x)
        x[index] = kept - step
        below = value(x)
        x[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient


def directional_error(
    value: Callable[[Array], float], x: Array, gradient: Array, *, step: float = 1e-5, seed: int = 0
) -> float:
    """How far gradient·d is from the slope of `value` at x along a random unit direction d, relative to |gradient|.

    A slope that is zero, such as that of a bias in front of a norm, has a gradient of rounding errors only. No error is
    measured against less than what a difference quotient can tell from zero, which is some ten thousandths of `value`.
    """
    direction = np.random.default_rng(seed).standard_normal(np.shape(x))
    direction /= np.linalg.norm(direction)
    above, below = value(x + step * direction), value(x - step * direction)
    error = abs((above - below) / (2 * step) - float(np.sum(gradient * direction)))
    return error / max(float(np.linalg.norm(gradient)), 1e-4 * max(abs(above), abs(below)), 1e-6)
