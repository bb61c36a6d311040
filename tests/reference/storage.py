"""Half-precision storage: float64 numbers rounded to what float16 or bfloat16 can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

STEP = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Largest relative error of rounding to nearest: half a unit of 11 or 8 bits of mantissa."""

SMALLEST = {"float16": 2.0**-24, "bfloat16": 2.0**-133}
"""The distance of subnormal numbers."""

LARGEST = {"float16": 65504.0, "bfloat16": (2 - 2.0**-7) * 2.0**127}
"""The largest finite number."""


def rounded(x: ArrayLike, dtype: str) -> NDArray[np.float64]:
    """The nearest numbers of the type, of two the one whose last bit is 0."""
    x = np.asarray(x, np.float64)
    _, exponents = np.frexp(x)
    unit = np.maximum(np.ldexp(2.0 * STEP[dtype], exponents - 1), SMALLEST[dtype])
    with np.errstate(invalid="ignore"):
        y = np.rint(x / unit) * unit
    return np.where(np.abs(y) > LARGEST[dtype], np.copysign(np.inf, y), y)


def stored(operation: Callable[..., Any], dtype: str, arrays: int = 1) -> Callable[..., Any]:
    """An oracle's operation whose result, and the gradients of whose first `arrays` operands, are stored as `dtype`."""

    def run(*operands: Any, **options: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
        y, backward = operation(*operands, **options)

        def back(dy: Any) -> tuple[Any, ...]:
            gradients = backward(dy)
            return tuple(rounded(g, dtype) if k < arrays else g for k, g in enumerate(gradients))

        return rounded(y, dtype), back

    return run
