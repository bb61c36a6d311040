"""Starting values of parameters."""

from __future__ import annotations

from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.allocation import is_unchanging
from gncodegen.errors import LayerError
from gncodegen.layers.checks import WEIGHT_INITIALIZERS

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from gncodegen.layers.base import Parameter


LARGEST_ORTHOGONAL = 10**12
"""Multiplications of a decomposition that takes about a minute of one core."""


def initialize(parameter: Parameter, generator: np.random.Generator, dtype: DTypeLike) -> NDArray[Any]:
    """The starting value of a parameter: its given value, else what its initializer makes.

    "glorot": uniform within ± sqrt(6 / (fan_in + fan_out)); "he": normal, variance 2 / fan_in; "orthogonal": Q of the
    QR decomposition of a normal matrix; "narrow-normal": normal, standard deviation 0.01. Numbers are drawn in float64
    whatever `dtype` is, so every dtype starts from the same draw.

    Args:
        parameter: shape, fans and initializer.
        generator: the source of random numbers.
        dtype: of the result, which is the given value itself where nobody can change that.

    Raises:
        LayerError: a callable's result does not have the parameter's shape or is not numeric; or a value given is
            beyond the dtype.

    Source: Glorot and Bengio, AISTATS 2010; He et al., ICCV 2015; Saxe, McClelland and Ganguli, ICLR 2014.
    """
    if parameter.value is None and not callable(parameter.initializer):
        return np.array(_drawn(parameter, parameter.initializer, generator), dtype=dtype, order="C")
    value: NDArray[Any] = _called(parameter) if parameter.value is None else parameter.value
    if is_unchanging(value) and value.dtype == dtype:
        return value
    with np.errstate(over="ignore"):
        stored = np.array(value, dtype=dtype, order="C")
    if np.any(np.isinf(stored) & np.isfinite(value)):
        raise LayerError(
            f"{parameter.name} has values up to {np.abs(value).max():.3g}; allowed: up to "
            f"{np.finfo(stored.dtype).max:.3g} in {stored.dtype}; scale them, or compile with dtype='float64'"
        )
    return stored


def _drawn(parameter: Parameter, initializer: str, generator: np.random.Generator) -> NDArray[np.float64]:
    shape = parameter.shape
    fan_in, fan_out = parameter.fans
    match initializer:
        case "glorot":
            bound = sqrt(6 / (fan_in + fan_out))
            return generator.uniform(-bound, bound, shape)
        case "he":
            return generator.normal(0.0, sqrt(2 / fan_in), shape)
        case "orthogonal":
            return _orthogonal(shape, generator)
        case "narrow-normal":
            return generator.normal(0.0, 0.01, shape)
        case "zeros":
            return np.zeros(shape)
        case "ones":
            return np.ones(shape)
        case _:
            raise LayerError(
                f"{parameter.name}: initializer {initializer!r}; allowed: {', '.join(WEIGHT_INITIALIZERS)} or a "
                'callable f(shape) -> array; write "glorot"'
            )


def _orthogonal(shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float64]:
    """Orthonormal rows or columns, whichever are fewer, of the matrix whose columns are the last axis."""
    rows, columns = prod(shape[:-1]), shape[-1]
    if rows * columns * min(rows, columns) > LARGEST_ORTHOGONAL:
        raise LayerError(
            f'a {rows}×{columns} matrix is too large for the initializer "orthogonal", whose QR decomposition needs '
            f"{4 * 8 * rows * columns:,} bytes and hours; allowed: up to rows · columns · the fewer of both = "
            f'{LARGEST_ORTHOGONAL:,}; write "he"'
        )
    matrix = generator.normal(size=(rows, columns))
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    q, r = np.linalg.qr(tall)
    # The signs of R's diagonal make the distribution uniform over orthogonal matrices.
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return (q if tall is matrix else q.T).reshape(shape)


def _called(parameter: Parameter) -> NDArray[Any]:
    assert callable(parameter.initializer)
    value: NDArray[Any] = np.asarray(parameter.initializer(parameter.shape))
    if value.shape != parameter.shape or value.dtype.kind not in "fiu":
        raise LayerError(
            f"{parameter.name}: its initializer returned shape {value.shape} of type {value.dtype}; "
            f"allowed: real numbers of shape {parameter.shape}; return an array of the shape the callable is given"
        )
    return value
