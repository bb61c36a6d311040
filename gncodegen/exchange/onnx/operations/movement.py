"""What moves elements, and matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod

import numpy as np

from gncodegen.exchange.construction import Unsupported
from gncodegen.exchange.onnx.emission import Array, channel_first, identity
from gncodegen.exchange.onnx.operations.row import LayerRow, Row, Step
from gncodegen.exchange.onnx.operations.windows import has_bias
from gncodegen.layers.base import Layer
from gncodegen.layers.movement import DepthToSpaceLayer, SpaceToDepthLayer

PAD_MODES = {"constant": "constant", "symmetric-exclude-edge": "reflect", "replicate": "edge"}


def _shaped(step: Step, shape: Sequence[int], suffix: str = "") -> str:
    """The array in another shape, from any tensor that has its elements in the layer's own order."""
    array = step.array
    # Axes of extent 1 may stand anywhere.
    flat = [axis for axis in range(array.rank) if array.shape[axis] != 1]
    alike = (order for order in array.tensors if [axis for axis in order if array.shape[axis] != 1] == flat)
    tensor = step.stored(next(alike, identity(array.rank)))
    target = step.constant("shape", [0, *shape])
    return step.helping(suffix, "Reshape", tensor, target) if suffix else step.emit("Reshape", tensor, target)


def reshape(step: Step) -> Array:
    """To the layer's size, or to that of a step between."""
    shape = tuple(step.attribute("shape", step.node.size.shape))
    return Array(shape, {identity(len(shape)): _shaped(step, shape)})


def transpose(step: Step) -> Array:
    """Other names for the axes; no node."""
    places = [axis - 1 for axis in step.attribute("permutation")[1:]]
    tensors = {tuple(places.index(axis) for axis in order): name for order, name in step.array.tensors.items()}
    return Array(tuple(step.array.shape[axis] for axis in places), tensors)


def slice_(step: Step) -> Array:
    """Neighbouring elements of one axis."""
    order, own = step.array.order, step.attribute("axis") - 1
    start, length = step.attribute("start"), step.attribute("length")
    numbers = {"starts": start, "ends": start + length, "axes": order.index(own) + 1}
    names = [step.constant(name, [number]) for name, number in numbers.items()]
    shape = tuple(length if axis == own else extent for axis, extent in enumerate(step.array.shape))
    return Array(shape, {order: step.emit("Slice", step.stored(order), *names)})


def pad(step: Step) -> Array:
    """More positions at the ends of axes."""
    mode, sides, order = step.attribute("mode"), step.attribute("padding"), step.array.order
    if mode not in PAD_MODES:
        raise Unsupported(f"padding of mode {mode!r}; allowed: {', '.join(PAD_MODES)}")
    first = step.array.rank - 1 - len(sides) // 2
    pairs = {first + axis: (sides[2 * axis], sides[2 * axis + 1]) for axis in range(len(sides) // 2)}
    ends = [[0, *(pairs.get(axis, (0, 0))[side] for axis in order)] for side in range(2)]
    inputs = [step.stored(order), step.constant("pads", [*ends[0], *ends[1]])]
    if mode == "constant":
        inputs.append(step.constant("value", float(step.attribute("value"))))
    shape = tuple(extent + sum(pairs.get(axis, (0, 0))) for axis, extent in enumerate(step.array.shape))
    return Array(shape, {order: step.emit("Pad", *inputs, mode=PAD_MODES[mode])})


def sparse_product(step: Step) -> Array:
    """MatMul by the whole matrix, on the axis that it then has as its last one."""
    axis, rank = step.attribute("axis") - 1, step.array.rank
    starts, columns = step.attribute("starts"), step.attribute("columns")
    matrix = np.zeros((step.array.shape[axis], len(starts) - 1))
    for row, (begin, end) in enumerate(pairwise(starts)):
        matrix[list(columns[begin:end]), row] = step.attribute("weights")[begin:end]
    order = (*(other for other in range(rank) if other != axis), axis)
    shape = (*step.array.shape[:axis], matrix.shape[1], *step.array.shape[axis + 1 :])
    return Array(shape, {order: step.emit("MatMul", step.stored(order), step.constant("matrix", matrix))})


def matrix_product(step: Step) -> Array:
    """MatMul of matrices either way round."""
    names = ("left_crosswise", "right_crosswise")
    shapes = [array.shape for array in step.arrays]
    tensors: list[str] = []
    for index, (array, name) in enumerate(zip(step.arrays, names, strict=False)):
        own = identity(array.rank)
        turned = (*own[:-2], own[-1], own[-2])
        tensors.append(step.stored(turned if step.attribute(name) else own, index))
    if step.values:
        constant = step.values[0]
        tensors.append(step.parameter(0, np.swapaxes(constant, -1, -2) if step.attribute(names[1]) else constant))
        shapes.append(constant.shape)
    rows = shapes[0][-1 if step.attribute(names[0]) else -2]
    columns = shapes[1][-2 if step.attribute(names[1]) else -1]
    shape = (*np.broadcast_shapes(*(shape[:-2] for shape in shapes)), rows, columns)
    return Array(shape, {identity(len(shape)): step.emit("MatMul", *tensors)})


def concatenate(step: Step) -> Array:
    """Along the channels."""
    order = step.shared()
    tensors = [step.stored(order, index) for index in range(len(step.arrays))]
    channels = sum(array.shape[-1] for array in step.arrays)
    axis = order.index(step.array.rank - 1) + 1
    return Array((*step.array.shape[:-1], channels), {order: step.emit("Concat", *tensors, axis=axis)})


def fully_connected(step: Step) -> Array:
    """Gemm; MatMul and Add where each time step is a row of its own."""
    array, (outputs, features) = step.array, step.values[0].shape
    kept = array.shape[: int(step.attribute("kept", 0))]
    if array.rank == len(kept) + 1:
        rows = step.own()
    else:
        assert prod(array.shape) == prod(kept) * features
        rows = _shaped(step, (*kept, features), "rows")
    shape = (*kept, outputs)
    order = identity(len(shape))
    if not kept:
        bias = [step.parameter(1)] if has_bias(step) else []
        return Array(shape, {order: step.emit("Gemm", rows, step.parameter(0), *bias, transB=1)})
    weights = step.parameter(0, np.ascontiguousarray(step.values[0].T))
    if not has_bias(step):
        return Array(shape, {order: step.emit("MatMul", rows, weights)})
    product = step.helping("product", "MatMul", rows, weights)
    return Array(shape, {order: step.emit("Add", product, step.parameter(1))})


def _blocks(operator: str, *orders: str) -> LayerRow:
    """Channels that become blocks of positions, or back, where the operator numbers them so."""

    def emit(step: Step) -> Array:
        layer = step.node.layer
        assert isinstance(layer, (DepthToSpaceLayer, SpaceToDepthLayer))
        first = channel_first(step.array.rank)
        mode = {"mode": "CRD"} if layer.order == "column-first" else {}
        tensor = step.emit(operator, step.stored(first), blocksize=layer.block, **mode)
        return Array(step.node.size.shape, {first: tensor})

    return LayerRow(lambda node: getattr(node.layer, "order", "") in orders, emit, operator)


ROWS: Mapping[str, Row] = {
    "reshape": Row(reshape, "Reshape"),
    "transpose": Row(transpose, "nothing, or Transpose where an array is read in another order"),
    "slice": Row(slice_, "Slice"),
    "pad": Row(pad, "Pad"),
    "sparse_product": Row(sparse_product, "MatMul"),
    "matrix_product": Row(matrix_product, "MatMul"),
    "concatenate": Row(concatenate, "Concat"),
    "fully_connected": Row(fully_connected, "Gemm; MatMul and Add at each time step"),
}

LAYERS: Mapping[type[Layer], LayerRow] = {
    DepthToSpaceLayer: _blocks("DepthToSpace", "depth-first", "column-first"),
    SpaceToDepthLayer: _blocks("SpaceToDepth", "depth-first"),
}
