"""Gradient ops: what the gradients pass inserts. Each is named after the forward op it belongs to."""

from __future__ import annotations

from typing import ClassVar

from xdsl.irdl import irdl_op_definition

from gncodegen.ir.gn.base import (
    AVERAGE_POOL,
    EPILOGUE,
    FUNCTION,
    POOL,
    REDUCED,
    RESIDUAL,
    WINDOW,
    GnOperation,
    channels,
    expect,
    expect_operands,
    expect_same,
    expect_shape,
    statistics_dtype,
    window_shape,
)
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import Values
from gncodegen.kernels.schedule import Tensor, computed_in

GROUPS = Declared("groups", "int", 1)
INPUT_SHAPE = Declared("input_shape", "ints")


@irdl_op_definition
class ConvolutionInputGradient(GnOperation):
    """dx from dy and the weights."""

    name = "gn.convolution_input_gradient"
    ATTRIBUTES: ClassVar = (INPUT_SHAPE, *WINDOW, GROUPS)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2)
        dy, weights = operands
        x = Tensor(values.integers("input_shape"), dy.dtype)
        extents = window_shape(x, weights.shape[:-2], values, values.integers("dilation"))
        expect_shape("the cotangent", dy, (*extents, weights.shape[-1]))
        return (x,)


@irdl_op_definition
class ConvolutionWeightGradient(GnOperation):
    """dweights from x and dy; with `bias` also dbias, the sum of dy over all positions."""

    name = "gn.convolution_weight_gradient"
    ATTRIBUTES: ClassVar = (Declared("weights_shape", "ints"), *WINDOW, GROUPS, Declared("bias", "bool", False))

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2)
        x, dy = operands
        shape = values.integers("weights_shape")
        extents = window_shape(x, shape[:-2], values, values.integers("dilation"))
        expect_shape("the cotangent", dy, (*extents, shape[-1]))
        weights = Tensor(shape, computed_in(x.dtype))
        return (weights, Tensor((shape[-1],), weights.dtype)) if values["bias"] else (weights,)


@irdl_op_definition
class PadGradient(GnOperation):
    """dx of gn.pad: the inside of dy plus, for mirrored or repeated edges, what the pads copied."""

    name = "gn.pad_gradient"
    ATTRIBUTES: ClassVar = (Declared("padding", "ints"), Declared("mode", "text"))

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        (dy,) = operands
        padding = values.integers("padding")
        rank = len(padding) // 2
        pairs = zip(dy.shape[-rank - 1 : -1], padding[::2], padding[1::2], strict=True)
        return (Tensor((*dy.shape[: -rank - 1], *(n - a - b for n, a, b in pairs), dy.shape[-1]), dy.dtype),)


@irdl_op_definition
class BiasGradient(GnOperation):
    """dbias: dy summed over everything but the last axis."""

    name = "gn.bias_gradient"

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        return (Tensor((channels(operands[0]),), computed_in(operands[0].dtype)),)


@irdl_op_definition
class GroupNormGradient(GnOperation):
    """(x, dy, scale, offset, statistics[, r]) → dx, dscale, doffset[, dr].

    A fused activation's mask is recomputed from x; with `residual` from the normalized x plus r, and dr is dy masked.
    """

    name = "gn.group_norm_gradient"
    ATTRIBUTES: ClassVar = (
        Declared("groups", "int"),
        Declared("epsilon", "float"),
        REDUCED,
        *EPILOGUE,
        RESIDUAL,
    )

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 6 if values["residual"] else 5)
        x, dy, scale, offset, statistics, *residual = operands
        expect_same("x and its cotangent", x, dy)
        for r in residual:
            expect_same("x and the residual", x, r)
        expect_shape("scale", scale, (channels(x),))
        expect_shape("offset", offset, (channels(x),))
        expect(statistics.dtype == statistics_dtype(x.dtype), f"statistics are {statistics.dtype}")
        return (x, scale, offset, *residual)


@irdl_op_definition
class ChannelNormalizeGradient(GnOperation):
    """(x, dy, mean, variance, scale, offset) → dx, dscale, doffset with fixed statistics."""

    name = "gn.channel_normalize_gradient"
    ATTRIBUTES: ClassVar = (Declared("epsilon", "float"), *EPILOGUE)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 6)
        x, dy, *parameters = operands
        expect_same("x and its cotangent", x, dy)
        for what, parameter in zip(("mean", "variance", "scale", "offset"), parameters, strict=True):
            expect_shape(what, parameter, (channels(x),))
        return (x, parameters[2], parameters[3])


@irdl_op_definition
class StatisticsGradient(GnOperation):
    """(dx, x, mean, variance, scale, dscale, doffset[, steps, count]) → dx of a normalization by x's own statistics.

    dx − scale·(doffset + x̂·dscale) / (rows·sqrt(variance + ε)), from the dx of fixed statistics and the averages of
    dscale and doffset over all ranks; rows are those of x. With steps (N, 1) dx is 0 behind so many of each
    observation, and rows are those of `count` steps (1,) of each, their average over all ranks.
    """

    name = "gn.statistics_gradient"
    ATTRIBUTES: ClassVar = (Declared("epsilon", "float"),)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 7, 9)
        dx, x, *parameters = operands
        expect_same("x and its cotangent", x, dx)
        for what, parameter in zip(("mean", "variance", "scale", "dscale", "doffset"), parameters, strict=False):
            expect_shape(what, parameter, (channels(x),))
        for what, given, shape in zip(("steps", "count"), parameters[5:], ((x.shape[0], 1), (1,)), strict=False):
            expect_shape(what, given, shape)
        return (dx,)


@irdl_op_definition
class ActivationGradient(GnOperation):
    """(v, dy) → dx = dy · f′, with f′ computed from v: the activation's input or its output."""

    name = "gn.activation_gradient"
    ATTRIBUTES: ClassVar = (*FUNCTION, Declared("from", "text", "input", ("input", "output")))

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2)
        expect_same("v and the cotangent", *operands)
        return (operands[1],)


@irdl_op_definition
class MaxPoolGradient(GnOperation):
    """(x, y, dy) → dx: each window's cotangent goes to its first maximum."""

    name = "gn.max_pool_gradient"
    ATTRIBUTES: ClassVar = POOL

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 3)
        x, y, dy = operands
        expect_same("y and its cotangent", y, dy)
        expect_shape("y", y, (*window_shape(x, values.integers("window"), values), channels(x)))
        return (x,)


@irdl_op_definition
class AveragePoolGradient(GnOperation):
    """dx: each window's cotangent spread evenly over its elements, or, of sums, given to each."""

    name = "gn.average_pool_gradient"
    ATTRIBUTES: ClassVar = (INPUT_SHAPE, *AVERAGE_POOL)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        x = Tensor(values.integers("input_shape"), operands[0].dtype)
        extents = window_shape(x, values.integers("window"), values)
        expect_shape("the cotangent", operands[0], (*extents, channels(x)))
        return (x,)


@irdl_op_definition
class FullyConnectedInputGradient(GnOperation):
    """dx from dy and the weights."""

    name = "gn.fully_connected_input_gradient"
    ATTRIBUTES: ClassVar = (INPUT_SHAPE,)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2)
        dy, weights = operands
        x = Tensor(values.integers("input_shape"), dy.dtype)
        features = Tensor(x.shape[len(dy.shape) - 1 :], x.dtype).count
        expect_shape("the weights", weights, (channels(dy), features))
        return (x,)


@irdl_op_definition
class FullyConnectedWeightGradient(GnOperation):
    """dweights from x and dy; with `bias` also dbias."""

    name = "gn.fully_connected_weight_gradient"
    ATTRIBUTES: ClassVar = (Declared("bias", "bool", False),)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2)
        x, dy = operands
        expect(x.shape[0] == dy.shape[0], f"batch extents differ: {x.shape[0]} and {dy.shape[0]}")
        features = Tensor(x.shape[len(dy.shape) - 1 :], x.dtype).count
        weights = Tensor((channels(dy), features), computed_in(x.dtype))
        return (weights, Tensor((channels(dy),), weights.dtype)) if values["bias"] else (weights,)


class _OfOutput(GnOperation):
    """Shape rule of gradients taken from two arrays of the output's shape."""

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2)
        expect_same("the operands", *operands)
        return (operands[0],)


@irdl_op_definition
class SoftmaxGradient(_OfOutput):
    """(y, dy) → dx = y · (dy − Σ dy·y) over the last axis."""

    name = "gn.softmax_gradient"


@irdl_op_definition
class CrossEntropyGradient(_OfOutput):
    """(y, t) → dy = −w·t / (N·y)."""

    name = "gn.cross_entropy_gradient"
    ATTRIBUTES: ClassVar = (Declared("class_weights", "floats", ()),)


@irdl_op_definition
class SoftmaxCrossEntropyGradient(_OfOutput):
    """(y, t) → dz of softmax followed by cross entropy: (y·Σ w·t − w·t) / N."""

    name = "gn.softmax_cross_entropy_gradient"
    ATTRIBUTES: ClassVar = (Declared("class_weights", "floats", ()),)


@irdl_op_definition
class HalfSquaredErrorGradient(_OfOutput):
    """(y, t) → dy = (y − t) / N."""

    name = "gn.half_squared_error_gradient"


@irdl_op_definition
class InputNormalizationGradient(GnOperation):
    """(dy, *statistics) → dx of gn.input_normalization."""

    name = "gn.input_normalization_gradient"
    ATTRIBUTES: ClassVar = (Declared("method", "text"),)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2, 3)
        return (operands[0],)


GRADIENTS = (
    ConvolutionInputGradient,
    ConvolutionWeightGradient,
    PadGradient,
    BiasGradient,
    GroupNormGradient,
    ChannelNormalizeGradient,
    StatisticsGradient,
    ActivationGradient,
    MaxPoolGradient,
    AveragePoolGradient,
    FullyConnectedInputGradient,
    FullyConnectedWeightGradient,
    SoftmaxGradient,
    CrossEntropyGradient,
    SoftmaxCrossEntropyGradient,
    HalfSquaredErrorGradient,
    InputNormalizationGradient,
)
