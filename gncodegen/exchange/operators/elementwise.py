"""What treats every element alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value, last
from gncodegen.exchange.node import Node, Operand
from gncodegen.exchange.operators.row import SOFTMAX, Operator, single

LARGEST = float(np.finfo(np.float32).max)
"""A bound beyond which there is none."""

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
    low, high = max(-LARGEST, -LARGEST if low is None else low), min(LARGEST, LARGEST if high is None else high)
    if low == 0:
        return gnc.ReluLayer() if high == LARGEST else gnc.ClippedReluLayer(float(high))
    return gnc.HardTanhLayer(float(low), float(high))


PAPER = (1.6732632423543772, 1.0507009873554805)
"""Alpha and gamma of Klambauer et al., Self-Normalizing Neural Networks, 2017."""


def selu(node: Node) -> Value:
    """Gamma · elu(x), with the constants of the paper or others."""
    alpha, gamma = _attribute(node, "alpha", PAPER[0]), _attribute(node, "gamma", PAPER[1])
    # A float32 attribute holds the constants to 8 digits.
    if np.allclose((alpha, gamma), PAPER, rtol=1e-6):
        return node.construction.alike(node.value(), gnc.SeluLayer())
    return node.construction.with_constant(
        "multiply", node.construction.alike(node.value(), gnc.EluLayer(alpha)), np.asarray(gamma)
    )


def _gelu(node: Node) -> Any:
    return gnc.GeluLayer(approximation=node.attributes.get("approximate", "none"))


def swish(node: Node) -> Value:
    """X · sigmoid(alpha · x)."""
    value, alpha = node.value(), _attribute(node, "alpha", 1.0)
    if alpha == 1:
        return node.construction.alike(value, gnc.SwishLayer())
    scaled = node.construction.with_constant("multiply", value, np.asarray(alpha))
    gate = node.construction.alike(scaled, gnc.SigmoidLayer())
    return node.construction.joined([value, gate], gnc.MultiplicationLayer(2))


def _hard_sigmoid(node: Node) -> Any:
    return gnc.HardSigmoidLayer(_attribute(node, "alpha", 0.2), _attribute(node, "beta", 0.5))


def _function(name: str) -> Operator:
    """The row of a function that UnaryLayer has."""
    return single(activation(lambda node: gnc.UnaryLayer(name)), f"Unary({name})")


def softmax(node: Node) -> Value:
    """Along one axis; before opset 13 along all axes from it on."""
    value, (given, onward) = node.value(), SOFTMAX.of(node)
    axis = node.axis(given, value.rank)
    if onward and axis != value.rank - 1:
        flat = node.construction.reshaped(value, (*value.shape[:axis], _product(value.shape[axis:])))
        done = node.construction.in_layout(flat, tuple(range(flat.rank)), lambda _: gnc.SoftmaxLayer())
        return node.construction.reshaped(done, value.shape)
    return node.construction.in_layout(value, last(axis, value.rank), lambda _: gnc.SoftmaxLayer())


def _product(extents: tuple[int, ...]) -> int:
    product = 1
    for extent in extents:
        product *= extent
    return product


def identity(node: Node) -> Operand:
    """Nothing is added."""
    return node.value()


def cast(node: Node) -> Operand:
    """Nothing between floats and conditions: a network has one type, that of its compilation."""
    from onnx import TensorProto  # noqa: PLC0415

    kinds = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64", TensorProto.BOOL: "bool"}
    if node.attributes["to"] not in kinds:
        raise Unsupported(f"to = {node.attributes['to']}; allowed: {', '.join(kinds.values())}")
    if node.attributes["to"] == TensorProto.BOOL:
        return node.construction.with_constant("not-equal", node.value(), np.zeros(()))
    return node.value()


def dropout(node: Node) -> Value:
    """Active in training alone."""
    ratio = float(node.constant_or(1, node.attributes.get("ratio", 0.5)))
    return node.construction.alike(node.value(), gnc.DropoutLayer(ratio))


OPERATORS: Mapping[str, Operator] = {
    "Relu": single(activation(lambda node: gnc.ReluLayer()), "Relu"),
    "LeakyRelu": single(activation(lambda node: gnc.LeakyReluLayer(_attribute(node, "alpha", 0.01))), "LeakyRelu"),
    "Elu": single(activation(lambda node: gnc.EluLayer(_attribute(node, "alpha", 1.0))), "Elu"),
    "Sigmoid": single(activation(lambda node: gnc.SigmoidLayer()), "Sigmoid"),
    "Tanh": single(activation(lambda node: gnc.TanhLayer()), "Tanh"),
    "Softplus": single(activation(lambda node: gnc.SoftplusLayer()), "Softplus"),
    "Softsign": single(activation(lambda node: gnc.SoftsignLayer()), "Softsign"),
    "Mish": single(activation(lambda node: gnc.MishLayer()), "Mish"),
    "HardSwish": single(activation(lambda node: gnc.HardSwishLayer()), "HardSwish"),
    "HardSigmoid": single(activation(_hard_sigmoid), "HardSigmoid"),
    "Selu": single(selu, "Selu, Elu"),
    "Celu": single(activation(lambda node: gnc.CeluLayer(_attribute(node, "alpha", 1.0))), "Celu"),
    "ThresholdedRelu": single(
        activation(lambda node: gnc.ThresholdedReluLayer(_attribute(node, "alpha", 1.0))), "ThresholdedRelu"
    ),
    "Gelu": single(activation(_gelu), "Gelu"),
    "Swish": single(swish, "Swish"),
    "Clip": single(activation(_clip), "Relu, ClippedRelu, HardTanh"),
    "Abs": _function("absolute"),
    "Neg": _function("negative"),
    "Sqrt": _function("square-root"),
    "Reciprocal": _function("reciprocal"),
    "Exp": _function("exponential"),
    "Log": _function("logarithm"),
    "Erf": _function("erf"),
    "Floor": _function("floor"),
    "Ceil": _function("ceiling"),
    "Round": _function("round"),
    "Sign": _function("sign"),
    "Sin": _function("sine"),
    "Cos": _function("cosine"),
    "Tan": _function("tangent"),
    "Asin": _function("arcsine"),
    "Acos": _function("arccosine"),
    "Atan": _function("arctangent"),
    "Sinh": _function("sinh"),
    "Cosh": _function("cosh"),
    "Asinh": _function("arsinh"),
    "Acosh": _function("arcosh"),
    "Atanh": _function("artanh"),
    "Softmax": single(softmax, "Softmax", SOFTMAX),
    "Identity": single(identity, "nothing"),
    "Cast": single(cast, "nothing; Elementwise(not-equal) to a condition"),
    "Dropout": single(dropout, "Dropout"),
}
