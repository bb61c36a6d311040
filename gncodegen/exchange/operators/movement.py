"""What moves elements: reshapes, permutations, joins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from numpy.typing import NDArray

import gncodegen as gnc
from gncodegen.exchange.construction import Construction, Unsupported, Value, last
from gncodegen.exchange.node import Node
from gncodegen.exchange.operators.row import Operator, single
from gncodegen.layers.base import Layer


def _to_constant(node: Node, shape: tuple[int, ...]) -> list[int]:
    """To a constant shape; 0 keeps an extent."""
    target = [int(n) for n in node.integers(1, "shape") or ()]
    if node.attributes.get("allowzero", 0):
        return target
    return [shape[axis] if n == 0 and axis < len(shape) else n for axis, n in enumerate(target)]


def _to_matrix(node: Node, shape: tuple[int, ...]) -> list[int]:
    """To a matrix whose rows are the axes before `axis`."""
    axis = int(node.attributes.get("axis", 1))
    axis += len(shape) if axis < 0 else 0
    return [prod(shape[:axis]), prod(shape[axis:])]


def _without_ones(node: Node, shape: tuple[int, ...]) -> list[int]:
    """Without axes of extent 1."""
    given = node.integers(1, "axes")
    axes = {axis % len(shape) for axis in given} if given else {axis for axis, n in enumerate(shape) if n == 1}
    return [n for axis, n in enumerate(shape) if axis not in axes]


def _with_ones(node: Node, shape: tuple[int, ...]) -> list[int]:
    """With more axes of extent 1."""
    given, extents = node.integers(1, "axes") or (), iter(shape)
    rank = len(shape) + len(given)
    axes = {axis % rank for axis in given}
    return [1 if axis in axes else next(extents) for axis in range(rank)]


RESHAPES: Mapping[str, Callable[[Node, tuple[int, ...]], list[int]]] = {
    "Reshape": _to_constant,
    "Flatten": _to_matrix,
    "Squeeze": _without_ones,
    "Unsqueeze": _with_ones,
}
"""Operators that keep the order of elements: (step, shape) → the shape of the result, that of observations too."""


def reshape(node: Node) -> Value:
    """The same elements in the shape that the operator says."""
    value = node.value()
    target = RESHAPES[node.step.operator](node, node.shape(value))
    return node.construction.reshaped(value, node.observation(target, prod(value.shape)))


def transpose(node: Node) -> Value:
    """Other names for the axes."""
    value, whole = node.value(), len(node.shape(node.value()))
    order = [int(axis) for axis in node.attributes.get("perm", range(whole)[::-1])]
    if node.batching.batched and order[:1] != [0]:
        raise Unsupported("it moves the axis of observations; allowed: any other axes")
    return node.construction.permuted(
        value, tuple(axis - node.batching.skipped for axis in order[node.batching.skipped :])
    )


def joined_along(construction: Construction, values: Sequence[Value], axis: int) -> Value:
    """The values one after another along one axis, which is brought to the end."""
    if len(values) == 1:
        return values[0]
    layout = last(axis, values[0].rank)
    stored = [construction.stored(value, layout) for value in values]
    added = construction.add(gnc.DepthConcatenationLayer(len(values)), *stored)
    shape = list(values[0].shape)
    shape[axis] = sum(value.shape[axis] for value in values)
    return Value(tuple(shape), {layout: added})


def concat(node: Node) -> Value:
    """Along any axis but that of observations; a constant is added to zeros, so that it is a parameter of its own."""
    first = next(operand for operand in node.operands if isinstance(operand, Value))
    axis = node.axis(int(node.attributes.get("axis", 1)), first.rank)
    parts: list[Value] = []
    for index, operand in enumerate(node.operands):
        if isinstance(operand, Value):
            parts.append(operand)
        elif node.constant(index).size:
            parts.append(_held(node.construction, first, axis, node.own(node.constant(index), first)))
    return joined_along(node.construction, parts, axis)


def _held(construction: Construction, value: Value, axis: int, constant: NDArray[Any]) -> Value:
    """A constant as an array of as many observations as a value has, whose other axes it shares."""
    extent = value.shape[axis]
    one = construction.along(value, axis, gnc.CropLayer((0, 0, 0, extent - 1))) if extent > 1 else value
    # No number is less than itself, and none that is not one, either.
    zeros = construction.joined([one, one], gnc.ElementwiseLayer("less"))
    return construction.with_constant("add", zeros, constant)


def blocks(layer: Callable[..., Layer]) -> Callable[[Node], Value]:
    """The conversion of channels to positions, or back."""

    def convert(node: Node) -> Value:
        value = node.value()
        if not node.batching.batched or value.rank != 3:
            raise Unsupported("its input must be images (N, C, H, W)")
        order = "column-first" if node.attributes.get("mode", "DCR") == "CRD" else "depth-first"
        return node.construction.channels_last(value, lambda _: layer(int(node.attributes["blocksize"]), order=order))

    return convert


OPERATORS: Mapping[str, Operator] = {
    **{operator: single(reshape, "Reshape") for operator in RESHAPES},
    "Transpose": single(transpose, "nothing, or Permute where an array is read in another order"),
    "DepthToSpace": single(blocks(gnc.DepthToSpaceLayer), "DepthToSpace"),
    "SpaceToDepth": single(blocks(gnc.SpaceToDepthLayer), "SpaceToDepth"),
    "Concat": single(concat, "DepthConcatenation; Crop and Elementwise for constants"),
}
