"""Activations, softmax, dropout, fully connected, addition and concatenation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Backward = Callable[[ArrayLike], tuple[Array, ...]]

_erf = np.vectorize(math.erf, otypes=[float])


def _sigmoid(x: Array) -> Array:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _gelu(x: Array) -> tuple[Array, Array]:
    cumulative = 0.5 * (1 + _erf(x / math.sqrt(2)))
    return x * cumulative, cumulative + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _gelu_tanh(x: Array) -> tuple[Array, Array]:
    root = math.sqrt(2 / math.pi)
    bent = np.tanh(root * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + bent), 0.5 * (1 + bent) + 0.5 * x * (1 - bent**2) * root * (1 + 3 * 0.044715 * x**2)


def _mish(x: Array) -> tuple[Array, Array]:
    bent = np.logaddexp(0, x)
    return x * np.tanh(bent), np.tanh(bent) + x * _sigmoid(x) / np.cosh(np.minimum(bent, 350)) ** 2


STEPS: dict[str, Callable[[Array], Array]] = {"floor": np.floor, "ceiling": np.ceil, "round": np.rint, "sign": np.sign}

SMOOTH: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "sine": (np.sin, np.cos),
    "cosine": (np.cos, lambda x: -np.sin(x)),
    "tangent": (np.tan, lambda x: 1 / np.cos(x) ** 2),
    "arcsine": (np.arcsin, lambda x: 1 / np.sqrt(1 - x**2)),
    "arccosine": (np.arccos, lambda x: -1 / np.sqrt(1 - x**2)),
    "arctangent": (np.arctan, lambda x: 1 / (1 + x**2)),
    "sinh": (np.sinh, np.cosh),
    "cosh": (np.cosh, np.sinh),
    "arsinh": (np.arcsinh, lambda x: 1 / np.sqrt(1 + x**2)),
    "arcosh": (np.arccosh, lambda x: 1 / np.sqrt(x**2 - 1)),
    "artanh": (np.arctanh, lambda x: 1 / (1 - x**2)),
    "erf": (_erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-(x**2))),
}


def value_and_slope(  # noqa: C901, PLR0911, PLR0912
    x: Array, function: str, alpha: float, beta: float
) -> tuple[Array, Array]:
    """The activation's value and derivative at every element of x; at a kink, the derivative of the lower side."""
    match function:
        case "relu":
            return np.maximum(x, 0), np.where(x > 0, 1.0, 0.0)
        case "leaky-relu":
            return np.where(x > 0, x, alpha * x), np.where(x > 0, 1.0, alpha)
        case "clipped-relu":
            return np.clip(x, 0, alpha), np.where((x > 0) & (x < alpha), 1.0, 0.0)
        case "elu":
            low = alpha * np.expm1(np.minimum(x, 0))
            return np.where(x > 0, x, low), np.where(x > 0, 1.0, low + alpha)
        case "tanh":
            return np.tanh(x), 1 - np.tanh(x) ** 2
        case "sigmoid":
            return _sigmoid(x), _sigmoid(x) * _sigmoid(-x)
        case "swish":
            return x * _sigmoid(x), _sigmoid(x) * (1 + x * _sigmoid(-x))
        case "softplus":
            return np.logaddexp(0, x), _sigmoid(x)
        case "gelu":
            return _gelu(x)
        case "gelu-tanh":
            return _gelu_tanh(x)
        case "hard-tanh":
            return np.clip(x, alpha, beta), np.where((x > alpha) & (x < beta), 1.0, 0.0)
        case "thresholded-relu":
            return np.where(x > alpha, x, 0 * x), np.where(x > alpha, 1.0, 0.0)
        case "celu":
            low = np.exp(np.minimum(x / alpha, 0))
            return np.where(x > 0, x, alpha * np.expm1(np.minimum(x / alpha, 0))), np.where(x > 0, 1.0, low)
        case "selu":
            low = alpha * np.expm1(np.minimum(x, 0))
            return beta * np.where(x > 0, x, low), beta * np.where(x > 0, 1.0, low + alpha)
        case "log-sigmoid":
            return -np.logaddexp(0, -x), _sigmoid(-x)
        case "hard-sigmoid":
            line = alpha * x + beta
            return np.clip(line, 0, 1), np.where((line > 0) & (line < 1), alpha, 0.0)
        case "hard-swish":
            return x * np.clip(x + 3, 0, 6) / 6, np.where(x <= -3, 0.0, np.where(x <= 3, x / 3 + 0.5, 1.0))
        case "mish":
            return _mish(x)
        case "softsign":
            return x / (1 + np.abs(x)), 1 / (1 + np.abs(x)) ** 2
        case "absolute":
            return np.abs(x), np.where(x > 0, 1.0, -1.0)
        case "negative":
            return -x, np.full_like(x, -1)
        case "square":
            return x**2, 2 * x
        case "square-root":
            return np.sqrt(x), 0.5 / np.sqrt(x)
        case "reciprocal":
            return 1 / x, -1 / x**2
        case "logarithm":
            return np.log(x), 1 / x
        case "shifted-power":
            return (x + alpha) ** beta, beta * (x + alpha) ** (beta - 1)
        case "exponential":
            return np.exp(x), np.exp(x)
        case "expm1":
            return np.expm1(x), np.exp(x)
        case "log1p":
            return np.log1p(x), 1 / (1 + x)
        case _ if function in STEPS:
            return STEPS[function](x), 0 * x
        case _ if function in SMOOTH:
            return tuple(f(x) for f in SMOOTH[function])
        case _:
            raise ValueError(function)


def activation(x: ArrayLike, function: str, *, alpha: float = 0.0, beta: float = 0.0) -> tuple[Array, Backward]:
    """A function of every element by its name in gn.activation; what alpha and beta are depends on it."""
    y, slope = value_and_slope(np.asarray(x, np.float64), function, alpha, beta)
    return y, lambda dy: (np.asarray(dy, np.float64) * slope,)


def relu(x: ArrayLike) -> tuple[Array, Backward]:
    """max(x, 0), NaN where x is."""
    return activation(x, "relu")


def softmax(x: ArrayLike) -> tuple[Array, Backward]:
    """exp(x) over its sum along the last axis."""
    x = np.asarray(x, np.float64)
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    y = powers / powers.sum(axis=-1, keepdims=True)

    def backward(dy: ArrayLike) -> tuple[Array, ...]:
        dy = np.asarray(dy, np.float64)
        return (y * (dy - (dy * y).sum(axis=-1, keepdims=True)),)

    return y, backward


def dropout(x: ArrayLike, mask: ArrayLike, *, probability: float = 0.5) -> tuple[Array, Backward]:
    """x where the mask is true, over 1 − probability; zero elsewhere."""
    kept = np.asarray(mask, bool) / (1 - probability)
    return np.asarray(x, np.float64) * kept, lambda dy: (np.asarray(dy, np.float64) * kept,)


def dropout_mask(count: int, probability: float, index: int, iteration: int, seed: int) -> NDArray[np.bool_]:
    """Which of `count` elements stay: SplitMix64 of seed, iteration and index gives 64 bits for each two elements.

    Source: Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    step = np.uint64(0x9E3779B97F4A7C15)

    def mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    key = np.array([seed], np.uint64)
    for more in (step, np.uint64(iteration), np.uint64(index)):
        key = mixed(key + more)
    words = mixed(key + np.arange(1, (count + 1) // 2 + 1, dtype=np.uint64) * step)
    halves = np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], -1).ravel()[:count]
    return halves >= np.uint64(round(probability * 2**32))


def fully_connected(x: ArrayLike, weights: ArrayLike, bias: ArrayLike) -> tuple[Array, Backward]:
    """weights (outputs, inputs) · x + bias, each observation of x flattened in array order (H, W, C)."""
    x, weights, bias = (np.asarray(array, np.float64) for array in (x, weights, bias))
    rows = x.reshape(x.shape[0], weights.shape[1])

    def backward(dy: ArrayLike) -> tuple[Array, ...]:
        dy = np.asarray(dy, np.float64).reshape(x.shape[0], weights.shape[0])
        return (dy @ weights).reshape(x.shape), dy.T @ rows, dy.sum(axis=0)

    return rows @ weights.T + bias.reshape(-1), backward


def matrix_product(x: ArrayLike, z: ArrayLike, *, first: bool = False, second: bool = False) -> tuple[Array, Backward]:
    """The product of the last two axes of x and z, transposed where `first` or `second` says so."""
    x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
    a, b = (np.swapaxes(each, -1, -2) if turned else each for each, turned in ((x, first), (z, second)))

    def backward(dy: ArrayLike) -> tuple[Array, ...]:
        found: list[Array] = []
        slopes = dy @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ dy
        for given, turned, slope in zip((x, z), (first, second), slopes, strict=True):
            own = np.swapaxes(slope, -1, -2) if turned else slope
            own = own.sum(tuple(range(own.ndim - given.ndim)))
            repeated = tuple(axis for axis, extent in enumerate(given.shape) if extent < own.shape[axis])
            found.append(own.sum(repeated, keepdims=True))
        return tuple(found)

    return a @ b, backward


def addition(*inputs: ArrayLike) -> tuple[Array, Backward]:
    """The sum of all inputs, which have one shape."""
    arrays = [np.asarray(x, np.float64) for x in inputs]
    return np.sum(arrays, axis=0), lambda dy: (np.asarray(dy, np.float64),) * len(arrays)


def depth_concatenation(*inputs: ArrayLike) -> tuple[Array, Backward]:
    """The inputs side by side along the last axis."""
    ends = np.cumsum([np.shape(x)[-1] for x in inputs])[:-1]
    y = np.concatenate([np.asarray(x, np.float64) for x in inputs], axis=-1)
    return y, lambda dy: tuple(np.split(np.asarray(dy, np.float64), ends, axis=-1))
