"""Group, batch, layer and instance normalization, and the normalizations of an input layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Backward3 = Callable[[ArrayLike], tuple[Array, Array, Array]]


def _normalize(rows: Array, epsilon: float) -> tuple[Array, Array]:
    """Each row minus its mean, over sqrt(population variance + epsilon); also those factors (rows, 1)."""
    # Subtracting the first element first keeps the mean of large, nearly equal numbers exact.
    shifted = rows - rows[:, :1]
    centred = shifted - shifted.mean(axis=1, keepdims=True)
    factor = 1 / np.sqrt(np.mean(centred**2, axis=1, keepdims=True) + epsilon)
    return centred * factor, factor


def _normalize_gradient(dnormalized: Array, normalized: Array, factor: Array) -> Array:
    """The gradient of `_normalize` with respect to its rows."""
    mean = dnormalized.mean(axis=1, keepdims=True)
    slope = (dnormalized * normalized).mean(axis=1, keepdims=True)
    return factor * (dnormalized - mean - normalized * slope)


def _affine_normalize(
    x: Array, order: tuple[int, ...], rows: int, channel_axis: int, scale: Array, offset: Array, epsilon: float
) -> tuple[Array, Backward3]:
    """Transposes x by `order`, normalizes it as `rows` equal rows, puts it back and applies scale and offset."""
    back = np.argsort(order)
    moved = x.transpose(order)
    wide = [1] * x.ndim
    wide[channel_axis] = x.shape[channel_axis]
    others = tuple(axis for axis in range(x.ndim) if axis != channel_axis)
    normalized, factor = _normalize(moved.reshape(rows, -1), epsilon) if x.size else (moved.reshape(rows, 0), moved)
    placed = normalized.reshape(moved.shape).transpose(back)

    def backward(dy: ArrayLike) -> tuple[Array, Array, Array]:
        dy = np.asarray(dy, np.float64)
        dnormalized = (dy * scale.reshape(wide)).transpose(order).reshape(rows, -1)
        dx = _normalize_gradient(dnormalized, normalized, factor).reshape(moved.shape).transpose(back)
        return dx, (dy * placed).sum(axis=others), dy.sum(axis=others)

    return placed * scale.reshape(wide) + offset.reshape(wide), backward


def group_norm(
    x: ArrayLike,
    scale: ArrayLike,
    offset: ArrayLike,
    *,
    groups: int | str,
    epsilon: float = 1e-5,
    data_format: str | None = None,
) -> tuple[Array, Backward3]:
    """Group normalization of x, whose axes `data_format` names (letters S, C, B, T in any order).

    Args:
        x: any shape with a C axis; without a B axis it is one observation.
        scale, offset: (C,).
        groups: how many contiguous channel blocks, or "all-channels", or "channel-wise".
        data_format: one letter per axis; None means batch first, channels last.
    """
    x, scale, offset = (np.asarray(array, np.float64) for array in (x, scale, offset))
    letters = data_format or "B" + "S" * (x.ndim - 2) + "C"
    if "B" not in letters:
        y, inner = group_norm(x[None], scale, offset, groups=groups, epsilon=epsilon, data_format="B" + letters)
        return y[0], lambda dy: (inner(np.asarray(dy)[None])[0][0], *inner(np.asarray(dy)[None])[1:])
    batch, channel = letters.index("B"), letters.index("C")
    count = {"all-channels": 1, "channel-wise": x.shape[channel]}.get(str(groups)) or int(groups)
    assert x.shape[channel] % count == 0
    order = (batch, channel, *(axis for axis in range(x.ndim) if axis not in (batch, channel)))
    return _affine_normalize(x, order, x.shape[batch] * count, channel, scale, offset, epsilon)


def instance_norm(
    x: ArrayLike, scale: ArrayLike, offset: ArrayLike, *, epsilon: float = 1e-5
) -> tuple[Array, Backward3]:
    """Group normalization with one channel per group; x is batch first, channels last."""
    return group_norm(x, scale, offset, groups="channel-wise", epsilon=epsilon)


def layer_norm(
    x: ArrayLike, scale: ArrayLike, offset: ArrayLike, *, dimension: str = "spatial-channel", epsilon: float = 1e-5
) -> tuple[Array, Backward3]:
    """Layer normalization of a channel-last x: over all but the batch, or over channels alone ("channel-only")."""
    x, scale, offset = (np.asarray(array, np.float64) for array in (x, scale, offset))
    rows = x.size // x.shape[-1] if dimension == "channel-only" else x.shape[0]
    return _affine_normalize(x, tuple(range(x.ndim)), rows, x.ndim - 1, scale, offset, epsilon)


def batch_norm(x: ArrayLike, scale: ArrayLike, offset: ArrayLike, *, epsilon: float = 1e-5) -> tuple[Array, Backward3]:
    """Batch normalization in training: each channel (last axis) with its own mean and variance in x."""
    x, scale, offset = (np.asarray(array, np.float64) for array in (x, scale, offset))
    order = (x.ndim - 1, *range(x.ndim - 1))
    return _affine_normalize(x, order, x.shape[-1], x.ndim - 1, scale, offset, epsilon)


def running_statistics(
    x: ArrayLike, mean: ArrayLike, variance: ArrayLike, *, decay: float = 0.1
) -> tuple[Array, Array]:
    """The trained mean and variance after one training step on x: decay · batch + (1 − decay) · old."""
    x = np.asarray(x, np.float64)
    axes = tuple(range(x.ndim - 1))
    new_mean = decay * x.mean(axis=axes) + (1 - decay) * np.asarray(mean, np.float64)
    return new_mean, decay * x.var(axis=axes) + (1 - decay) * np.asarray(variance, np.float64)


def channel_normalize(
    x: ArrayLike, mean: ArrayLike, variance: ArrayLike, scale: ArrayLike, offset: ArrayLike, *, epsilon: float = 1e-5
) -> tuple[Array, Backward3]:
    """Batch normalization in prediction: mean and variance are constants; gradients are dx, dscale, doffset."""
    x, mean, variance, scale, offset = (np.asarray(a, np.float64) for a in (x, mean, variance, scale, offset))
    factor = 1 / np.sqrt(variance + epsilon)
    normalized = (x - mean) * factor

    def backward(dy: ArrayLike) -> tuple[Array, Array, Array]:
        dy = np.asarray(dy, np.float64)
        axes = tuple(range(dy.ndim - 1))
        return dy * scale * factor, (dy * normalized).sum(axis=axes), dy.sum(axis=axes)

    return normalized * scale + offset, backward


def input_normalization(
    x: ArrayLike, method: str, **statistics: ArrayLike
) -> tuple[Array, Callable[[ArrayLike], tuple[Array]]]:
    """What an input layer does: y = (x − shift) · factor; a zero standard deviation or range counts as factor 1.

    Args:
        method: "none", "zerocenter", "zscore", "rescale-symmetric" or "rescale-zero-one".
        statistics: mean and standard_deviation, or min and max, as the method needs.
    """
    given = {name: np.asarray(value, np.float64) for name, value in statistics.items()}
    shift, factor, added = np.zeros(()), np.ones(()), 0.0
    if method in ("zerocenter", "zscore"):
        shift = given["mean"]
    if method == "zscore":
        deviation = given["standard_deviation"]
        factor = 1 / np.where(deviation == 0, 1, deviation)
    if method.startswith("rescale"):
        extent = given["max"] - given["min"]
        width = 2 if method == "rescale-symmetric" else 1
        shift, factor = given["min"], np.where(extent == 0, 1, width / np.where(extent == 0, 1, extent))
        added = -1.0 if method == "rescale-symmetric" else 0.0
    y = (np.asarray(x, np.float64) - shift) * factor + added
    return y, lambda dy: (np.asarray(dy, np.float64) * factor,)


def local_response(
    x: ArrayLike, window: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> tuple[Array, Callable[[ArrayLike], tuple[Array]]]:
    """x over (k + alpha · mean square of the `window` channels around)^beta; what is beyond the ends counts as 0."""
    x = np.asarray(x, np.float64)
    channels = x.shape[-1]
    near = [
        [j for j in range(c - (window - 1) // 2, c + window // 2 + 1) if 0 <= j < channels] for c in range(channels)
    ]
    base = np.stack([k + alpha / window * (x[..., js] ** 2).sum(-1) for js in near], -1)

    def backward(dy: ArrayLike) -> tuple[Array]:
        dy = np.asarray(dy, np.float64)
        dx = dy * base**-beta
        for c, js in enumerate(near):
            slope = -beta * x[..., c] * base[..., c] ** (-beta - 1) * 2 * alpha / window
            for j in js:
                dx[..., j] += dy[..., c] * slope * x[..., j]
        return (dx,)

    return x * base**-beta, backward


def masked_group_norm(
    x: ArrayLike, scale: ArrayLike, offset: ArrayLike, steps: ArrayLike, *, groups: int, epsilon: float = 1e-5
) -> tuple[Array, Backward3]:
    """Group normalization of the first steps[n] of observation n of x (N, T, …, C), as if there were no others.

    y is 0 behind them. The backward pass gives dx and, for each observation, dscale and doffset (N, C).
    """
    x = np.asarray(x, np.float64)
    alone = [
        group_norm(each[None, : int(count)], scale, offset, groups=groups, epsilon=epsilon)
        for each, count in zip(x, np.ravel(steps), strict=True)
    ]
    y = np.zeros_like(x)
    for place, (part, _) in zip(y, alone, strict=True):
        place[: part.shape[1]] = part[0]

    def backward(dy: ArrayLike) -> tuple[Array, Array, Array]:
        dx, sums = np.zeros_like(x), []
        for place, each, (part, back) in zip(dx, np.asarray(dy), alone, strict=True):
            found, *of_parameters = back(each[None, : part.shape[1]])
            place[: part.shape[1]] = found[0]
            sums.append(of_parameters)
        dscale, doffset = (np.stack(each) for each in zip(*sums, strict=True))
        return dx, dscale, doffset

    return y, backward


def masked_batch_norm(
    x: ArrayLike, scale: ArrayLike, offset: ArrayLike, steps: ArrayLike, *, epsilon: float = 1e-5
) -> tuple[Array, Backward3]:
    """Batch normalization of the first steps[n] of observation n of x (N, T, …, C), as if there were no others.

    y and dx are 0 behind them.
    """
    x = np.asarray(x, np.float64)
    own = np.arange(x.shape[1]) < np.ravel(steps)[:, None]
    inner, back = batch_norm(x[own], scale, offset, epsilon=epsilon)
    y = np.zeros_like(x)
    y[own] = inner

    def backward(dy: ArrayLike) -> tuple[Array, Array, Array]:
        found, *of_parameters = back(np.asarray(dy, np.float64)[own])
        dx = np.zeros_like(x)
        dx[own] = found
        return dx, *of_parameters

    return y, backward
