"""Comparisons, and what is made of them: conditions are arrays of 1 where they hold and 0 elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import Node, Operand
from gncodegen.exchange.operators.arithmetic import alike, folding, ordered, with_constant
from gncodegen.exchange.operators.elementwise import LARGEST
from gncodegen.exchange.operators.row import Operator, single


def negated(node: Node, condition: Value) -> Value:
    """Whether a condition does not hold."""
    return with_constant(node, "equal", condition, np.zeros(()))


def is_nan(node: Node) -> Value:
    """A NaN alone is not equal to itself."""
    value = node.value()
    return node.construction.joined([value, value], gnc.ElementwiseLayer("not-equal", 2))


def is_infinite(node: Node) -> Value:
    """What lies beyond the largest float32, on one side or both."""
    value, construction = node.value(), node.construction
    above, below = (node.attributes.get(f"detect_{side}", 1) for side in ("positive", "negative"))
    if not (above or below):
        raise Unsupported("it detects nothing; allowed: positive or negative infinity, or both")
    if above and below:
        value = construction.alike(value, gnc.UnaryLayer("absolute"))
    function, bound = ("greater", LARGEST) if above else ("less", -LARGEST)
    return with_constant(node, function, value, np.asarray(bound))


def modulo(node: Node) -> Value:
    """The remainder with the sign of the first operand, or of the second."""
    return ordered("remainder" if node.attributes.get("fmod", 0) else "modulo")(node)


def where(node: Node) -> Value:
    """The second operand where a condition holds, else the third."""
    condition, first, second = node.operands
    if first is None or second is None:
        raise Unsupported("an operand is missing; allowed: three")
    if not isinstance(condition, Value):
        return _where_known(node, np.asarray(condition) != 0, first, second)
    if isinstance(first, Value) and isinstance(second, Value):
        alike(node, [condition, first, second])
        return node.construction.joined([condition, first, second], gnc.ElementwiseLayer("select", 3))
    if isinstance(first, Value):
        return _otherwise(node, condition, first, np.asarray(second))
    if isinstance(second, Value):
        return _otherwise(node, negated(node, condition), second, np.asarray(first))
    return _between(node, condition, np.asarray(first), np.asarray(second))


def _otherwise(node: Node, condition: Value, value: Value, constant: NDArray[Any]) -> Value:
    """A value where a condition holds, else a constant."""
    alike(node, [condition, value])
    own = node.own(constant, value)
    return node.construction.with_constant("select", condition, own, more=[value])


def _between(node: Node, condition: Value, first: NDArray[Any], second: NDArray[Any]) -> Value:
    """One of two constants."""
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise Unsupported("a choice between constants that are not finite; allowed: finite numbers")
    parts = [with_constant(node, "multiply", condition, first)]
    if second.any():
        parts.append(with_constant(node, "multiply", negated(node, condition), second))
    return parts[0] if len(parts) == 1 else node.construction.joined(parts, gnc.ElementwiseLayer("add", 2))


def _where_known(node: Node, holds: NDArray[Any], first: Operand, second: Operand) -> Value:
    """The same with a condition that is known: what is not chosen is 0, and the others are added."""
    if not isinstance(first, Value):
        first, second, holds = second, first, ~holds
    assert isinstance(first, Value)
    if isinstance(second, Value):
        alike(node, [first, second])
        parts = [
            with_constant(node, "mask", each, there.astype(float)) for each, there in ((first, holds), (second, ~holds))
        ]
        return node.construction.joined(parts, gnc.ElementwiseLayer("add", 2))
    if np.all(second == -np.inf):
        return with_constant(node, "mask-lowest", first, holds.astype(float))
    kept = with_constant(node, "mask", first, holds.astype(float))
    filled = np.where(holds, 0, second)
    return with_constant(node, "add", kept, filled) if filled.any() else kept


def triangle(node: Node) -> Value:
    """The elements on one side of a diagonal of the last two axes; 0 elsewhere."""
    value, offset = node.value(), int(node.constant_or(1, 0).item())
    if value.rank < 2:
        raise Unsupported(f"a triangle of {value.rank} axes; allowed: 2 or more")
    make = np.triu if node.attributes.get("upper", 1) else np.tril
    return node.construction.with_constant("mask", value, make(np.ones(value.shape[-2:]), offset))


def shrink(node: Node) -> Value:
    """X nearer to 0 by `bias`; 0 between - lambd and lambd."""
    value = node.value()
    bias, most = (float(node.attributes.get(name, default)) for name, default in (("bias", 0.0), ("lambd", 0.5)))
    shift = with_constant(node, "multiply", node.construction.alike(value, gnc.UnaryLayer("sign")), np.asarray(-bias))
    moved = node.construction.joined([value, shift], gnc.ElementwiseLayer("add", 2)) if bias else value
    outside = with_constant(
        node, "greater", node.construction.alike(value, gnc.UnaryLayer("absolute")), np.asarray(most)
    )
    return node.construction.joined([moved, outside], gnc.ElementwiseLayer("mask", 2))


def _comparison(function: str) -> Operator:
    return single(ordered(function), f"Elementwise({function})")


OPERATORS: Mapping[str, Operator] = {
    "Less": _comparison("less"),
    "LessOrEqual": _comparison("less-or-equal"),
    "Greater": _comparison("greater"),
    "GreaterOrEqual": _comparison("greater-or-equal"),
    "Equal": _comparison("equal"),
    "Xor": _comparison("not-equal"),
    "And": single(folding("multiply"), "Multiplication, Elementwise"),
    "Or": single(folding("maximum"), "Elementwise(maximum)"),
    "Not": single(lambda node: negated(node, node.value()), "Elementwise(equal)"),
    "IsNaN": single(is_nan, "Elementwise(not-equal)"),
    "IsInf": single(is_infinite, "Unary, Elementwise(greater)"),
    "Mod": single(modulo, "Elementwise(remainder, modulo)"),
    "Where": single(where, "Elementwise(select, mask, add)"),
    "Trilu": single(triangle, "Elementwise(mask)"),
    "Shrink": single(shrink, "Unary, Elementwise"),
}
