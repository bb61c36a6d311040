"""What follows the order of elements along one axis: the largest of them, and products up to each place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import Node
from gncodegen.exchange.operators.along import first_maximum, place_of
from gncodegen.exchange.operators.arithmetic import combined
from gncodegen.exchange.operators.movement import joined_along
from gncodegen.exchange.operators.pieces import taken
from gncodegen.exchange.operators.reduction import reduced
from gncodegen.exchange.operators.row import Operator, single

MOST_TAKEN = 32
"""Elements that are looked for, one after another, each by a maximum over all."""


def largest(node: Node) -> Sequence[Value]:
    """The k largest or least along one axis, largest or least first, and their places; of equal ones the first."""
    value, construction = node.value(), node.construction
    axis = node.axis(int(node.attributes.get("axis", -1)), value.rank)
    count = (node.integers(1, "k") or (0,))[0] if "k" not in node.attributes else int(node.attributes["k"])
    if not 1 <= count <= min(MOST_TAKEN, value.shape[axis]):
        raise Unsupported(f"k = {count} of {value.shape[axis]}; allowed: 1 to {min(MOST_TAKEN, value.shape[axis])}")
    least = not node.attributes.get("largest", 1)
    rest = construction.alike(value, gnc.UnaryLayer("negative")) if least else value
    left: Value | None = None
    found, places = list[Value](), list[Value]()
    for number in range(count):
        there = first_maximum(node, rest, axis, left=left)
        found.append(reduced(node, rest, (axis,), "maximum"))
        places.append(place_of(node, there, axis))
        if number + 1 < count:
            others = construction.with_constant("equal", there, np.zeros(()))
            rest = construction.with_constant("select", others, np.asarray(-np.inf), more=[rest])
            left = others if left is None else combined(node, "multiply", [left, others])
    joined = joined_along(construction, found, axis)
    values = construction.alike(joined, gnc.UnaryLayer("negative")) if least else joined
    return [values, joined_along(construction, places, axis)]


def cumulated_product(node: Node) -> Value:
    """Products of the elements up to each place along one axis, of those from it on, or without its own."""
    value = node.value()
    axis = node.axis(int(node.constant(1).item()), value.rank)
    extent, reverse = value.shape[axis], bool(node.attributes.get("reverse", 0))

    def moved(factors: Value, by: int) -> Value:
        """Each element so many places onward, behind ones."""
        part = taken(node, factors, axis, range(by, extent) if reverse else range(extent - by))
        sides = (0, 0, 0, by) if reverse else (0, 0, by, 0)
        return node.construction.along(part, axis, gnc.PaddingLayer(sides, mode="constant", value=1.0))

    value = moved(value, 1) if node.attributes.get("exclusive", 0) else value
    span = 1
    while span < extent:
        value, span = combined(node, "multiply", [value, moved(value, span)]), 2 * span
    return value


OPERATORS: Mapping[str, Operator] = {
    "TopK": Operator(largest, "GlobalMaxPooling, Elementwise, Convolution with a window of 1, DepthConcatenation"),
    "CumProd": single(cumulated_product, "Crop, Padding, Multiplication"),
}
