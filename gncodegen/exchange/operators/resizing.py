"""Resize and Upsample: a layer along each axis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import floor, prod
from typing import Any

import numpy as np

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import Node
from gncodegen.exchange.operators.row import Operator, single
from gncodegen.layers.resampling import CUBIC, METHODS

COORDINATES = {
    "half_pixel": "half-pixel",
    "half_pixel_symmetric": "half-pixel-symmetric",
    "pytorch_half_pixel": "half-pixel-or-first",
    "align_corners": "align-corners",
    "asymmetric": "asymmetric",
}
"""coordinate_transformation_mode → geometric_transform_mode."""

NEAREST = {
    "round_prefer_floor": "round-half-down",
    "round_prefer_ceil": "round",
    "floor": "floor",
    "ceil": "ceil",
}
"""nearest_mode → nearest_rounding_mode."""


def _properties(node: Node) -> dict[str, Any]:
    """What a layer is told of the mode."""
    mode = node.attributes.get("mode", "nearest")
    default = "half_pixel" if node.opset >= 11 and node.step.operator == "Resize" else "asymmetric"
    transformation = node.attributes.get("coordinate_transformation_mode", default)
    if mode not in METHODS or transformation not in COORDINATES:
        allowed = f"{', '.join(METHODS)}, with {', '.join(COORDINATES)}"
        raise Unsupported(f"mode = {mode}, coordinate_transformation_mode = {transformation}; allowed: {allowed}")
    rounding = node.attributes.get("nearest_mode", "round_prefer_floor" if default == "half_pixel" else "floor")
    return {
        "method": mode,
        "geometric_transform_mode": COORDINATES[transformation],
        "nearest_rounding_mode": NEAREST[rounding],
        "antialias": bool(node.attributes.get("antialias", 0)),
        "exclude_outside": bool(node.attributes.get("exclude_outside", 0)),
        "cubic_coefficient": float(node.attributes.get("cubic_coeff_a", CUBIC)),
    }


POLICIES: Mapping[str, Callable[[Iterable[float]], float]] = {"not_larger": min, "not_smaller": max}
"""keep_aspect_ratio_policy → which of the scales that the sizes ask for all axes get."""


def _targets(node: Node, value: Value) -> list[tuple[int, int, float | None]]:
    """Axis, new extent, and scale where that is what was given, of every axis that is resized."""
    whole = range(value.rank + node.batching.skipped)
    axes = [int(axis) % len(whole) for axis in node.attributes.get("axes", whole)]
    resize = node.step.operator == "Resize" and node.opset >= 11
    scales: Any = node.constant(2 if resize else 1) if node.has(2 if resize else 1) else node.attributes.get("scales")
    sizes = node.constant(3) if resize and node.has(3) else None
    shape = node.shape(value)
    policy = POLICIES.get(node.attributes.get("keep_aspect_ratio_policy", "stretch"))
    if sizes is not None and len(sizes) and policy:
        scale = policy(int(m) / shape[axis] for m, axis in zip(sizes, axes, strict=True))
        sizes = np.asarray([floor(scale * shape[axis] + 0.5) for axis in axes])
    found: list[tuple[int, int, float | None]] = []
    for place, axis in enumerate(axes):
        n = shape[axis]
        if sizes is not None and len(sizes):
            m, scale = int(sizes[place]), None
            same = m == n or (axis < node.batching.skipped and m in node.declared)
        else:
            scale = float(scales[place])
            m, same = floor(n * scale), scale == 1
        if not same:
            found.append((node.axis(axis, value.rank), m, scale))
    return found


def resize(node: Node) -> Value:
    """Axis by axis, as W of images."""
    value, properties = node.value(), _properties(node)
    for axis, m, scale in _targets(node, value):
        place = value.layout.index(axis)
        height = prod(value.shape[own] for own in value.layout[:place])
        size: dict[str, Any] = {"extents": (height, m)} if scale is None else {"scale": (1.0, scale)}
        value = node.construction.along(value, axis, gnc.Resize2dLayer(**size, **properties))
    return value


OPERATORS: Mapping[str, Operator] = {
    "Resize": single(resize, "Resize"),
    "Upsample": single(resize, "Resize"),
}
