"""What goes along one axis: sums up to each place, the first maximum, products, elements at places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import Node
from gncodegen.exchange.operators.arithmetic import combined, with_constant
from gncodegen.exchange.operators.matrices import multiplied
from gncodegen.exchange.operators.pieces import taken
from gncodegen.exchange.operators.products import linear, mapped
from gncodegen.exchange.operators.reduction import reduced, reduced_axes, without
from gncodegen.exchange.operators.row import SOFTMAX, Operator, single


def cumulated(node: Node) -> Value:
    """Sums of the elements up to each place along one axis, of those from it on, or without its own."""
    value = node.value()
    axis = node.axis(int(node.constant(1).item()), value.rank)
    summed = np.tril(np.ones((value.shape[axis],) * 2), -1 if node.attributes.get("exclusive", 0) else 0)
    return mapped(node.construction, value, axis, summed.T if node.attributes.get("reverse", 0) else summed)


def first_maximum(node: Node, value: Value, axis: int, last: bool = False, left: Value | None = None) -> Value:
    """1 at the first maximum along one axis, or at the last, else 0; with `left`, 1 or 0, of the places where it is 1.

    What is not left must be −∞, which may be the maximum of what is.
    """
    most = reduced(node, value, (axis,), "maximum")
    there = node.construction.joined([value, most], gnc.ElementwiseLayer("equal"))
    there = there if left is None else combined(node, "multiply", [there, left])
    others = np.tril(np.ones((value.shape[axis],) * 2), -1)
    before = mapped(node.construction, there, axis, others.T if last else others)
    return combined(node, "multiply", [there, with_constant(node, "equal", before, np.zeros(()))])


def hardmax(node: Node) -> Value:
    """1 at the first maximum along one axis, else 0; before opset 13 along all axes from it on."""
    value, (given, onward) = node.value(), SOFTMAX.of(node)
    axis = node.axis(given, value.rank)
    if onward:
        value = node.construction.reshaped(value, (*value.shape[:axis], prod(value.shape[axis:])))
    return node.construction.reshaped(first_maximum(node, value, axis), node.value().shape)


def place_of_extreme(node: Node) -> Value:
    """Where along one axis the maximum or minimum is: Σ place · hardmax."""
    value, construction = node.value(), node.construction
    axis = node.axis(int(node.attributes.get("axis", 0)), value.rank)
    if node.step.operator == "ArgMin":
        value = construction.alike(value, gnc.UnaryLayer("negative"))
    found = place_of(node, first_maximum(node, value, axis, bool(node.attributes.get("select_last_index", 0))), axis)
    return found if node.attributes.get("keepdims", 1) else without(node, found, (axis,))


def place_of(node: Node, there: Value, axis: int) -> Value:
    """Where along one axis the only 1 is."""
    construction = node.construction
    places = np.arange(float(there.shape[axis])).reshape(-1, *(1,) * (there.rank - 1 - axis))
    found = reduced(node, construction.with_constant("multiply", there, places), (axis,), "sum")
    # The sum is a mean times a number, which rounds.
    return construction.alike(found, gnc.UnaryLayer("round"))


def product(node: Node) -> Value:
    """The product over axes, half by half."""
    value, construction = node.value(), node.construction
    axes = reduced_axes(node, value)
    if axes is None:
        return value
    kept = tuple(axis for axis in range(value.rank) if axis not in axes)
    extents = tuple(value.shape[axis] for axis in kept)
    count = prod(value.shape[axis] for axis in axes)
    factors = construction.reshaped(construction.permuted(value, (*axes, *kept)), (count, *extents))
    odd: list[Value] = []
    while count > 1:
        half = count // 2
        if count % 2:
            odd.append(taken(node, factors, 0, range(count - 1, count)))
        pair = [taken(node, factors, 0, range(start, start + half)) for start in (0, half)]
        factors, count = combined(node, "multiply", pair), half
    found = combined(node, "multiply", [factors, *odd])
    whole = tuple(1 if axis in axes else extent for axis, extent in enumerate(value.shape))
    return construction.reshaped(found, whole if node.attributes.get("keepdims", 1) else extents)


def gather(node: Node) -> Value:
    """The elements at places along one axis."""
    if isinstance(node.operands[1], Value):
        return _gathered(node, node.operands[1])
    value, places = node.value(), node.constant(1)
    axis = node.axis(int(node.attributes.get("axis", 0)), value.rank)
    extent = value.shape[axis]
    if not places.size or np.any(places >= extent) or np.any(places < -extent):
        raise Unsupported(f"places of shape {places.shape}; allowed: at least one, within the axis")
    indices = (places % extent).ravel().tolist()
    step = max(indices[1] - indices[0], 1) if len(indices) > 1 else 1
    progression = range(indices[0], indices[0] + len(indices) * step, step)
    if indices == list(progression):
        part = taken(node, value, axis, progression)
    else:
        part = mapped(node.construction, value, axis, np.eye(extent)[indices])
    if not places.ndim:
        return without(node, part, (axis,))
    return node.construction.reshaped(part, (*value.shape[:axis], *places.shape, *value.shape[axis + 1 :]))


def _chosen(node: Node, places: Value, extent: int) -> Value:
    """(…) → (…, extent): 1 at the place that an element names, counted from the end where it is negative, else 0."""
    raised = node.construction.reshaped(places, (*places.shape, 1))
    counted = node.construction.with_constant("modulo", raised, np.asarray(float(extent)))
    return node.construction.with_constant("equal", counted, np.arange(float(extent)))


def _gathered(node: Node, places: Value) -> Value:
    """The same with places that are computed: a product with rows that have a 1 each."""
    source, construction = node.operands[0], node.construction
    assert source is not None
    whole = len(source.shape)
    axis = int(node.attributes.get("axis", 0)) % max(whole, 1)
    if node.batching.batched and (isinstance(source, Value) or axis):
        raise Unsupported("computed places of a computed array; allowed: a constant and axis 0, GatherElements")
    around = (*source.shape[:axis], *source.shape[axis + 1 :])
    order = (axis, *(other for other in range(whole) if other != axis))
    chosen = _chosen(node, construction.reshaped(places, (prod(places.shape),)), source.shape[axis])
    if isinstance(source, Value):
        rows = construction.reshaped(construction.permuted(source, order), (source.shape[axis], prod(around)))
        found = multiplied(construction, chosen, rows)
    else:
        found = linear(node, chosen, source.transpose(order).reshape(source.shape[axis], -1).T, None)
    apart = construction.reshaped(found, (*places.shape, *around))
    front = range(places.rank, places.rank + axis)
    back = range(places.rank + axis, places.rank + len(around))
    return construction.permuted(apart, (*front, *range(places.rank), *back))


def gather_elements(node: Node) -> Value:
    """For each place along one axis the element of the same line that it names."""
    source, places = node.operands[:2]
    value, construction = next(each for each in (source, places) if isinstance(each, Value)), node.construction
    axis, order = node.axis(int(node.attributes.get("axis", 0)), value.rank), list(range(value.rank))
    source, places = (node.own(each, value) if isinstance(each, np.ndarray) else each for each in (source, places))
    assert source is not None
    assert places is not None
    if _without_axis(source.shape, axis) != _without_axis(places.shape, axis):
        raise Unsupported(f"places {tuple(places.shape)} of an array {tuple(source.shape)}; allowed: as many lines")
    order.append(order.pop(axis))
    lines = construction.permuted(source, tuple(order)) if isinstance(source, Value) else source.transpose(order)
    extent = lines.shape[-1]
    if isinstance(places, Value):
        chosen = _chosen(node, construction.permuted(places, tuple(order)), extent)
    else:
        chosen = np.eye(extent)[places.transpose(order) % extent]
    column = (*lines.shape, 1)
    lines = construction.reshaped(lines, column) if isinstance(lines, Value) else lines.reshape(column)
    found = multiplied(construction, chosen, lines)
    back = construction.reshaped(found, found.shape[:-1])
    return construction.permuted(back, tuple(order.index(own) for own in range(value.rank)))


def _without_axis(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


OPERATORS: Mapping[str, Operator] = {
    "CumSum": single(cumulated, "Convolution with a window of 1"),
    "Hardmax": single(hardmax, "GlobalMaxPooling, Elementwise, Convolution with a window of 1", SOFTMAX),
    **{
        f"Arg{name}": single(place_of_extreme, "as Hardmax, then GlobalAveragePooling, Elementwise, Unary(round)")
        for name in ("Max", "Min")
    },
    "ReduceProd": single(product, "Crop, Multiplication"),
    "Gather": single(gather, "Crop, or Convolution with a window of 1; with Elementwise where places are computed"),
    "GatherElements": single(gather_elements, "Elementwise, MatrixProduct"),
}
