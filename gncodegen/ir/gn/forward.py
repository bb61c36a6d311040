"""Forward ops that hold parameters or windows, each with its gradient beside it."""

from __future__ import annotations

from typing import ClassVar

from xdsl.builder import Builder
from xdsl.dialects.builtin import TensorType
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import irdl_op_definition

from gncodegen.ir.gn import gradient as grad
from gncodegen.ir.gn.base import (
    AVERAGE_POOL,
    EPILOGUE,
    NORMALIZED,
    PARTS,
    POOL,
    REDUCED,
    RESIDUAL,
    WIDE,
    WINDOW,
    Cotangents,
    GnOperation,
    channels,
    expect,
    expect_operands,
    expect_same,
    expect_shape,
    expect_statistics,
    partials,
    product_operands,
    product_result,
    shape_text,
    statistics,
    window_operands,
    window_shape,
)
from gncodegen.ir.gn.update import AllReduce
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import Values, tensor_of
from gncodegen.kernels.schedule import Tensor

PAD_MODES = ("constant", "symmetric-include-edge", "symmetric-exclude-edge", "replicate")
METHODS = {"zerocenter": 1, "zscore": 2, "rescale-symmetric": 2, "rescale-zero-one": 2}
"""Input normalization → how many statistics it takes."""


def shape_of(value: SSAValue[Attribute]) -> tuple[int, ...]:
    """The extents of a tensor value."""
    assert isinstance(value.type, TensorType)
    return value.type.get_shape()


@irdl_op_definition
class InputNormalization(GnOperation):
    """(x, *statistics) → y."""

    name = "gn.input_normalization"
    ATTRIBUTES: ClassVar = (Declared("method", "text", None, tuple(METHODS)),)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1 + METHODS[values.text("method")])
        x, *statistics = operands
        for statistic in statistics:
            trailing = [x.shape[axis:] for axis in range(len(x.shape) - 1, 0, -1)]
            allowed = ", ".join(str(list(shape)) for shape in ((1,), *trailing))
            expect(
                statistic.shape in ((1,), *trailing),
                f"a statistic has shape {list(statistic.shape)}; allowed: {allowed}",
            )
        return (x,)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        statistics = self.operands[1:]
        operation = grad.InputNormalizationGradient(
            (dy, *statistics), {"method": self.attribute("method")}, self.layers
        )
        return (builder.insert(operation).results[0], *(None for _ in statistics))


@irdl_op_definition
class Convolution(GnOperation):
    """(x, weights[, bias][, residual][, statistics, scale, offset]) → y[, partials]: cross-correlation.

    Bias, residual and activation come by fusion; with `norm_groups`, x is normalized by statistics of group_statistics.
    """

    name = "gn.convolution"
    ATTRIBUTES: ClassVar = (*WINDOW, Declared("groups", "int", 1), *EPILOGUE, RESIDUAL, WIDE, PARTS, *NORMALIZED)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        norm_groups = values.integer("norm_groups")
        if norm_groups:
            expect(len(operands) >= 5, f"{len(operands)} operands; statistics, scale and offset come last")
            expect_statistics(operands[0], norm_groups, *operands[-3:])
            operands = operands[:-3]
        x, weights, bias = window_operands(operands, values)
        groups = values.integer("groups")
        per_group, filters = weights.shape[-2:]
        expect(
            groups >= 1 and per_group * groups == channels(x),
            f"{channels(x)} channels with groups = {groups} do not fit weights for {per_group} channels per group",
        )
        expect(filters % groups == 0, f"{filters} filters do not split into {groups} groups")
        if bias is not None:
            expect_shape("bias", bias, (filters,))
        extents = window_shape(x, weights.shape[:-2], values, values.integers("dilation"))
        y, parts = product_result(operands, values, Tensor((*extents, filters), x.dtype)), values.integer("parts")
        return (y, partials(y, parts)) if parts else (y,)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        x, weights = self.operands
        shared = {name: self.attribute(name) for name in ("stride", "dilation", "padding", "groups")}
        dx = grad.ConvolutionInputGradient((dy, weights), {"input_shape": shape_of(x), **shared}, self.layers)
        dw = grad.ConvolutionWeightGradient((x, dy), {"weights_shape": shape_of(weights), **shared}, self.layers)
        builder.insert([dw, dx])  # x often dies with dw, and dx may then lie where it was
        return dx.results[0], dw.results[0]


@irdl_op_definition
class Pad(GnOperation):
    """x → y with pads at both ends of the last axes before the channels, as many as `padding` has pairs."""

    name = "gn.pad"
    ATTRIBUTES: ClassVar = (
        Declared("padding", "ints"),
        Declared("mode", "text", None, PAD_MODES),
        Declared("value", "float", 0.0),
    )

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        (x,) = operands
        padding = values.integers("padding")
        rank, most = len(padding) // 2, min(3, len(x.shape) - 2)
        expect(
            len(padding) == 2 * rank and 1 <= rank <= most,
            f"padding = {list(padding)} has {len(padding)} entries; {shape_text(x)} takes pairs for 1 to {most} axes",
        )
        before_pads, spatial = x.shape[: -rank - 1], x.shape[-rank - 1 : -1]
        limits = {"symmetric-include-edge": 0, "symmetric-exclude-edge": -1}
        for extent, before, after in zip(spatial, padding[::2], padding[1::2], strict=True):
            limit = extent + limits.get(values.text("mode"), max(before, after))
            expect(
                max(before, after) <= limit,
                f"padding {max(before, after)} mirrors more than the {extent} elements there are; allowed: ≤ {limit}",
            )
        sums = (n + a + b for n, a, b in zip(spatial, padding[::2], padding[1::2], strict=True))
        return (Tensor((*before_pads, *sums, x.shape[-1]), x.dtype),)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        attributes = {name: self.attribute(name) for name in ("padding", "mode")}
        return (builder.insert(grad.PadGradient((dy,), attributes, self.layers)).results[0],)


@irdl_op_definition
class Bias(GnOperation):
    """(x, bias) → x + bias along the last axis."""

    name = "gn.bias"

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2)
        expect_shape("bias", operands[1], (channels(operands[0]),))
        return (operands[0],)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        return dy, builder.insert(grad.BiasGradient((dy,), layers=self.layers)).results[0]


@irdl_op_definition
class FullyConnected(GnOperation):
    """(x, weights (outputs, inputs)[, bias][, residual]) → y (N, kept axes, outputs); x is flattened behind them."""

    name = "gn.fully_connected"
    ATTRIBUTES: ClassVar = (Declared("kept", "int", 0), *EPILOGUE, RESIDUAL, WIDE)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        x, weights, bias = product_operands(operands, values)
        expect(len(weights.shape) == 2, f"weights have {len(weights.shape)} axes; they need 2 (outputs, inputs)")
        rows = 1 + values.integer("kept")
        features = Tensor(x.shape[rows:], x.dtype).count
        what = f"weights take {weights.shape[1]} inputs; x has {features} per {'observation' if rows == 1 else 'row'}"
        expect(weights.shape[1] == features, what)
        if bias is not None:
            expect_shape("bias", bias, (weights.shape[0],))
        return (product_result(operands, values, Tensor((*x.shape[:rows], weights.shape[0]), x.dtype)),)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        x, weights = self.operands
        dx = grad.FullyConnectedInputGradient((dy, weights), {"input_shape": shape_of(x)}, self.layers)
        dw = grad.FullyConnectedWeightGradient((x, dy), {}, self.layers)
        builder.insert([dw, dx])
        return dx.results[0], dw.results[0]


def group_count(x: Tensor, values: Values) -> int:
    """The number of groups, its texts resolved; raises VerifyException where it does not divide the channels."""
    groups, count = values["groups"], channels(x)
    if isinstance(groups, str):
        expect(groups in ("all-channels", "channel-wise"), f"groups = {groups!r}; allowed: all-channels, channel-wise")
        groups = 1 if groups == "all-channels" else count
    assert isinstance(groups, int)
    expect(groups >= 1 and count % groups == 0, f"{count} channels do not split into {groups} groups")
    return groups


@irdl_op_definition
class GroupNorm(GnOperation):
    """(x, scale, offset[, r][, partials]) → y, statistics; with `residual`, r is added before the activation.

    With `parts`, the partials that a convolution left take the place of a pass over x.
    statistics (rows, groups, 3): mean high, mean low, 1/sqrt(variance + epsilon); mean = high + low. One row per
    observation; per position for reduced = "channel"; per time step for "step"; one in all for "batch-spatial".
    """

    name = "gn.group_norm"
    ATTRIBUTES: ClassVar = (
        Declared("groups", "int or text"),
        Declared("epsilon", "float"),
        REDUCED,
        *EPILOGUE,
        RESIDUAL,
        PARTS,
    )

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        parts = values.integer("parts")
        expect_operands(operands, 3 + bool(values["residual"]) + bool(parts))
        x, scale, offset, *more = operands
        if parts:
            expect_same("the partials and those of x", more.pop(), partials(x, parts))
        groups, reduced = group_count(x, values), values.text("reduced")
        expect_shape("scale", scale, (channels(x),))
        expect_shape("offset", offset, (channels(x),))
        for r in more:
            expect_same("x and the residual", x, r)
        expect(values.real("epsilon") > 0, f"epsilon = {values.real('epsilon')}; it must be > 0")
        expect(
            reduced != "batch-spatial" or groups == channels(x),
            f"groups = {groups} with reduced = 'batch-spatial'; it must be {channels(x)}, one per channel",
        )
        return x, statistics(x, groups, reduced)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        dy = cotangents[0]
        assert dy is not None
        x, scale, offset, *residual = self.operands
        attributes = {name: self.attribute(name) for name in ("epsilon", "reduced", "activation", "alpha")}
        attributes["groups"] = group_count(tensor_of(x), self.values)
        operands = (x, dy, scale, offset, self.results[1])
        if residual and self.attribute("activation"):
            operands, attributes["residual"] = (*operands, *residual), True
        results = builder.insert(grad.GroupNormGradient(operands, attributes, self.layers)).results
        return (*results, dy)[: len(self.operands)]  # an addition alone hands dy on


@irdl_op_definition
class GroupStatistics(GnOperation):
    """(x[, partials]) → statistics, those of gn.group_norm; who reads x normalizes it."""

    name = "gn.group_statistics"
    ATTRIBUTES: ClassVar = (Declared("groups", "int"), Declared("epsilon", "float"), REDUCED, PARTS)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        parts = values.integer("parts")
        expect_operands(operands, 1 + bool(parts))
        x, *more = operands
        if parts:
            expect_same("the partials and those of x", more[0], partials(x, parts))
        return (statistics(x, group_count(x, values), values.text("reduced")),)


@irdl_op_definition
class BatchNorm(GnOperation):
    """(x, scale, offset, trained mean, trained variance[, steps]) → y; canonicalize replaces it.

    steps (N, 1): how many of an observation's first axis count while training, as in gn.masked_batch_norm.
    """

    name = "gn.batch_norm"
    ATTRIBUTES: ClassVar = (
        Declared("epsilon", "float"),
        Declared("mean_decay", "float", 0.1),
        Declared("variance_decay", "float", 0.1),
    )

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 5, 6)
        x, *parameters = operands
        for what, parameter in zip(("scale", "offset", "mean", "variance"), parameters, strict=False):
            expect_shape(what, parameter, (channels(x),))
        for steps in parameters[4:]:
            expect_shape("steps", steps, (x.shape[0], 1))
        return (x,)


@irdl_op_definition
class ChannelNormalize(GnOperation):
    """(x, mean, variance, scale, offset) → y with given statistics per channel; `of_batch`: those of x on all ranks."""

    name = "gn.channel_normalize"
    ATTRIBUTES: ClassVar = (Declared("epsilon", "float"), Declared("of_batch", "bool", False), *EPILOGUE)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 5)
        x, *parameters = operands
        for what, parameter in zip(("mean", "variance", "scale", "offset"), parameters, strict=True):
            expect_shape(what, parameter, (channels(x),))
        return (x,)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        x, *parameters = self.operands
        attributes = {"epsilon": self.attribute("epsilon")}
        operation = grad.ChannelNormalizeGradient((x, dy, *parameters), attributes, self.layers)
        dx, dscale, doffset = builder.insert(operation).results
        if self.attribute("of_batch"):
            sums = builder.insert(AllReduce((dscale, doffset), layers=self.layers)).results
            operands = (dx, x, *parameters[:3], *sums)
            dx = builder.insert(grad.StatisticsGradient(operands, attributes, self.layers)).results[0]
        return dx, None, None, dscale, doffset


@irdl_op_definition
class MaxPool(GnOperation):
    """x → y: the maximum of each window; pads count as −∞."""

    name = "gn.max_pool"
    ATTRIBUTES: ClassVar = POOL

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        (x,) = operands
        return (Tensor((*window_shape(x, values.integers("window"), values), channels(x)), x.dtype),)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        operands = (self.operands[0], self.results[0], dy)
        return (builder.insert(grad.MaxPoolGradient(operands, self.values, self.layers)).results[0],)


@irdl_op_definition
class AveragePool(GnOperation):
    """x → y: the mean of each window, or its sum."""

    name = "gn.average_pool"
    ATTRIBUTES: ClassVar = AVERAGE_POOL

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        (x,) = operands
        return (Tensor((*window_shape(x, values.integers("window"), values), channels(x)), x.dtype),)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        attributes = {"input_shape": shape_of(self.operands[0]), **self.values}
        return (builder.insert(grad.AveragePoolGradient((dy,), attributes, self.layers)).results[0],)


PARAMETRIC = (
    InputNormalization,
    Convolution,
    Pad,
    Bias,
    FullyConnected,
    GroupNorm,
    GroupStatistics,
    BatchNorm,
    ChannelNormalize,
    MaxPool,
    AveragePool,
)
