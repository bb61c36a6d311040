"""Products of two arrays, both computed, or one a constant that is no single matrix."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

import gncodegen as gnc
from gncodegen.exchange.construction import Construction, Unsupported, Value, broadcast_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gncodegen.exchange.node import Node, Operand


def multiplied(construction: Construction, first: Operand, second: Operand) -> Value:
    """First · second over their last two axes, each as of one observation; axes ahead repeat.

    Args:
        construction: where the layer is added.
        first: of at least two axes.
        second: as well; at least one of them is computed.

    Raises:
        Unsupported: they do not fit.
    """
    if not isinstance(second, Value):
        assert isinstance(first, Value)
        return _by_constant(construction, first, second)
    if not isinstance(first, Value):  # c · x = (xᵀ · cᵀ)ᵀ
        found = _by_constant(construction, _value_turned(construction, second), np.swapaxes(first, -1, -2))
        return _value_turned(construction, found)
    rank = max(first.rank, second.rank)
    pair = [construction.raised(value, rank) for value in (first, second)]
    shape = _shape(pair[0].shape, pair[1].shape)
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    # A matrix that lies the other way round is read that way.
    others = [swapped in value.places and tuple(range(rank)) not in value.places for value in pair]
    sources = [
        construction.stored(value, swapped if other else tuple(range(rank)))
        for value, other in zip(pair, others, strict=True)
    ]
    added = construction.add(gnc.MatrixProductLayer(others[0], others[1]), *sources)
    return Value(shape, {tuple(range(rank)): added})


def _by_constant(
    construction: Construction, value: Value, constant: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> Value:
    raised = construction.raised(value, max(value.rank, constant.ndim))
    shape = _shape(raised.shape, constant.shape)
    layer = gnc.MatrixProductLayer(constant=constant)
    identity = tuple(range(raised.rank))
    return Value(shape, {identity: construction.add(layer, construction.stored(raised, identity))})


def turned(construction: Construction, operand: Operand) -> Operand:
    """With its last two axes the other way round."""
    return _value_turned(construction, operand) if isinstance(operand, Value) else np.swapaxes(operand, -1, -2)


def _value_turned(construction: Construction, value: Value) -> Value:
    return construction.permuted(value, (*range(value.rank - 2), value.rank - 1, value.rank - 2))


def _shape(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    if min(len(first), len(second)) < 2 or first[-1] != second[-2]:
        given = f"arrays of shapes {tuple(first)} and {tuple(second)} (one observation)"
        raise Unsupported(f"a product of {given}; allowed: matrices, as many columns as rows")
    return (*broadcast_shape([tuple(first[:-2]), tuple(second[:-2])]), first[-2], second[-1])


def product_of_arrays(node: Node) -> Value:
    """The product as NumPy's matmul has it; the axis of observations is no row and no column."""
    construction = node.construction
    first, second = _pair(node)
    both = [each for each in (first, second) if isinstance(each, Value)]
    if node.batching.batched:
        if len(both) == 2 and both[0].rank != both[1].rank:
            raise Unsupported("arrays of different numbers of axes; allowed: as many axes, or constants")
        if min(value.rank for value in both) < 2:
            raise Unsupported(
                "a product that mixes observations; allowed: matrices in each of them, (N, …, rows, columns)"
            )
        return multiplied(construction, first, second)
    # A vector is a row on the left, a column on the right, and is none in the result.
    ranks = [_rank(first), _rank(second)]
    matrices = [
        _reshaped(construction, each, (1, *_extents(each))[:: 1 if left else -1]) if rank == 1 else each
        for each, rank, left in zip((first, second), ranks, (True, False), strict=True)
    ]
    found = multiplied(construction, matrices[0], matrices[1])
    dropped = {found.rank - 2} if ranks[0] == 1 else set[int]()
    dropped |= {found.rank - 1} if ranks[1] == 1 else set()
    return construction.reshaped(found, tuple(n for axis, n in enumerate(found.shape) if axis not in dropped))


def _pair(node: Node) -> tuple[Operand, Operand]:
    """Both operands as of one observation."""
    value = next(each for each in node.operands if isinstance(each, Value))
    own = [node.own(each, value) if isinstance(each, np.ndarray) else each for each in node.operands]
    if len(own) < 2 or own[0] is None or own[1] is None:
        raise Unsupported("an operand is missing; allowed: two")
    return own[0], own[1]


def _rank(operand: Operand) -> int:
    return operand.rank if isinstance(operand, Value) else operand.ndim


def _extents(operand: Operand) -> tuple[int, ...]:
    return tuple(operand.shape)


def _reshaped(construction: Construction, operand: Operand, shape: tuple[int, ...]) -> Operand:
    return construction.reshaped(operand, shape) if isinstance(operand, Value) else operand.reshape(shape)


def contracted(node: Node, equation: str, terms: Sequence[str], wanted: str) -> Value:
    """A sum of products of two arrays, as Einstein writes it: one product of matrices.

    Args:
        node: with two operands.
        equation: for messages.
        terms: the letters of each operand.
        wanted: those of the result.

    Raises:
        Unsupported: a letter stands in one term alone and not in the result, or observations would be mixed.
    """
    construction, skipped = node.construction, node.batching.skipped
    pair = _pair(node)
    own: list[str] = []
    for operand, letters in zip(pair, terms, strict=True):
        cut = len(letters) - _rank(operand)
        observed = letters[:cut] == wanted[:skipped] if cut else not isinstance(operand, Value) or not skipped
        if not observed or cut not in (0, skipped):
            raise Unsupported(f"equation = {equation!r}; allowed: the letter of observations first, and kept")
        own.append(letters[cut:])
    first, second, result = *own, wanted[skipped:]
    both = [letter for letter in first if letter in second]
    ahead, summed = ([c for c in both if (c in result) == kept] for kept in (True, False))
    rows, columns = ([c for c in letters if c not in both] for letters in (first, second))
    if {*ahead, *rows, *columns} != {*result} or (skipped and wanted[0] in "".join(own)):
        raise Unsupported(f"equation = {equation!r}; allowed: letters of the result, or of both terms")
    extent = {
        c: n
        for operand, letters in zip(pair, own, strict=True)
        for c, n in zip(letters, _extents(operand), strict=True)
    }
    orders = ((first, (ahead, rows, summed)), (second, (ahead, summed, columns)))
    matrices: list[Operand] = []
    for operand, (letters, groups) in zip(pair, orders, strict=True):
        order = tuple(letters.index(c) for group in groups for c in group)
        shape = (*(extent[c] for c in groups[0]), *(prod(extent[c] for c in group) for group in groups[1:]))
        turned = construction.permuted(operand, order) if isinstance(operand, Value) else operand.transpose(order)
        matrices.append(_reshaped(construction, turned, shape))
    letters = [*ahead, *rows, *columns]
    found = construction.reshaped(multiplied(construction, *matrices), tuple(extent[c] for c in letters))
    return construction.permuted(found, tuple(letters.index(c) for c in result))
