"""Attention: softmax(scale · q · kᵀ + mask) · v, of several heads."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.operators.matrices import multiplied, turned
from gncodegen.exchange.operators.reduction import reduced
from gncodegen.exchange.operators.row import Operator, single

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gncodegen.exchange.construction import Construction
    from gncodegen.exchange.node import Node, Operand

MASK, PAST = 3, 4
"""Inputs behind queries, keys and values."""


KNOWN = frozenset({
    "q_num_heads", "kv_num_heads", "scale", "softcap", "is_causal", "left_window_size", "right_window_size",
    "qk_matmul_output_mode", "softmax_precision", "additive", "dropout",
})  # fmt: skip
"""Attributes; `additive` says that a computed mask is added, `dropout` the share of shares that training drops."""


def attention(node: Node) -> Value:
    """Queries, keys, values (N, heads, positions, features), or heads side by side in (N, positions, features)."""
    construction, attributes = node.construction, node.attributes
    if any(node.has(index) for index in range(PAST, len(node.operands))):
        raise Unsupported("keys and values of earlier calls; allowed: queries, keys, values and a mask")
    if set(attributes) - KNOWN:
        raise Unsupported(f"its attributes {sorted(set(attributes) - KNOWN)}; allowed: {', '.join(sorted(KNOWN))}")
    given = [_own(node, index) for index in range(3)]
    heads = int(attributes.get("q_num_heads", 0))
    together = bool(heads) and len(given[0].shape) + node.batching.skipped == 3
    if together:
        shared = int(attributes.get("kv_num_heads", 0)) or heads
        given = [_apart(construction, each, n) for each, n in zip(given, (heads, shared, shared), strict=True)]
    queries, keys, values = given
    scale = attributes.get("scale")
    scaled = _times(construction, queries, 1 / sqrt(queries.shape[-1]) if scale is None else float(scale))
    scores = _products(construction, scaled, turned(construction, keys))
    cap = float(attributes.get("softcap", 0.0))
    if cap:
        small = construction.alike(construction.with_constant("divide", scores, np.asarray(cap)), gnc.TanhLayer())
        scores = construction.with_constant("multiply", small, np.asarray(cap))
    shares = _shares(node, scores)
    if attributes.get("dropout", 0.0):
        shares = construction.alike(shares, gnc.DropoutLayer(float(attributes["dropout"])))
    found = _products(construction, shares, values)
    if not together:
        return found
    rank = found.rank
    side = construction.permuted(found, (*range(rank - 3), rank - 2, rank - 3, rank - 1))
    return construction.reshaped(side, (*side.shape[:-2], side.shape[-2] * side.shape[-1]))


def _own(node: Node, index: int) -> Operand:
    operand = node.operands[index] if node.has(index) else None
    if operand is None:
        raise Unsupported("queries, keys or values are missing; allowed: all three")
    if isinstance(operand, Value):
        return operand
    return node.own(operand, next(each for each in node.operands if isinstance(each, Value)))


def _apart(construction: Construction, operand: Operand, heads: int) -> Operand:
    """(…, positions, heads · features) → (…, heads, positions, features)."""
    *ahead, positions, features = operand.shape
    apart = _reshaped(construction, operand, (*ahead, positions, heads, features // heads))
    order = (*range(len(ahead)), len(ahead) + 1, len(ahead), len(ahead) + 2)
    return construction.permuted(apart, order) if isinstance(apart, Value) else apart.transpose(order)


def _times(construction: Construction, operand: Operand, factor: float) -> Operand:
    if factor == 1:
        return operand
    if isinstance(operand, Value):
        return construction.with_constant("multiply", operand, np.asarray(factor))
    return operand * np.asarray(factor, operand.dtype)


def _products(construction: Construction, first: Operand, second: Operand) -> Value:
    """The product head by head; several heads of the first may share one of the second."""
    heads, shared = (each.shape[-3] if len(each.shape) > 2 else 1 for each in (first, second))
    if heads == shared or 1 in (heads, shared):
        return multiplied(construction, first, second)
    if heads % shared or len(first.shape) != len(second.shape):
        raise Unsupported(f"{heads} heads of queries and {shared} of keys; allowed: a multiple of those of keys")
    ahead = first.shape[:-3]
    apart = _reshaped(construction, first, (*ahead, shared, heads // shared, *first.shape[-2:]))
    found = multiplied(construction, apart, _reshaped(construction, second, (*ahead, shared, 1, *second.shape[-2:])))
    return construction.reshaped(found, (*ahead, heads, *found.shape[-2:]))


def _reshaped(construction: Construction, operand: Operand, shape: tuple[int, ...]) -> Operand:
    return construction.reshaped(operand, shape) if isinstance(operand, Value) else operand.reshape(shape)


def _shares(node: Node, scores: Value) -> Value:
    """The softmax of scores where a mask, and the order of positions, allow; 0 where they allow nothing."""
    construction, added = node.construction, _of_positions(node, *scores.shape[-2:])
    mask = node.operands[MASK] if node.has(MASK) else None
    if isinstance(mask, Value):
        if not node.attributes.get("additive", 0):  # whether it is a condition, which is 1 and 0 here, is not known
            raise Unsupported("a mask that is computed; allowed: a constant, or MatMul, Add and Softmax in its place")
        if not np.any(added):
            return _shares_of_computed(node, scores, mask)
        scores = construction.joined([scores, mask], gnc.ElementwiseLayer("add", 2))
    elif mask is not None:
        known = _added(mask) if mask.dtype == bool else mask
        missing = scores.shape[-1] - known.shape[-1] if known.shape[-1] > 1 else 0
        if missing > 0:
            known = np.pad(known, [(0, 0)] * (known.ndim - 1) + [(0, missing)], constant_values=-np.inf)
        added = added + node.own(known, scores)
    if not np.any(added):
        return _softmax(construction, scores)
    nothing = np.broadcast_to(np.isneginf(added), (*added.shape[:-1], scores.shape[-1])).all(-1, keepdims=True)
    shares = _softmax(construction, construction.with_constant("add", scores, np.where(nothing, 0, added)))
    if not nothing.any():
        return shares
    return construction.with_constant("multiply", shares, np.where(nothing, 0.0, 1.0))


def _shares_of_computed(node: Node, scores: Value, mask: Value) -> Value:
    """The same where a computed mask is added; of queries that it allows nothing the softmax would be no number."""
    construction = node.construction
    finite = construction.with_constant("maximum", mask, np.asarray(np.finfo(np.float32).min))
    shares = _softmax(construction, construction.joined([scores, finite], gnc.ElementwiseLayer("add", 2)))
    most = reduced(node, mask, (mask.rank - 1,), "maximum")
    anything = construction.with_constant("greater", most, np.asarray(-np.inf))
    return construction.joined([shares, anything], gnc.ElementwiseLayer("multiply", 2))


def _of_positions(node: Node, rows: int, columns: int) -> NDArray[Any]:
    """What the order of positions allows: 0, else −∞."""
    query, key = np.arange(rows)[:, None], np.arange(columns)
    left, right = (int(node.attributes.get(f"{side}_window_size", -1)) for side in ("left", "right"))
    allowed = np.ones((rows, columns), bool)
    if node.attributes.get("is_causal", 0):
        allowed &= key <= query
    if left >= 0:
        allowed &= key >= query - left
    if right >= 0:
        allowed &= key <= query + right
    return _added(allowed)


def _added(allowed: NDArray[Any]) -> NDArray[Any]:
    """0 where a position may be seen, else −∞."""
    return np.where(allowed, 0.0, -np.inf).astype(np.float32)


def _softmax(construction: Construction, value: Value) -> Value:
    return construction.in_layout(value, tuple(range(value.rank)), lambda _: gnc.SoftmaxLayer())


OPERATORS: Mapping[str, Operator] = {
    "Attention": single(attention, "MatrixProduct, Softmax, Elementwise"),
}
