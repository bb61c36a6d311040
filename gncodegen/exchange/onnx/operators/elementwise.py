"""What treats every element alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value, last
from gncodegen.exchange.onnx.node import Node, Operand
from gncodegen.exchange.onnx.operators.row import Operator, single

Make = Callable[[Node], Any]
"""The layer of a node."""


def activation(make: Make) -> Callable[[Node], Value]:
    """The conversion of an operator with one input."""
    return lambda node: node.construction.alike(node.value(), make(node))


def _attribute(node: Node, name: str, default: float) -> float:
    return float(node.attributes.get(name, default))


def _clip(node: Node) -> Any:
    low, high = (node.attributes.get(name) for name in ("min", "max"))
    low = node.constant(1).item() if node.has(1) else low
    high = node.constant(2).item() if node.has(2) else high
    if low != 0:
        raise Unsupported(f"min = {low}; allowed: 0")
    return gnc.ReluLayer() if high is None or high > 3e38 else gnc.ClippedReluLayer(float(high))


def softmax(node: Node) -> Value:
    """Along one axis; before opset 13 along all axes from it on."""
    value = node.value()
    old = node.opset < 13
    axis = node.axis(int(node.attributes.get("axis", 1 if old else -1)), value.rank)
    if old and axis != value.rank - 1:
        flat = node.construction.reshaped(value, (*value.shape[:axis], _product(value.shape[axis:])))
        done = node.construction.in_layout(flat, tuple(range(flat.rank)), lambda _: gnc.SoftmaxLayer())
        return node.construction.reshaped(done, value.shape)
    return node.construction.in_layout(value, last(axis, value.rank), lambda _: gnc.SoftmaxLayer())


def _product(extents: tuple[int, ...]) -> int:
    product = 1
    for extent in extents:
        product *= extent
    return product


def addition(node: Node) -> Value:
    """The sum of arrays of one shape."""
    values = node.values()
    if len(values) == 1:
        return values[0]
    if any(value.shape != values[0].shape for value in values):
        raise Unsupported("arrays of different shapes; allowed: one shape")
    return node.construction.joined(values, gnc.AdditionLayer(len(values)))


def identity(node: Node) -> Operand:
    """Nothing is added."""
    return node.value()


def dropout(node: Node) -> Value:
    """Active in training alone."""
    if len(node.proto.output) > 1:
        raise Unsupported("its second output, the mask; allowed: the first alone")
    ratio = float(node.constant_or(1, node.attributes.get("ratio", 0.5)))
    return node.construction.alike(node.value(), gnc.DropoutLayer(ratio))


OPERATORS: Mapping[str, Operator] = {
    "Relu": single(activation(lambda node: gnc.ReluLayer()), "Relu"),
    "LeakyRelu": single(activation(lambda node: gnc.LeakyReluLayer(_attribute(node, "alpha", 0.01))), "LeakyRelu"),
    "Elu": single(activation(lambda node: gnc.EluLayer(_attribute(node, "alpha", 1.0))), "Elu"),
    "Sigmoid": single(activation(lambda node: gnc.SigmoidLayer()), "Sigmoid"),
    "Tanh": single(activation(lambda node: gnc.TanhLayer()), "Tanh"),
    "Softplus": single(activation(lambda node: gnc.SoftplusLayer()), "Softplus"),
    "Clip": single(activation(_clip), "ClippedRelu"),
    "Softmax": single(softmax, "Softmax"),
    "Add": single(addition, "Addition"),
    "Sum": single(addition, "Addition"),
    "Identity": single(identity, "nothing"),
    "Dropout": single(dropout, "Dropout"),
}
