"""Functions of several operands, which repeat along axes they lack, as in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import Node, Operand
from gncodegen.exchange.operators.row import Operator, single


@dataclass(frozen=True)
class Swapped:
    """How f(constant, x) is computed, where operands have an order.

    Args:
        unary: the function of x that comes first; "" = none.
        function: the function of that and of the constant.
    """

    unary: str
    function: str


SWAPPED = {
    "subtract": Swapped("negative", "add"),
    "divide": Swapped("reciprocal", "multiply"),
    "less": Swapped("", "greater"),
    "less-or-equal": Swapped("", "greater-or-equal"),
    "greater": Swapped("", "less"),
    "greater-or-equal": Swapped("", "less-or-equal"),
    "equal": Swapped("", "equal"),
    "not-equal": Swapped("", "not-equal"),
}

POWERS: Mapping[float, str] = {2.0: "square", 0.5: "square-root", -1.0: "reciprocal"}
"""Exponents that have a function of their own."""


def alike(node: Node, values: list[Value]) -> list[Value]:
    """The values; refused where axes of observations would meet other axes."""
    if node.batching.batched and len({value.rank for value in values}) > 1:
        raise Unsupported("arrays of different numbers of axes; allowed: as many axes, or constants")
    return values


def combined(node: Node, function: str, values: list[Value]) -> Value:
    """A function of values alone."""
    alike(node, values)
    if len(values) == 1:
        return values[0]
    joining = {"add": gnc.AdditionLayer, "multiply": gnc.MultiplicationLayer}.get(function)
    equal = len({value.shape for value in values}) == 1
    layer = joining(len(values)) if joining and equal else gnc.ElementwiseLayer(function, len(values))
    return node.construction.joined(values, layer)


def with_constant(node: Node, function: str, value: Value, constant: NDArray[Any]) -> Value:
    """A function of a value and of a constant, in this order."""
    if function == "power" and constant.size == 1:
        exponent = constant.item()
        if exponent == 1:
            return value
        if exponent in POWERS:
            return node.construction.alike(value, gnc.UnaryLayer(POWERS[exponent]))
    return node.construction.with_constant(function, value, node.own(np.asarray(constant), value))


def swapped(node: Node, function: str, constant: NDArray[Any], value: Value) -> Value:
    """A function of a constant and of a value, in this order."""
    if function == "power":
        if not np.all(constant > 0):
            raise Unsupported("a power of a constant that is not above 0; allowed: positive ones")
        scaled = with_constant(node, "multiply", value, np.log(constant.astype(np.float64)))
        return node.construction.alike(scaled, gnc.UnaryLayer("exponential"))
    how = SWAPPED.get(function)
    if how is None:
        raise Unsupported(f"a {function} whose first operand is a constant; allowed: the second")
    first = node.construction.alike(value, gnc.UnaryLayer(how.unary)) if how.unary else value
    return with_constant(node, how.function, first, constant)


def folding(function: str) -> Callable[[Node], Value]:
    """The conversion of a function of any number of operands, whose order does not matter."""

    def convert(node: Node) -> Value:
        operands = [operand for operand in node.operands if operand is not None]
        result = combined(node, function, [operand for operand in operands if isinstance(operand, Value)])
        for constant in (operand for operand in operands if not isinstance(operand, Value)):
            result = with_constant(node, function, result, constant)
        return result

    return convert


def ordered(function: str) -> Callable[[Node], Value]:
    """The conversion of a function of two operands, whose order matters."""

    def convert(node: Node) -> Value:
        first, second = (node.operands[index] if node.has(index) else None for index in range(2))
        if isinstance(first, Value) and isinstance(second, Value):
            return combined(node, function, [first, second])
        if isinstance(first, Value) and second is not None:
            return with_constant(node, function, first, np.asarray(second))
        if first is None or not isinstance(second, Value):
            raise Unsupported("an operand is missing; allowed: two")
        return swapped(node, function, np.asarray(first), second)

    return convert


def mean(node: Node) -> Value:
    """The sum over the operands divided by their number."""
    count = len(node.operands)
    return with_constant(node, "multiply", folding("add")(node), np.asarray(1 / count))


def prelu(node: Node) -> Value:
    """Y = x above 0, else slope · x; one slope, or one per channel."""
    value, slope = node.value(), node.constant(1)
    slope = node.own(slope, value)
    if slope.size == 1:
        return node.construction.alike(value, gnc.PreluLayer(slopes="shared", alpha=slope.ravel()))
    own_shape = (1,) * (value.rank - slope.ndim) + slope.shape
    if own_shape == (value.shape[0], *(1,) * (value.rank - 1)):
        return node.construction.channels_last(value, lambda _: gnc.PreluLayer(alpha=slope.ravel()))
    return node.construction.with_constant("prelu", value, slope)


def expand(node: Node) -> Operand:
    """Repeats along axes of extent 1: a product with ones."""
    value, target = node.value(), [int(n) for n in node.constant(1).ravel()]
    if node.batching.batched and len(target) > value.rank:
        first, *target = target
        if len(target) != value.rank or first not in {1, *node.declared}:
            raise Unsupported(f"it expands to {(first, *target)}; allowed: the same number of observations")
    shape = (1,) * (len(target) - value.rank) + value.shape
    own_target = (1,) * (value.rank - len(target)) + tuple(target)
    ones = tuple(want if extent == 1 else 1 for extent, want in zip(shape, own_target, strict=False))
    if set(ones) <= {1} and len(shape) == value.rank:
        return value
    return node.construction.with_constant("multiply", value, np.ones(ones))


OPERATORS: Mapping[str, Operator] = {
    "Add": single(folding("add"), "Addition, Elementwise"),
    "Sum": single(folding("add"), "Addition, Elementwise"),
    "Mul": single(folding("multiply"), "Multiplication, Elementwise"),
    "Min": single(folding("minimum"), "Elementwise"),
    "Max": single(folding("maximum"), "Elementwise"),
    "Mean": single(mean, "Addition, Elementwise"),
    "Sub": single(ordered("subtract"), "Elementwise"),
    "Div": single(ordered("divide"), "Elementwise"),
    "Pow": single(ordered("power"), "Elementwise, Unary"),
    "PRelu": single(prelu, "Prelu, Elementwise"),
    "Expand": single(expand, "Elementwise, or nothing"),
}
