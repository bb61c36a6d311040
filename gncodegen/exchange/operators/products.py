"""Matrix products, most with a constant."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gncodegen as gnc
from gncodegen.exchange.construction import Construction, Unsupported, Value, last
from gncodegen.exchange.node import Node
from gncodegen.exchange.operators.matrices import contracted, multiplied, product_of_arrays
from gncodegen.exchange.operators.row import Operator, single


def linear(node: Node, value: Value, weights: NDArray[Any], bias: NDArray[Any] | None) -> Value:
    """Y = x · weightsᵀ + bias along the last axis; weights (outputs, inputs)."""
    outputs, inputs = weights.shape
    if not value.rank or value.shape[-1] != inputs:
        raise Unsupported(f"weights for {inputs} inputs with an array {value.shape}; allowed: as many as its last axis")
    given = np.zeros(outputs, weights.dtype) if bias is None else np.broadcast_to(np.ravel(bias), (outputs,))
    frozen: dict[str, Any] = {"bias_learn_rate_factor": 0.0} if bias is None else {}
    construction, identity = node.construction, tuple(range(value.rank))
    if value.rank == 1:
        layer = gnc.FullyConnectedLayer(outputs, weights=weights, bias=given, **frozen)
        return construction.in_layout(value, identity, lambda _: layer)
    # Position by position it is a convolution with a window of 1.
    flat = construction.reshaped(value, (int(np.prod(value.shape[:-1], dtype=np.int64)), 1, inputs))
    layer = gnc.Convolution2dLayer(1, outputs, weights=weights.T[None, None], bias=given, **frozen)
    product = construction.in_layout(flat, (0, 1, 2), lambda _: layer)
    return construction.reshaped(product, (*value.shape[:-1], outputs))


def mapped(construction: Construction, value: Value, axis: int, matrix: NDArray[Any], learned: bool = False) -> Value:
    """Y = matrix · x along one axis, with a matrix (outputs, inputs) that is not learned unless `learned`."""
    layout = last(axis, value.rank)
    frozen: dict[str, Any] = {"bias_learn_rate_factor": 0.0}
    frozen |= {} if learned else {"weight_learn_rate_factor": 0.0}
    outputs, inputs = matrix.shape
    extents = tuple(value.shape[own] for own in layout)
    rows = construction.add(gnc.ReshapeLayer((prod(extents[:-1]), 1, inputs)), construction.stored(value, layout))
    layer = gnc.Convolution2dLayer(1, outputs, weights=matrix.T[None, None], bias=np.zeros(outputs), **frozen)
    back = construction.add(gnc.ReshapeLayer((*extents[:-1], outputs)), construction.add(layer, rows))
    return Value((*value.shape[:axis], outputs, *value.shape[axis + 1 :]), {layout: back})


def gemm(node: Node) -> Value:
    """Alpha · x · w + beta · c, along the last axis where there are more than two."""
    if isinstance(node.operands[1], Value) or not isinstance(node.operands[0], Value):
        return _gemm_of_arrays(node)
    value, weights = node.value(), node.constant_of_rank(1, 2)
    if node.attributes.get("transA", 0):
        if node.batching.batched:
            raise Unsupported("transA = 1, which moves the axis of observations; allowed: 0")
        value = node.construction.permuted(value, (1, 0))
    weights = weights if node.attributes.get("transB", 0) else weights.T
    weights = weights * np.asarray(node.attributes.get("alpha", 1.0), weights.dtype)
    bias = None
    if node.has(2):
        bias = node.constant(2) * np.asarray(node.attributes.get("beta", 1.0), weights.dtype)
    if bias is None or (bias.size in (1, len(weights)) and bias.shape[:-1] in ((), (1,))):
        return linear(node, value, weights, bias)
    return node.construction.with_constant("add", linear(node, value, weights, None), node.own(bias, value))


def _gemm_of_arrays(node: Node) -> Value:
    """The same of two arrays, or with the constant in front; matrices of one observation."""
    if node.batching.batched:
        raise Unsupported("a product that mixes observations; allowed: MatMul of matrices in each of them")
    factors = [node.operands[place] for place in range(2)]
    for place, name in enumerate(("transA", "transB")):
        operand = factors[place]
        if node.attributes.get(name, 0) and operand is not None:
            factors[place] = node.construction.permuted(operand, (1, 0)) if isinstance(operand, Value) else operand.T
    assert factors[0] is not None
    assert factors[1] is not None
    found = multiplied(node.construction, factors[0], factors[1])
    alpha, beta = (float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    if alpha != 1:
        found = node.construction.with_constant("multiply", found, np.asarray(alpha))
    added = node.operands[2] if node.has(2) else None
    if isinstance(added, Value):
        scaled = added if beta == 1 else node.construction.with_constant("multiply", added, np.asarray(beta))
        return node.construction.joined([found, scaled], gnc.ElementwiseLayer("add", 2))
    return (
        found if added is None else node.construction.with_constant("add", found, added * np.asarray(beta, added.dtype))
    )


def matmul(node: Node) -> Value:
    """X · w, or w · x, with a constant matrix; else the product of two arrays."""
    first, second = node.operands
    if isinstance(first, Value) and isinstance(second, np.ndarray) and second.ndim == 2:
        return linear(node, first, second.T, None)
    if not (isinstance(first, np.ndarray) and first.ndim == 2) or node.value(1).rank < 1 + (not node.batching.batched):
        return product_of_arrays(node)
    value, weights = node.value(1), node.constant_of_rank(0, 2)
    axis = node.axis(-2, value.rank)
    if value.shape[axis] != weights.shape[1]:
        raise Unsupported(f"weights {weights.shape} and an array {value.shape}; allowed: axes that agree")
    return mapped(node.construction, value, axis, weights, learned=True)


def einsum(node: Node) -> Value:
    """A sum of products, as Einstein writes it: of one array, or of two, of which one may be a constant."""
    equation = node.attributes["equation"]
    equation = (equation.decode() if isinstance(equation, bytes) else equation).replace(" ", "")
    given, arrow, wanted = equation.partition("->")
    terms = given.split(",")
    texts = [*terms, wanted]
    if not arrow or "." in equation or any(len(set(text)) < len(text) for text in texts) or len(terms) > 2:
        raise Unsupported(f"equation = {equation!r}; allowed: one or two terms of distinct letters, and ->")
    arrays = sum(isinstance(operand, Value) for operand in node.operands)
    if arrays == 2 or (len(terms) == 2 and {*terms[0]} & {*terms[1]} & {*wanted}):
        return contracted(node, equation, terms, wanted)
    place = next(index for index, operand in enumerate(node.operands) if isinstance(operand, Value))
    value, letters, skipped = node.value(place), terms[place], node.batching.skipped
    if len(letters) != value.rank + skipped or letters[:skipped] != wanted[:skipped]:
        raise Unsupported(f"equation = {equation!r}; allowed: a letter per axis, that of observations first and kept")
    if len(terms) == 1:
        constant, others = np.ones(()), ""
    else:
        constant, others = node.constant(1 - place), terms[1 - place]
    own, result = letters[skipped:], wanted[skipped:]
    summed = [letter for letter in own if letter in others]
    new, kept = ([letter for letter in result if (letter in others) == there] for there in (True, False))
    if (
        set(summed) & set(wanted)
        or {*kept, *summed} != {*own}
        or {*new, *summed} != {*others}
        or constant.ndim != len(others)
    ):
        raise Unsupported(f"equation = {equation!r}; allowed: what both terms have is summed, and all else is kept")
    if others and not summed:
        raise Unsupported(f"equation = {equation!r}; allowed: at least one axis that both terms have")
    moved = node.construction.permuted(value, tuple(own.index(letter) for letter in (*kept, *summed)))
    if others:
        weights = constant.transpose([others.index(letter) for letter in (*new, *summed)])
        extents = (moved.shape[: len(kept)], weights.shape[: len(new)])
        weights = weights.reshape(prod(extents[1]), -1)
        if weights.shape[1] != prod(moved.shape[len(kept) :]):
            raise Unsupported(
                f"a constant of shape {constant.shape} and an array {value.shape}; allowed: axes that agree"
            )
        flat = node.construction.reshaped(moved, (*extents[0], weights.shape[1]))
        moved = node.construction.reshaped(linear(node, flat, weights, None), (*extents[0], *extents[1]))
    order = [*kept, *new]
    return node.construction.permuted(moved, tuple(order.index(letter) for letter in result))


OPERATORS: Mapping[str, Operator] = {
    "Gemm": single(gemm, "FullyConnected; MatrixProduct"),
    "Einsum": single(einsum, "FullyConnected, or Convolution with a window of 1; MatrixProduct"),
    "MatMul": single(matmul, "FullyConnected, or Convolution with a window of 1; MatrixProduct of two arrays"),
}
