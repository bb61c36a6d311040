"""Resize and Upsample: along each axis a matrix, or whole repetitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gncodegen as gnc
from gncodegen.exchange.construction import Construction, Unsupported, Value, channel_last
from gncodegen.exchange.node import Node
from gncodegen.exchange.operators.products import mapped
from gncodegen.exchange.operators.row import Operator, single

Places = NDArray[np.float64]

COORDINATES: Mapping[str, Callable[[Places, int, float, float], Places]] = {
    "half_pixel": lambda i, n, m, scale: (i + 0.5) / scale - 0.5,
    "half_pixel_symmetric": lambda i, n, m, scale: n / 2 * (1 - floor(m) / m) + (i + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda i, n, m, scale: (i + 0.5) / scale - 0.5 if m > 1 else 0 * i,
    "align_corners": lambda i, n, m, scale: i * (n - 1) / (m - 1) if m != 1 else 0 * i,
    "asymmetric": lambda i, n, m, scale: i / scale,
}
"""Where outputs lie among n inputs; m = n · scale outputs, which need not be whole."""

NEAREST: Mapping[str, Callable[[Places], Places]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
"""The input that stands for a place between two."""


def matrix_of(node: Node, n: int, m: int, scale: float) -> NDArray[np.float64]:
    """The weights (m, n) of the inputs in each output."""
    mode = node.attributes.get("mode", "nearest")
    default = "half_pixel" if node.opset >= 11 and node.step.operator == "Resize" else "asymmetric"
    transformation = node.attributes.get("coordinate_transformation_mode", default)
    if mode not in ("nearest", "linear") or transformation not in COORDINATES:
        allowed = f"nearest or linear, with {', '.join(COORDINATES)}"
        raise Unsupported(f"mode = {mode}, coordinate_transformation_mode = {transformation}; allowed: {allowed}")
    places = COORDINATES[transformation](np.arange(m, dtype=np.float64), n, n * scale, scale)
    if mode == "nearest":
        rounding = node.attributes.get("nearest_mode", "round_prefer_floor" if default == "half_pixel" else "floor")
        return np.eye(n)[np.clip(NEAREST[rounding](places), 0, n - 1).astype(int)]
    places = np.clip(places, 0, n - 1)
    low = np.minimum(np.floor(places).astype(int), max(n - 2, 0))
    fraction = (places - low)[:, None]
    return np.eye(n)[low] * (1 - fraction) + np.eye(n)[np.minimum(low + 1, n - 1)] * fraction


def repeated(construction: Construction, value: Value, factors: tuple[int, ...]) -> Value:
    """Every element so many times along each axis: a product with ones along axes between."""
    layout = channel_last(value.rank)
    extents, counts = ([each[axis] for axis in layout] for each in (value.shape, factors))
    between = tuple(n for extent, count in zip(extents, counts, strict=True) for n in ((extent, 1)[: 1 + (count > 1)]))
    ones = tuple(n for count in counts for n in ((1, count)[: 1 + (count > 1)]))
    apart = construction.add(gnc.ReshapeLayer(between), construction.stored(value, layout))
    wide = construction.add(gnc.ElementwiseLayer("multiply", 1, constant=np.ones(ones)), apart)
    back = gnc.ReshapeLayer(tuple(n * count for n, count in zip(extents, counts, strict=True)))
    shape = tuple(n * count for n, count in zip(value.shape, factors, strict=True))
    return Value(shape, {layout: construction.add(back, wide)})


def _targets(node: Node, value: Value) -> list[tuple[int, int, int, float]]:
    """Axis, extent, new extent and scale of every axis that is resized."""
    if node.attributes.get("antialias", 0) or node.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported("antialias, or a keep_aspect_ratio_policy; allowed: neither")
    whole = range(value.rank + node.batching.skipped)
    axes = [int(axis) % len(whole) for axis in node.attributes.get("axes", whole)]
    resize = node.step.operator == "Resize" and node.opset >= 11
    scales: Any = node.constant(2 if resize else 1) if node.has(2 if resize else 1) else node.attributes.get("scales")
    sizes = node.constant(3) if resize and node.has(3) else None
    shape = node.shape(value)
    found: list[tuple[int, int, int, float]] = []
    for place, axis in enumerate(axes):
        n = shape[axis]
        if sizes is not None and len(sizes):
            m, scale = int(sizes[place]), int(sizes[place]) / n
            same = m == n or (axis < node.batching.skipped and m in node.declared)
        else:
            scale = float(scales[place])
            m, same = floor(n * scale), scale == 1
        if not same:
            found.append((node.axis(axis, value.rank), n, m, scale))
    return found


def resize(node: Node) -> Value:
    """Axis by axis."""
    value = node.value()
    found = [(axis, matrix_of(node, n, m, scale)) for axis, n, m, scale in _targets(node, value)]
    factors = [1] * value.rank
    for axis, matrix in found:
        m, n = matrix.shape
        if m % n == 0 and np.array_equal(matrix, np.repeat(np.eye(n), m // n, axis=0)):
            factors[axis] = m // n
        else:
            value = mapped(node.construction, value, axis, matrix)
    return repeated(node.construction, value, tuple(factors)) if max(factors, default=1) > 1 else value


OPERATORS: Mapping[str, Operator] = {
    "Resize": single(resize, "Elementwise for whole repetitions, else Convolution with a window of 1"),
    "Upsample": single(resize, "Elementwise for whole repetitions, else Convolution with a window of 1"),
}
