"""Convolution and pooling with any number of spatial axes; arrays are (N, spatial …, C)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Padding = Sequence[tuple[int, int]]
Slices = tuple[slice, ...]

NUMPY_MODES = {"symmetric-include-edge": "symmetric", "symmetric-exclude-edge": "reflect", "replicate": "edge"}


def same_padding(extent: int, window: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """(before, after) of one axis such that the output has ceil(extent / stride) elements."""
    out = -(-extent // stride)
    total = max((out - 1) * stride + (window - 1) * dilation + 1 - extent, 0)
    return total // 2, total - total // 2


def resolve_padding(
    padding: str | int | Padding,
    extents: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Padding:
    """Padding as (before, after) per spatial axis, from "same", one number for all sides, or the pairs themselves."""
    if padding == "same":
        return [same_padding(*axis) for axis in zip(extents, window, stride, dilation, strict=True)]
    if isinstance(padding, int):
        return [(padding, padding)] * len(extents)
    assert not isinstance(padding, str)
    return padding


def pad(
    x: ArrayLike, padding: Padding, *, mode: str = "constant", value: float = 0.0
) -> tuple[Array, Callable[[ArrayLike], tuple[Array]]]:
    """Pads the spatial axes; mode is "constant", "symmetric-include-edge", "symmetric-exclude-edge" or "replicate"."""
    x = np.asarray(x, np.float64)
    # The index of the element of x that each padded element copies; −1 where it is the constant.
    positions = math.prod(x.shape[1:-1])
    source = np.arange(positions).reshape(x.shape[1:-1])
    if mode == "constant":
        source = np.pad(source, padding, constant_values=-1)
    else:
        source = np.pad(source, padding, mode=NUMPY_MODES[mode])  # pyright: ignore[reportArgumentType, reportCallIssue]
    flat = x.reshape(x.shape[0], positions, x.shape[-1])
    inside = source >= 0
    y = np.full((x.shape[0], *source.shape, x.shape[-1]), value, np.float64)
    y[:, inside] = flat[:, source[inside]]

    def backward(dy: ArrayLike) -> tuple[Array]:
        dflat = np.zeros_like(flat)
        np.add.at(dflat, (slice(None), source[inside]), np.asarray(dy, np.float64)[:, inside])
        return (dflat.reshape(x.shape),)

    return y, backward


def window_slices(
    padded: Sequence[int], window: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], Slices]]:
    """Each position in the window, row by row, with the slices of the padded input that it meets over all outputs."""
    outs = [(n - (f - 1) * d - 1) // s + 1 for n, f, s, d in zip(padded, window, stride, dilation, strict=True)]
    for position in np.ndindex(*window):
        starts = [p * d for p, d in zip(position, dilation, strict=True)]
        spatial = [slice(a, a + (o - 1) * s + 1, s) for a, o, s in zip(starts, outs, stride, strict=True)]
        yield position, (slice(None), *spatial, slice(None))


def convolution(
    x: ArrayLike,
    weights: ArrayLike,
    bias: ArrayLike,
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    padding: str | int | Padding = 0,
    groups: int = 1,
    mode: str = "constant",
    value: float = 0.0,
) -> tuple[Array, Callable[[ArrayLike], tuple[Array, Array, Array]]]:
    """Cross-correlation of x (N, spatial …, C) with weights (window …, C / groups, K), plus bias (K,)."""
    x, weights, bias = (np.asarray(array, np.float64) for array in (x, weights, bias))
    rank = x.ndim - 2
    window, outputs = weights.shape[:rank], weights.shape[-1]
    strides = (stride,) * rank if isinstance(stride, int) else tuple(stride)
    dilations = (dilation,) * rank if isinstance(dilation, int) else tuple(dilation)
    resolved = resolve_padding(padding, x.shape[1:-1], window, strides, dilations)
    padded, pad_backward = pad(x, resolved, mode=mode, value=value)
    slices = list(window_slices(padded.shape[1:-1], window, strides, dilations))

    def of_groups(array: Array) -> list[Array]:
        return np.split(array, groups, axis=-1)

    def one_position(position: tuple[int, ...], where: Slices) -> Array:
        pairs = zip(of_groups(padded[where]), of_groups(weights[position]), strict=True)
        return np.concatenate([part @ matrix for part, matrix in pairs], axis=-1)

    y = sum((one_position(*pair) for pair in slices), start=np.zeros(outputs)) + bias.reshape(-1)

    def backward(dy: ArrayLike) -> tuple[Array, Array, Array]:
        dy = np.asarray(dy, np.float64)
        dpadded, dweights = np.zeros_like(padded), np.zeros_like(weights)
        for position, where in slices:
            parts = zip(of_groups(dy), of_groups(weights[position]), of_groups(padded[where]), strict=True)
            dparts, dmatrices = [], []
            for dpart, matrix, part in parts:
                dparts.append(dpart @ matrix.T)
                dmatrices.append(part.reshape(-1, part.shape[-1]).T @ dpart.reshape(-1, dpart.shape[-1]))
            dpadded[where] += np.concatenate(dparts, axis=-1)
            dweights[position] = np.concatenate(dmatrices, axis=-1)
        return pad_backward(dpadded)[0], dweights, dy.reshape(-1, outputs).sum(axis=0)

    return y, backward


def transposed_convolution(
    x: ArrayLike,
    weights: ArrayLike,
    bias: ArrayLike,
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    cropping: str | int | Padding = 0,
) -> tuple[Array, Callable[[ArrayLike], tuple[Array, Array, Array]]]:
    """Every element of x (N, spatial …, C) paints weights (window …, K, C) times it, `stride` apart; then + bias (K,).

    `cropping` cuts the painting: "same" to input · stride, one number from all sides, or (before, after) per axis.
    """
    x, weights, bias = (np.asarray(array, np.float64) for array in (x, weights, bias))
    rank = x.ndim - 2
    spatial, window, outputs = x.shape[1:-1], weights.shape[:rank], weights.shape[-2]
    strides = (stride,) * rank if isinstance(stride, int) else tuple(stride)
    steps = (dilation,) * rank if isinstance(dilation, int) else tuple(dilation)
    spans = [(f - 1) * d + 1 for f, d in zip(window, steps, strict=True)]
    canvas = [(n - 1) * s + span for n, s, span in zip(spatial, strides, spans, strict=True)]
    if cropping == "same":
        canvas = [max(n * s, painted) for n, s, painted in zip(spatial, strides, canvas, strict=True)]
        excess = [n - e * s for n, e, s in zip(canvas, spatial, strides, strict=True)]
        cropping = [(total // 2, total - total // 2) for total in excess]
    elif isinstance(cropping, int):
        cropping = [(cropping, cropping)] * rank
    assert not isinstance(cropping, str)
    inside = (slice(None), *(slice(a, n - b) for n, (a, b) in zip(canvas, cropping, strict=True)), slice(None))

    def painted_at(tap: tuple[int, ...]) -> Slices:
        starts = [q * d for q, d in zip(tap, steps, strict=True)]
        runs = [slice(q, q + (n - 1) * s + 1, s) for q, n, s in zip(starts, spatial, strides, strict=True)]
        return (slice(None), *runs, slice(None))

    painting = np.zeros((len(x), *canvas, outputs))
    for tap in np.ndindex(*window):
        painting[painted_at(tap)] += x @ weights[tap].T

    def backward(dy: ArrayLike) -> tuple[Array, Array, Array]:
        dy = np.asarray(dy, np.float64)
        dpainting = np.zeros_like(painting)
        dpainting[inside] = dy
        dx, dweights = np.zeros_like(x), np.zeros_like(weights)
        for tap in np.ndindex(*window):
            seen = dpainting[painted_at(tap)]
            dx += seen @ weights[tap]
            dweights[tap] = seen.reshape(-1, outputs).T @ x.reshape(-1, x.shape[-1])
        return dx, dweights, dy.reshape(-1, outputs).sum(axis=0)

    return painting[inside] + bias.reshape(-1), backward


def _gather(
    x: Array, window: Sequence[int], stride: int | Sequence[int], padding: str | int | Padding, value: float
) -> tuple[Array, list[Slices], Padding]:
    """The windows of x stacked along a new first axis, where each was read from in the padded x, and the padding."""
    rank = x.ndim - 2
    strides = (stride,) * rank if isinstance(stride, int) else tuple(stride)
    ones = (1,) * rank
    resolved = resolve_padding(padding, x.shape[1:-1], window, strides, ones)
    padded, _ = pad(x, resolved, value=value)
    slices = [where for _, where in window_slices(padded.shape[1:-1], window, strides, ones)]
    return np.stack([padded[where] for where in slices]), slices, resolved


def _scatter(dwindows: Array, slices: list[Slices], shape: tuple[int, ...], padding: Padding) -> Array:
    """Adds every element of the stacked windows back to where it was read from, and cuts the padding off."""
    extents = [n + before + after for n, (before, after) in zip(shape[1:-1], padding, strict=True)]
    dpadded = np.zeros((shape[0], *extents, shape[-1]))
    for dwindow, where in zip(dwindows, slices, strict=True):
        dpadded[where] += dwindow
    inside = tuple(slice(before, before + n) for n, (before, _) in zip(shape[1:-1], padding, strict=True))
    return dpadded[(slice(None), *inside, slice(None))]


def max_pool(
    x: ArrayLike, *, window: Sequence[int], stride: int | Sequence[int] = 1, padding: str | int | Padding = 0
) -> tuple[Array, Callable[[ArrayLike], tuple[Array]]]:
    """The largest element of each window, NaN if there is one; of equal elements the first takes the gradient."""
    x = np.asarray(x, np.float64)
    windows, slices, resolved = _gather(x, window, stride, padding, -np.inf)
    chosen = windows.argmax(axis=0)

    def backward(dy: ArrayLike) -> tuple[Array]:
        positions = np.arange(len(slices)).reshape(-1, *[1] * chosen.ndim)
        return (_scatter((positions == chosen) * np.asarray(dy, np.float64), slices, x.shape, resolved),)

    return windows.max(axis=0), backward


def average_pool(
    x: ArrayLike,
    *,
    window: Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str | int | Padding = 0,
    count_padding: bool = True,
) -> tuple[Array, Callable[[ArrayLike], tuple[Array]]]:
    """The mean of each window; padded zeros count as elements, or not with `count_padding=False`."""
    x = np.asarray(x, np.float64)
    windows, slices, resolved = _gather(x, window, stride, padding, 0.0)
    inside, _, _ = _gather(np.ones_like(x), window, stride, padding, float(count_padding))
    counts = inside.sum(axis=0)

    def backward(dy: ArrayLike) -> tuple[Array]:
        spread = np.broadcast_to(np.asarray(dy, np.float64) / counts, windows.shape)
        return (_scatter(spread, slices, x.shape, resolved),)

    return windows.sum(axis=0) / counts, backward


def global_average_pool(x: ArrayLike) -> tuple[Array, Callable[[ArrayLike], tuple[Array]]]:
    """The mean over all spatial axes, which stay with extent 1."""
    return average_pool(x, window=np.shape(x)[1:-1])


def each_step(operation: Callable[..., tuple[Array, Callable[[ArrayLike], tuple[Array, ...]]]]) -> Callable[..., Any]:
    """The operation on x (N, T, …): at every time step alike, as if it were an observation."""

    def steps(x: ArrayLike, *parameters: ArrayLike, **options: Any) -> Any:
        x = np.asarray(x, np.float64)
        y, backward = operation(x.reshape(-1, *x.shape[2:]), *parameters, **options)

        def backward_steps(dy: ArrayLike) -> tuple[Array, ...]:
            dx, *others = backward(np.asarray(dy, np.float64).reshape(y.shape))
            return (dx.reshape(x.shape), *others)

        return y.reshape(*x.shape[:2], *y.shape[1:]), backward_steps

    return steps


def global_max_pool(x: ArrayLike) -> tuple[Array, Callable[[ArrayLike], tuple[Array]]]:
    """The largest element over all spatial axes, which stay with extent 1."""
    return max_pool(x, window=np.shape(x)[1:-1])
