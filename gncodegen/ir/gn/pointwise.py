"""Forward ops without parameters: element by element, joins, reshapes and losses, each with its gradient beside it."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from xdsl.builder import Builder
from xdsl.irdl import irdl_op_definition

from gncodegen.ir.gn import gradient as grad
from gncodegen.ir.gn.base import (
    EPILOGUE,
    FUNCTION,
    Cotangents,
    GnOperation,
    channels,
    expect,
    expect_operands,
    expect_same,
    shape_text,
)
from gncodegen.ir.gn.forward import Pad, shape_of
from gncodegen.ir.gn.update import HYPERPARAMETERS
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import Values
from gncodegen.kernels.schedule import Tensor

AXIS = Declared("axis", "int", -1)
CLASS_WEIGHTS = Declared("class_weights", "floats", ())


@irdl_op_definition
class Activation(GnOperation):
    """x → f(x)."""

    name = "gn.activation"
    ATTRIBUTES: ClassVar = FUNCTION

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        return operands

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        operation = grad.ActivationGradient((self.operands[0], dy), self.values, self.layers)
        return (builder.insert(operation).results[0],)


@irdl_op_definition
class Dropout(GnOperation):
    """(x, hyperparameters) → x masked and scaled by 1/(1 − probability); seed, iteration and index give the mask."""

    name = "gn.dropout"
    ATTRIBUTES: ClassVar = (Declared("probability", "float"), Declared("index", "int"))
    READS_HYPERPARAMETERS: ClassVar = True

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2)
        expect_same("hyperparameters and what they must be", operands[1], HYPERPARAMETERS)
        probability = values.real("probability")
        expect(0 <= probability < 1, f"probability = {probability}; allowed: 0 ≤ probability < 1")
        return (operands[0],)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        return builder.insert(Dropout((dy, self.operands[1]), self.values, self.layers)).results[0], None


@irdl_op_definition
class Softmax(GnOperation):
    """x → exp(x) / Σ exp(x) over the last axis."""

    name = "gn.softmax"

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        channels(operands[0])
        return operands

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        return (builder.insert(grad.SoftmaxGradient((self.results[0], dy), layers=self.layers)).results[0],)


def place_of_axis(x: Tensor, values: Values) -> int:
    """The attribute `axis` counted from the first axis; raises VerifyException if x lacks it."""
    axis, rank = values.integer("axis"), len(x.shape)
    expect(-rank <= axis < rank, f"axis = {axis}; {shape_text(x)} has {rank} axes")
    return axis % rank


def _without(x: Tensor, axis: int) -> tuple[int, ...]:
    """The extents but that of one axis."""
    return x.shape[:axis] + x.shape[axis + 1 :]


class Loss(GnOperation):
    """Ops that end a network: (y, t) → scalar loss; their own cotangent is 1."""

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2)
        expect_same("output and target", *operands)
        weights = values.reals("class_weights") if "class_weights" in values else ()
        classes = channels(operands[0])
        expect(len(weights) in (0, classes), f"{len(weights)} class_weights for {classes} classes")
        return (Tensor((), "float64"),)


@irdl_op_definition
class CrossEntropy(Loss):
    """(y, t) → −(1/N) Σ w·t·ln y."""

    name = "gn.cross_entropy"
    ATTRIBUTES: ClassVar = (CLASS_WEIGHTS,)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        operation = grad.CrossEntropyGradient(self.operands, self.values, self.layers)
        return builder.insert(operation).results[0], None


@irdl_op_definition
class SoftmaxCrossEntropy(Loss):
    """(z, t) → loss, y: softmax and cross entropy as one stable log-sum-exp; made by fuse."""

    name = "gn.softmax_cross_entropy"
    ATTRIBUTES: ClassVar = (CLASS_WEIGHTS,)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        return (*super().infer(operands, values), operands[0])


@irdl_op_definition
class HalfSquaredError(Loss):
    """(y, t) → (1/N) Σ ½ (y − t)²."""

    name = "gn.half_squared_error"

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        operation = grad.HalfSquaredErrorGradient(self.operands, {}, self.layers)
        return builder.insert(operation).results[0], None


@irdl_op_definition
class Add(GnOperation):
    """x1 … xN → their sum."""

    name = "gn.add"
    ATTRIBUTES: ClassVar = EPILOGUE

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect(len(operands) >= 1, "gn.add needs an operand")
        for operand in operands[1:]:
            expect_same("summands", operands[0], operand)
        return (operands[0],)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        return [cotangents[0]] * len(self.operands)


@irdl_op_definition
class Concatenate(GnOperation):
    """x1 … xN → side by side along one axis, the last by default."""

    name = "gn.concatenate"
    ATTRIBUTES: ClassVar = (AXIS,)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect(len(operands) >= 1, "gn.concatenate needs an operand")
        first, axis = operands[0], place_of_axis(operands[0], values)
        for operand in operands[1:]:
            expect(
                (_without(operand, axis), operand.dtype) == (_without(first, axis), first.dtype),
                f"all but axis {axis} must agree: {shape_text(first)} and {shape_text(operand)}",
            )
        extent = sum(operand.shape[axis] for operand in operands)
        return (Tensor((*first.shape[:axis], extent, *first.shape[axis + 1 :]), first.dtype),)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        slices: list[Slice] = []
        start = 0
        for operand in self.operands:
            length = shape_of(operand)[self.values.integer("axis")]
            attributes = {"start": start, "length": length, "axis": self.attribute("axis")}
            slices.append(builder.insert(Slice((dy,), attributes, self.layers)))
            start += length
        return [operation.results[0] for operation in slices]


@irdl_op_definition
class Slice(GnOperation):
    """x → elements start … start + length − 1 along one axis, the last by default."""

    name = "gn.slice"
    ATTRIBUTES: ClassVar = (Declared("start", "int"), Declared("length", "int"), AXIS)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        (x,) = operands
        start, length, axis = values.integer("start"), values.integer("length"), place_of_axis(x, values)
        expect(
            0 <= start and length >= 1 and start + length <= x.shape[axis],
            f"slice of {length} from {start} leaves the {x.shape[axis]} elements of axis {axis}",
        )
        return (Tensor((*x.shape[:axis], length, *x.shape[axis + 1 :]), x.dtype),)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        shape, start, length = shape_of(self.operands[0]), self.values.integer("start"), self.values.integer("length")
        axis = self.values.integer("axis") % len(shape)
        # Zeros around dy: a pad of the middle one of three axes.
        outer, inner = prod(shape[:axis]), prod(shape[axis + 1 :])
        rows = builder.insert(Reshape((dy,), {"shape": (outer, length, inner)}, self.layers)).results[0]
        padding = (start, shape[axis] - start - length)
        padded = builder.insert(Pad((rows,), {"padding": padding, "mode": "constant"}, self.layers)).results[0]
        return (builder.insert(Reshape((padded,), {"shape": shape}, self.layers)).results[0],)


@irdl_op_definition
class Reshape(GnOperation):
    """x → the same elements in the same order, in another shape."""

    name = "gn.reshape"
    COMPUTES: ClassVar = False
    ATTRIBUTES: ClassVar = (Declared("shape", "ints"),)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        result = Tensor(values.integers("shape"), operands[0].dtype)
        expect(
            result.count == operands[0].count,
            f"{shape_text(operands[0])} has {operands[0].count} elements; {shape_text(result)} has {result.count}",
        )
        return (result,)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        operation = Reshape((dy,), {"shape": shape_of(self.operands[0])}, self.layers)
        return (builder.insert(operation).results[0],)


@irdl_op_definition
class Transpose(GnOperation):
    """x → its axes reordered: axis i of the result is axis permutation[i] of x."""

    name = "gn.transpose"
    ATTRIBUTES: ClassVar = (Declared("permutation", "ints"),)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        (x,) = operands
        permutation = values.integers("permutation")
        expect(
            sorted(permutation) == list(range(len(x.shape))),
            f"permutation {list(permutation)} does not reorder the {len(x.shape)} axes of {shape_text(x)}",
        )
        return (Tensor(tuple(x.shape[axis] for axis in permutation), x.dtype),)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        permutation = self.values.integers("permutation")
        inverse = tuple(permutation.index(axis) for axis in range(len(permutation)))
        return (builder.insert(Transpose((dy,), {"permutation": inverse}, self.layers)).results[0],)


POINTWISE = (
    Activation,
    Dropout,
    Softmax,
    CrossEntropy,
    SoftmaxCrossEntropy,
    HalfSquaredError,
    Add,
    Concatenate,
    Slice,
    Reshape,
    Transpose,
)
