"""Reductions over any axes, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import Node
from gncodegen.exchange.operators.row import SOFTMAX, Along, Operator, single


def reduced(node: Node, value: Value, axes: tuple[int, ...], function: str) -> Value:
    """The mean, sum or maximum over axes, which stay with extent 1: one window over all of them."""
    if not axes:
        return value
    kept = tuple(axis for axis in range(value.rank) if axis not in axes)
    # Channels stay last where they are.
    kept = tuple(axis for axis in value.layout if axis in kept)
    layout, construction = (*axes, *kept), node.construction
    count = prod(value.shape[axis] for axis in axes)
    rows = construction.add(
        gnc.ReshapeLayer((count, 1, prod(value.shape[axis] for axis in kept))), construction.stored(value, layout)
    )
    pool = gnc.GlobalMaxPooling2dLayer() if function == "maximum" else gnc.GlobalAveragePooling2dLayer()
    shape = tuple(1 if axis in axes else extent for axis, extent in enumerate(value.shape))
    added = construction.add(gnc.ReshapeLayer(tuple(shape[axis] for axis in layout)), construction.add(pool, rows))
    result = Value(shape, {layout: added})
    if function == "sum":
        result = construction.with_constant("multiply", result, np.asarray(float(count)))
    return result


def without(node: Node, value: Value, axes: tuple[int, ...]) -> Value:
    """The value without axes of extent 1, in the layout that is there."""
    kept = tuple(axis for axis in range(value.rank) if axis not in axes)
    place = {axis: number for number, axis in enumerate(kept)}
    layout = tuple(axis for axis in value.layout if axis in place)
    layer = gnc.ReshapeLayer(tuple(value.shape[axis] for axis in layout))
    source = value.places[value.layout]
    named = tuple(place[axis] for axis in layout)
    return Value(tuple(value.shape[axis] for axis in kept), {named: node.construction.add(layer, source)})


def reduced_axes(node: Node, value: Value) -> tuple[int, ...] | None:
    """The axes to reduce; None where there are none, which hands the array on."""
    given = node.integers(1, "axes")
    if not given:
        if node.attributes.get("noop_with_empty_axes", 0):
            return None
        if node.batching.batched:
            raise Unsupported("it reduces over all axes, that of observations too; allowed: any other axes")
        return tuple(range(value.rank))
    return tuple(sorted(node.axes(given, value.rank)))


def reduction(function: str, before: str = "", after: str = "") -> Callable[[Node], Value]:
    """The conversion of a reduction with a function of each element before it and one of the result after it."""

    def convert(node: Node) -> Value:
        value, construction = node.value(), node.construction
        axes = reduced_axes(node, value)
        if before:
            value = construction.alike(value, gnc.UnaryLayer(before))
        result = value if axes is None else reduced(node, value, axes, function)
        if after:
            result = construction.alike(result, gnc.UnaryLayer(after))
        dropped = axes and not node.attributes.get("keepdims", 1)
        return without(node, result, axes) if dropped and axes else result

    return convert


def _between(node: Node, function: str, first: Value, second: Value) -> Value:
    return node.construction.joined([first, second], gnc.ElementwiseLayer(function))


def log_softmax(node: Node) -> Value:
    """X - max - ln Σ exp(x - max) along one axis; before opset 13 along all axes from it on."""
    value, (given, onward) = node.value(), SOFTMAX.of(node)
    axis = node.axis(given, value.rank)
    axes = tuple(range(axis, value.rank)) if onward else (axis,)
    centred = _between(node, "subtract", value, reduced(node, value, axes, "maximum"))
    total = reduced(node, node.construction.alike(centred, gnc.UnaryLayer("exponential")), axes, "sum")
    return _between(node, "subtract", centred, node.construction.alike(total, gnc.UnaryLayer("logarithm")))


def log_sum_exp(node: Node) -> Value:
    """Max + ln Σ exp(x - max)."""
    value, construction = node.value(), node.construction
    axes = reduced_axes(node, value)
    if axes is None:
        return value
    most = reduced(node, value, axes, "maximum")
    shifted = construction.alike(_between(node, "subtract", value, most), gnc.UnaryLayer("exponential"))
    total = construction.alike(reduced(node, shifted, axes, "sum"), gnc.UnaryLayer("logarithm"))
    result = _between(node, "add", total, most)
    return result if node.attributes.get("keepdims", 1) else without(node, result, axes)


def lp_normalization(node: Node) -> Value:
    """X over its p-norm along one axis; 0 where the norm is 0."""
    value, construction = node.value(), node.construction
    power = int(node.attributes.get("p", 2))
    axis = node.axis(int(node.attributes.get("axis", -1)), value.rank)
    positive = construction.alike(value, gnc.UnaryLayer("square" if power == 2 else "absolute"))
    norm = reduced(node, positive, (axis,), "sum")
    if power == 2:
        norm = construction.alike(norm, gnc.UnaryLayer("square-root"))
    # The least normal float32: x is 0 where the norm is.
    bounded = construction.with_constant("maximum", norm, np.asarray(float(np.finfo(np.float32).tiny)))
    return _between(node, "divide", value, bounded)


def local_response_normalization(node: Node) -> Value:
    """X / (bias + alpha / size · Σ x²) ^ beta, the sum over neighbouring channels."""
    if not node.batching.batched or node.value().rank < 1:
        raise Unsupported("its input must have axes of observations and of channels")
    defaults = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    alpha, beta, k = (float(node.attributes.get(name, default)) for name, default in defaults.items())
    layer = gnc.CrossChannelNormalizationLayer(int(node.attributes["size"]), alpha=alpha, beta=beta, k=k)
    return node.construction.channels_last(node.value(), lambda _: layer)


OPERATORS: Mapping[str, Operator] = {
    "ReduceMean": single(reduction("mean"), "GlobalAveragePooling"),
    "ReduceSum": single(reduction("sum"), "GlobalAveragePooling, Elementwise"),
    "ReduceMax": single(reduction("maximum"), "GlobalMaxPooling"),
    "ReduceMin": single(reduction("maximum", "negative", "negative"), "Unary, GlobalMaxPooling"),
    "ReduceL1": single(reduction("sum", "absolute"), "Unary, GlobalAveragePooling, Elementwise"),
    "ReduceL2": single(reduction("sum", "square", "square-root"), "Unary, GlobalAveragePooling, Elementwise"),
    "ReduceSumSquare": single(reduction("sum", "square"), "Unary, GlobalAveragePooling, Elementwise"),
    "ReduceLogSum": single(reduction("sum", "", "logarithm"), "GlobalAveragePooling, Elementwise, Unary"),
    "ReduceLogSumExp": single(log_sum_exp, "GlobalMaxPooling, GlobalAveragePooling, Elementwise, Unary"),
    "LogSoftmax": single(log_softmax, "GlobalMaxPooling, GlobalAveragePooling, Elementwise, Unary", SOFTMAX),
    "LpNormalization": single(lp_normalization, "Unary, GlobalAveragePooling, Elementwise", Along()),
    "LRN": single(local_response_normalization, "CrossChannelNormalization"),
}
