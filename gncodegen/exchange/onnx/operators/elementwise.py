"""What treats every element alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gncodegen import layers
from gncodegen.exchange.construction import Unsupported, Value, last
from gncodegen.exchange.onnx.node import Node, Operand
from gncodegen.exchange.onnx.operators.row import Operator

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
    return layers.ReluLayer() if high is None or high > 3e38 else layers.ClippedReluLayer(float(high))


def softmax(node: Node) -> Value:
    """Along one axis; before opset 13 along all axes from it on."""
    value = node.value()
    old = node.opset < 13
    axis = node.axis(int(node.attributes.get("axis", 1 if old else -1)), value.rank)
    if old and axis != value.rank - 1:
        flat = node.construction.reshaped(value, (*value.shape[:axis], _product(value.shape[axis:])))
        done = node.construction.in_layout(flat, tuple(range(flat.rank)), lambda _: layers.SoftmaxLayer())
        return node.construction.reshaped(done, value.shape)
    return node.construction.in_layout(value, last(axis, value.rank), lambda _: layers.SoftmaxLayer())


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
    return node.construction.joined(values, layers.AdditionLayer(len(values)))


def identity(node: Node) -> Operand:
    """Nothing is added."""
    return node.value()


def dropout(node: Node) -> Value:
    """Active in training alone."""
    if len(node.proto.output) > 1:
        raise Unsupported("its second output, the mask; allowed: the first alone")
    ratio = float(node.constant_or(1, node.attributes.get("ratio", 0.5)))
    return node.construction.alike(node.value(), layers.DropoutLayer(ratio))


OPERATORS: Mapping[str, Operator] = {
    "Relu": Operator(activation(lambda node: layers.ReluLayer()), "Relu"),
    "LeakyRelu": Operator(
        activation(lambda node: layers.LeakyReluLayer(_attribute(node, "alpha", 0.01))), "LeakyRelu"
    ),
    "Elu": Operator(activation(lambda node: layers.EluLayer(_attribute(node, "alpha", 1.0))), "Elu"),
    "Sigmoid": Operator(activation(lambda node: layers.SigmoidLayer()), "Sigmoid"),
    "Tanh": Operator(activation(lambda node: layers.TanhLayer()), "Tanh"),
    "Softplus": Operator(activation(lambda node: layers.SoftplusLayer()), "Softplus"),
    "Clip": Operator(activation(_clip), "ClippedRelu"),
    "Softmax": Operator(softmax, "Softmax"),
    "Add": Operator(addition, "Addition"),
    "Sum": Operator(addition, "Addition"),
    "Identity": Operator(identity, "nothing"),
    "Dropout": Operator(dropout, "Dropout"),
}
