"""Arrays in which observations are not the first axis, or are one axis with others, as attention is often written.

Such an array is kept as a value, whose observations are in front, and the places of its axes in what the source sees.
Steps over it are done on the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.exchange.construction import Construction, Unsupported, Value, broadcast_shape
from gncodegen.exchange.node import MANY, Node, Operand
from gncodegen.exchange.operators import OPERATORS, arithmetic, elementwise, logic
from gncodegen.exchange.operators.movement import RESHAPES

OBSERVATIONS = -1
"""What stands for the axis of observations."""

Groups = tuple[tuple[int, ...], ...]
"""For each axis of the source's array the own axes that it is made of, in order."""


@dataclass(frozen=True)
class Displaced:
    """An array whose first axis is not that of observations alone.

    Args:
        value: the array; its own axes are numbered as they stand in `groups`.
        groups: what the axes are made of that the source sees.
    """

    value: Value
    groups: Groups

    @property
    def extents(self) -> tuple[tuple[int, ...], ...]:
        """Those of each axis' parts, `MANY` for the observations."""
        return tuple(
            tuple(MANY if own == OBSERVATIONS else self.value.shape[own] for own in group) for group in self.groups
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """As the source sees it."""
        return tuple(map(prod, self.extents))


Found = Operand | Displaced


def displaced(node: Node, operands: Sequence[Found | None]) -> Sequence[Found]:
    """The results of a step over such arrays, or that makes one.

    Args:
        node: the step.
        operands: its operands, in the place of the node's.

    Raises:
        Unsupported: it would mix observations.
    """
    step = node.step
    if step.operator in MOVEMENTS:
        operand = operands[0]
        array = operand if isinstance(operand, Displaced) else _standard(node.value())
        return [MOVEMENTS[step.operator](node, array)]
    first = next((each for each in operands if isinstance(each, Displaced)), None)
    if first is None or step.operator not in STEPS:
        given = f"observations in axis {_place(first)} of {step.operator}" if first else "it mixes observations"
        raise Unsupported(f"{given}; allowed: the first axis; transpose it back before")
    return STEPS[step.operator](node, operands, first)


def _place(array: Displaced) -> int:
    return next(axis for axis, group in enumerate(array.groups) if OBSERVATIONS in group)


def _standard(value: Value) -> Displaced:
    return Displaced(value, ((OBSERVATIONS,), *((axis,) for axis in range(value.rank))))


def _placed(construction: Construction, value: Value, groups: Groups) -> Found:
    """The array whose axes are made of these of a value: a value where observations are in front."""
    order = [own for group in groups for own in group if own != OBSERVATIONS]
    if order != list(range(value.rank)):
        value = construction.permuted(value, tuple(order))
    names = {own: place for place, own in enumerate(order)} | {OBSERVATIONS: OBSERVATIONS}
    named = tuple(tuple(names[own] for own in group) for group in groups)
    return value if named == _standard(value).groups else Displaced(value, named)


def _transposed(node: Node, array: Displaced) -> Found:
    order = node.attributes.get("perm", range(len(array.groups))[::-1])
    return _placed(node.construction, array.value, tuple(array.groups[axis] for axis in order))


def _reshaped(node: Node, array: Displaced) -> Found:
    """The same elements in another shape: parts of axes are split and joined, in order."""
    target = RESHAPES[node.step.operator](node, array.shape)
    total, known = prod(array.shape), prod(extent for extent in target if extent != -1)
    target = [total // max(known, 1) if extent == -1 else extent for extent in target]
    parts = _runs(array)
    refusal = Unsupported(f"it reshapes {array.shape} to {tuple(target)}, {MANY} observations, which mixes them")
    groups: list[tuple[int, ...]] = []
    own: list[int] = []
    for extent in target:
        group: list[int] = []
        left = extent
        while left > 1:
            part = parts.pop(0) if parts else 0
            if part and left % part == 0:
                left //= part
            elif part and part != MANY and part % left == 0:
                parts.insert(0, part // left)
                part, left = left, 1
            else:
                raise refusal
            if part == MANY:
                group.append(OBSERVATIONS)
            else:
                group.append(len(own))
                own.append(part)
        if not group:
            group.append(len(own))
            own.append(1)
        groups.append(tuple(group))
    if parts:
        raise refusal
    return _placed(node.construction, node.construction.reshaped(array.value, tuple(own)), tuple(groups))


def _runs(array: Displaced) -> list[int]:
    """The extents of its parts, those side by side as one; `MANY` for the observations."""
    found: list[int] = []
    for extent in (extent for group in array.extents for extent in group if extent != 1):
        if MANY in (extent, *found[-1:]) or not found:
            found.append(extent)
        else:
            found[-1] *= extent
    return found


MOVEMENTS: Mapping[str, Callable[[Node, Displaced], Found]] = {
    "Transpose": _transposed,
    **dict.fromkeys(RESHAPES, _reshaped),
}
"""Operators that put observations elsewhere, or back."""


def _refitted(node: Node, operand: Found | None, pattern: Displaced) -> Operand | None:
    """An operand as a value whose axes stand in those of the pattern, or repeat along them."""
    if operand is None:
        return None
    if isinstance(operand, Value):
        raise Unsupported("observations in different axes of its arrays; allowed: the same axis in all of them")
    if isinstance(operand, np.ndarray):
        shape = (1,) * (len(pattern.groups) - operand.ndim) + operand.shape
        if len(shape) > len(pattern.groups):
            raise Unsupported(f"a constant of shape {operand.shape}; allowed: as many axes as the array has")
        return operand.reshape(_parts(shape, pattern))
    if len(operand.groups) != len(pattern.groups):
        raise Unsupported("arrays of different numbers of axes; allowed: as many axes, or constants")
    if _place(operand) != _place(pattern):
        raise Unsupported("observations in different axes of its arrays; allowed: the same axis in all of them")
    shape = tuple(n // MANY if n % MANY == 0 else n for n in operand.shape)
    return node.construction.reshaped(operand.value, _parts(shape, pattern))


def _parts(shape: Sequence[int], pattern: Displaced) -> tuple[int, ...]:
    """Extents of own axes that repeat to the pattern's, of an array of this shape without observations."""
    found: list[int] = []
    for extent, group, parts in zip(shape, pattern.groups, pattern.extents, strict=True):
        own = [part for part, axis in zip(parts, group, strict=True) if axis != OBSERVATIONS]
        if extent == prod(own):
            found += own
        elif len(own) == 1 or extent == 1:
            found += [extent, *(1 for _ in own[1:])] if own else []
        else:
            raise Unsupported(f"axes of {extent} and of {prod(own)} elements; allowed: equal ones, or 1")
    return tuple(found)


def _run(node: Node, operands: Sequence[Operand | None], groups: Groups, **attributes: Any) -> list[Found]:
    """The step on values; its results have these axes."""
    changed = replace(node.step, attributes={**node.attributes, **attributes})
    results = OPERATORS[node.step.operator].convert(replace(node, step=changed, operands=tuple(operands)))
    return [_placed(node.construction, each, groups) if isinstance(each, Value) else each for each in results]


def _axis(array: Displaced, axis: int) -> int:
    """The axis of the value's array, observations in front, for one that the source says."""
    group = array.groups[axis % len(array.groups)]
    if len(group) != 1 or group[0] == OBSERVATIONS:
        raise Unsupported(f"it works along axis {axis}, which holds observations; allowed: any other axis")
    return group[0] + 1


def _dropped(groups: Groups, axes: Sequence[int]) -> Groups:
    """Without some axes, each of which is one own axis."""
    gone = sorted(groups[axis][0] for axis in axes)
    kept = (group for axis, group in enumerate(groups) if axis not in axes)
    return tuple(tuple(own - sum(other < own for other in gone) for own in group) for group in kept)


def _alike(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """Element by element, axes repeating."""
    arrays = [each for each in operands if isinstance(each, Displaced)]
    pattern = max(arrays, key=lambda array: (len(array.value.shape), prod(array.value.shape)))
    return _run(node, [_refitted(node, each, pattern) for each in operands], pattern.groups)


def _expanded(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """Repeated along axes of extent 1."""
    (constant,) = _constants(operands[1:])
    assert constant is not None
    target = [int(n) for n in constant.ravel()]
    wanted = [1] * (len(first.groups) - len(target)) + target
    if len(wanted) > len(first.groups):
        raise Unsupported(f"it expands to {len(wanted)} axes; allowed: as many as the array has, {len(first.groups)}")
    broadcast_shape([first.shape, tuple(wanted)])
    wide = [axis for axis, (want, extent) in enumerate(zip(wanted, first.shape, strict=True)) if extent == 1 != want]
    if not wide:
        return [first]
    ones = [1] * first.value.rank
    for axis in wide:
        ones[first.groups[axis][0]] = wanted[axis]
    found = node.construction.with_constant("multiply", first.value, np.ones(ones))
    return [_placed(node.construction, found, first.groups)]


def _along(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """Along one axis, or along all from it on."""
    along = OPERATORS[node.step.operator].along
    assert along is not None
    given, onward = along.of(node)
    for behind in range(given % len(first.groups), len(first.groups)) if onward else ():
        _axis(first, behind)
    axis = _axis(first, given)
    return _run(node, [first.value, *_constants(operands[1:])], first.groups, axis=axis)


def _constants(operands: Sequence[Found | None]) -> list[NDArray[Any] | None]:
    found: list[NDArray[Any] | None] = []
    for each in operands:
        if isinstance(each, (Value, Displaced)):
            raise Unsupported("an operand is computed; allowed: a constant, where observations are not the first axis")
        found.append(each)
    return found


def _product(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """Of two such arrays, or of one and a constant."""
    left, right = operands[:2]
    if isinstance(left, Displaced) and isinstance(right, np.ndarray) and right.ndim == 2:
        _axis(left, -1)
        return _run(node, [left.value, *_constants(operands[1:])], left.groups)
    _axis(first, -1)
    _axis(first, -2)
    ahead = Displaced(first.value, first.groups[:-2])
    pair = [_matrices(each, ahead) for each in (left, right)]
    return _run(node, pair, first.groups)


def _matrices(operand: Found | None, ahead: Displaced) -> Operand:
    """A factor whose axes ahead of its matrices are those."""
    if isinstance(operand, Displaced) and Displaced(operand.value, operand.groups[:-2]).extents == ahead.extents:
        return operand.value
    if isinstance(operand, np.ndarray) and operand.ndim == len(ahead.groups) + 2:
        return operand.reshape(*_parts(operand.shape[:-2], ahead), *operand.shape[-2:])
    raise Unsupported("arrays whose axes ahead of matrices differ; allowed: the same axes, in the same order")


def _parted(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """Parts along one axis."""
    axis = int(node.attributes.get("axis", 0))
    constants = _constants(operands[1:])
    index = constants[0] if constants else None
    groups = first.groups
    if node.step.operator == "Gather" and index is not None and not index.ndim:
        groups = _dropped(groups, [axis % len(groups)])
    return _run(node, [first.value, *constants], groups, axis=_axis(first, axis))


def _gathered(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """Parts along one axis; or the rows of a table at such places."""
    table = operands[0]
    if not isinstance(table, np.ndarray):
        return _parted(node, operands, first)
    if int(node.attributes.get("axis", 0)):
        raise Unsupported("computed places along another axis of a constant than the first; allowed: the first")
    behind = ((first.value.rank + place,) for place in range(table.ndim - 1))
    return _run(node, [table, first.value], (*first.groups, *behind))


def _extreme(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """Where the largest or least stands along one axis."""
    axis = int(node.attributes.get("axis", 0)) % len(first.groups)
    groups = first.groups if node.attributes.get("keepdims", 1) else _dropped(first.groups, [axis])
    return _run(node, [first.value], groups, axis=_axis(first, axis))


def _sliced(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """Parts along several axes."""
    _constants(operands[1:])
    starts, ends, axes, steps = (node.integers(place, "") or () for place in range(1, 5))
    axes = axes or tuple(range(len(starts)))
    bounds = [
        (start, end, _axis(first, axis), step)
        for start, end, axis, step in zip(starts, ends, axes, steps or (1,) * len(axes), strict=True)
        if (start, step) != (0, 1) or end < first.shape[axis]
    ]
    if not bounds:
        return [first]
    given = [np.array(column, np.int64) for column in zip(*bounds, strict=True)]
    return _run(node, [first.value, *given], first.groups)


def _attended(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """Attention of heads that have an axis of their own, with a constant mask."""
    arrays = [each for each in operands[:3] if isinstance(each, Displaced)]
    apart = len(arrays) == 3 and len({each.extents[0] for each in arrays}) == 1
    if (
        not apart
        or node.attributes.get("q_num_heads", 0)
        or _place(first)
        or len({len(each.groups) for each in arrays}) > 1
    ):
        raise Unsupported(
            "observations in different axes of its arrays; allowed: the same axis, heads in one of their own"
        )
    return _run(node, [*(each.value for each in arrays), *_constants(operands[3:])], first.groups)


def _joined(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """One after another along one axis."""
    axis = int(node.attributes.get("axis", 0)) % len(first.groups)
    arrays = [each for each in operands if isinstance(each, Displaced) and each.groups == first.groups]
    if len(arrays) < len(operands):
        raise Unsupported("arrays whose observations lie elsewhere, or constants; allowed: arrays alike")
    return _run(node, [each.value for each in arrays], first.groups, axis=_axis(first, axis))


def _per_channel(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """With numbers for each element of axis 1, over all others."""
    channels = _axis(first, 1) - 1
    order = (channels, *(own for own in range(first.value.rank) if own != channels))
    value = node.construction.permuted(first.value, order)
    groups = tuple(tuple(own if own == OBSERVATIONS else order.index(own) for own in group) for group in first.groups)
    return _run(node, [value, *_constants(operands[1:])], groups)


def _reduced(node: Node, operands: Sequence[Found | None], first: Displaced) -> list[Found]:
    """Over axes."""
    given = node.integers(1, "axes")
    if not given:
        raise Unsupported("it reduces over all axes, that of observations too; allowed: any other axes")
    axes = [axis % len(first.groups) for axis in given]
    mapped = [_axis(first, axis) for axis in axes]
    groups = first.groups if node.attributes.get("keepdims", 1) else _dropped(first.groups, axes)
    return _run(node, [first.value], groups, axes=mapped)


Run = Callable[[Node, Sequence[Found | None], Displaced], "list[Found]"]

_NOT_ALIKE = frozenset({"PRelu", "Expand", "Trilu"})
STEPS: Mapping[str, Run] = {
    **{
        name: _alike
        for table in (elementwise.OPERATORS, arithmetic.OPERATORS, logic.OPERATORS)
        for name in table
        if name not in _NOT_ALIKE
    },
    **{name: _along for name, row in OPERATORS.items() if row.along},
    **dict.fromkeys(("MatMul", "Gemm"), _product),
    "Split": _parted,
    "Gather": _gathered,
    **dict.fromkeys(("ArgMax", "ArgMin"), _extreme),
    "Slice": _sliced,
    "Concat": _joined,
    "BatchNormalization": _per_channel,
    "Expand": _expanded,
    "Attention": _attended,
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd"), _reduced
    ),
}
"""Operators that are computed where observations are not the first axis."""
