"""Parts of arrays, and arrays with more around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import MANY, Node, Operand
from gncodegen.exchange.operators.movement import joined_along
from gncodegen.exchange.operators.products import mapped
from gncodegen.exchange.operators.row import Operator, single

MODES = {"constant": "constant", "reflect": "symmetric-exclude-edge", "edge": "replicate"}
"""Modes that PaddingLayer has; "wrap" is made of parts."""


def taken(node: Node, value: Value, axis: int, places: range) -> Value:
    """The elements at these places along one axis."""
    extent = value.shape[axis]
    if places == range(extent):
        return value
    if not len(places):
        raise Unsupported("its result is empty; allowed: at least one element")
    if places.step > 1:
        # Pools of one element each: a product with rows that have a 1 each would make NaN of 0 · ∞.
        run = taken(node, value, axis, range(places.start, places[-1] + 1))
        return node.construction.along(run, axis, gnc.AveragePooling2dLayer(1, stride=(1, places.step)))
    if places.step < 0:
        return mapped(node.construction, value, axis, np.eye(extent)[list(places)])
    crop = gnc.CropLayer((0, 0, places.start, extent - places.stop))
    return node.construction.along(value, axis, crop)


def slice_(node: Node) -> Value:
    """Start, end and step along some axes, as in NumPy."""
    value, whole = node.value(), len(node.shape(node.value()))
    starts, ends = node.integers(1, "starts") or (), node.integers(2, "ends") or ()
    axes = node.integers(3, "axes") or tuple(range(len(starts)))
    steps = node.integers(4, "steps") or (1,) * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if node.batching.batched and axis % whole == 0 and start == 0 and step == 1 and end >= MANY:
            continue
        own = node.axis(axis, value.rank)
        value = taken(node, value, own, range(*slice(start, end, step).indices(value.shape[own])))
    return value


def split(node: Node) -> Sequence[Operand]:
    """Parts one after another along one axis."""
    value, count = node.value(), len(node.step.outputs)
    axis = node.axis(int(node.attributes.get("axis", 0)), value.rank)
    extent = value.shape[axis]
    equal = -(-extent // count)
    sizes = node.integers(1, "split") or tuple(min(equal, extent - i * equal) for i in range(count))
    ends = np.cumsum(sizes)
    if ends[-1] != extent:
        raise Unsupported(f"split = {sizes} of {extent} elements; allowed: parts that add up")
    ahead = (1,) * node.batching.skipped
    return [
        # A part without elements is a constant of that shape, which joins leave out.
        taken(node, value, axis, range(end - size, end))
        if size
        else np.zeros((*ahead, *value.shape[:axis], 0, *value.shape[axis + 1 :]), np.float32)
        for end, size in zip(ends.tolist(), sizes, strict=True)
    ]


def tiled(node: Node) -> Value:
    """The whole array so many times along each axis."""
    value, counts = node.value(), [int(n) for n in node.constant(1).ravel()]
    for place, count in enumerate(counts):
        if count > 1:
            value = joined_along(node.construction, [value] * count, node.axis(place, value.rank))
    return value


def pad(node: Node) -> Value:
    """Constants, mirrored or repeated elements, or those of the other end, at the ends of axes; negative ones cut."""
    value, mode = node.value(), node.attributes.get("mode", "constant")
    if mode not in MODES and mode != "wrap":
        raise Unsupported(f"mode = {mode}; allowed: {', '.join(MODES)}, wrap")
    number = float(node.constant_or(2, node.attributes.get("value", 0.0)).item())
    whole = range(len(node.shape(value)))
    pads = node.integers(1, "pads") or ()
    axes = node.integers(3, "axes") or tuple(whole)
    for place, axis in enumerate(axes):
        low, high = pads[place], pads[place + len(axes)]
        if low == high == 0:
            continue
        own = node.axis(axis, value.rank)
        value = taken(node, value, own, range(max(-low, 0), value.shape[own] - max(-high, 0)))
        if max(low, high) > 0:
            sides = (0, 0, max(low, 0), max(high, 0))
            if mode == "wrap":
                value = _wrapped(node, value, own, sides[2:])
            else:
                value = node.construction.along(value, own, gnc.PaddingLayer(sides, mode=MODES[mode], value=number))
    return value


def _wrapped(node: Node, value: Value, axis: int, sides: tuple[int, int]) -> Value:
    """The elements along one axis, with some of the last in front of them and some of the first behind."""
    (low, high), extent = sides, value.shape[axis]
    if max(sides) > extent:
        raise Unsupported(f"mode = wrap with pads of {low} and {high}; allowed: up to {extent}, the axis' extent")
    front = [taken(node, value, axis, range(extent - low, extent))] if low else []
    behind = [taken(node, value, axis, range(high))] if high else []
    return joined_along(node.construction, [*front, value, *behind], axis)


OPERATORS: Mapping[str, Operator] = {
    "Slice": single(slice_, "Crop; AveragePooling of one element where the step is not 1, Convolution backwards"),
    "Split": Operator(split, "Crop"),
    "Tile": single(tiled, "DepthConcatenation"),
    "Pad": single(pad, "Padding, Crop, DepthConcatenation"),
}
