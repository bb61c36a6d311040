"""Normalization of sequences that have padding behind them: by group, and by channel over a batch."""

from __future__ import annotations

from typing import ClassVar

from xdsl.builder import Builder
from xdsl.irdl import irdl_op_definition

from gncodegen.ir.gn.base import (
    Cotangents,
    GnOperation,
    channels,
    expect,
    expect_operands,
    expect_same,
    expect_shape,
    expect_statistics,
    statistics,
)
from gncodegen.ir.gn.forward import group_count
from gncodegen.ir.gn.gradient import BiasGradient, ChannelNormalizeGradient, StatisticsGradient
from gncodegen.ir.gn.update import AllReduce
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import Values, tensor_of
from gncodegen.kernels.schedule import Tensor, computed_in


def _expect_steps(x: Tensor, steps: Tensor) -> None:
    expect(len(x.shape) > 2, f"x has {len(x.shape)} axes; allowed: 3 or more, steps behind the batch")
    expect_shape("steps", steps, (x.shape[0], 1))


@irdl_op_definition
class MaskedGroupNorm(GnOperation):
    """(x, scale, offset, steps) → y, statistics of gn.group_norm, over the first `steps` of x's second axis.

    y is 0 behind them. steps (N, 1), whole numbers from 1 to the axis's extent.
    """

    name = "gn.masked_group_norm"
    ATTRIBUTES: ClassVar = (Declared("groups", "int or text"), Declared("epsilon", "float"))

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 4)
        x, scale, offset, steps = operands
        groups = group_count(x, values)
        expect_shape("scale", scale, (channels(x),))
        expect_shape("offset", offset, (channels(x),))
        _expect_steps(x, steps)
        expect(values.real("epsilon") > 0, f"epsilon = {values.real('epsilon')}; it must be > 0")
        return x, statistics(x, groups, "spatial-channel")

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        dy = cotangents[0]
        assert dy is not None
        x, scale, _, steps = self.operands
        groups = {"groups": group_count(tensor_of(x), self.values)}
        operation = MaskedGroupNormGradient((x, dy, scale, steps, self.results[1]), groups, self.layers)
        dx, *each = builder.insert(operation).results
        dscale, doffset = (builder.insert(BiasGradient((sums,), layers=self.layers)).results[0] for sums in each)
        return dx, dscale, doffset, None


@irdl_op_definition
class MaskedGroupNormGradient(GnOperation):
    """(x, dy, scale, steps, statistics) → dx, and for each observation dscale and doffset (N, C).

    dx is 0 behind the steps, whatever stands there in dy.
    """

    name = "gn.masked_group_norm_gradient"
    ATTRIBUTES: ClassVar = (Declared("groups", "int"),)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 5)
        x, dy, scale, steps, statistics = operands
        expect_same("x and its cotangent", x, dy)
        _expect_steps(x, steps)
        expect_statistics(x, values.integer("groups"), statistics, scale)
        sums = Tensor((x.shape[0], channels(x)), computed_in(x.dtype))
        return x, sums, sums


@irdl_op_definition
class MaskedBatchNorm(GnOperation):
    """(x, scale, offset, steps) → y, statistics (1, C, 3) of each channel over the first `steps` of all observations.

    y is 0 behind them; steps as those of gn.masked_group_norm.
    """

    name = "gn.masked_batch_norm"
    ATTRIBUTES: ClassVar = (Declared("epsilon", "float"),)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 4)
        x, scale, offset, steps = operands
        expect_shape("scale", scale, (channels(x),))
        expect_shape("offset", offset, (channels(x),))
        _expect_steps(x, steps)
        expect(values.real("epsilon") > 0, f"epsilon = {values.real('epsilon')}; it must be > 0")
        return x, statistics(x, channels(x), "batch-spatial")

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        dy = cotangents[0]
        assert dy is not None
        x, scale, _, steps = self.operands
        operation = MaskedBatchNormGradient((x, dy, scale, steps, self.results[1]), layers=self.layers)
        return *builder.insert(operation).results, None


@irdl_op_definition
class MaskedBatchNormGradient(GnOperation):
    """(x, dy, scale, steps, statistics) → dx, dscale, doffset; dx is 0 behind the steps, whatever dy is there."""

    name = "gn.masked_batch_norm_gradient"

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 5)
        x, dy, scale, steps, given = operands
        expect_same("x and its cotangent", x, dy)
        expect_shape("scale", scale, (channels(x),))
        _expect_steps(x, steps)
        expect_same("statistics and those of x", given, statistics(x, channels(x), "batch-spatial"))
        return x, scale, scale


@irdl_op_definition
class MaskedChannelNormalize(GnOperation):
    """(x, mean, variance, scale, offset, steps, count) → y with statistics of x's steps on all ranks.

    count (1,): the average of steps over all observations of all ranks.
    """

    name = "gn.masked_channel_normalize"
    ATTRIBUTES: ClassVar = (Declared("epsilon", "float"),)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 7)
        x, *parameters, steps, count = operands
        for what, parameter in zip(("mean", "variance", "scale", "offset"), parameters, strict=True):
            expect_shape(what, parameter, (channels(x),))
        _expect_steps(x, steps)
        expect_shape("count", count, (1,))
        return (x,)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        x, *parameters, steps, count = self.operands
        attributes = {"epsilon": self.attribute("epsilon")}
        fixed = ChannelNormalizeGradient((x, dy, *parameters), attributes, self.layers)
        dx, dscale, doffset = builder.insert(fixed).results
        sums = builder.insert(AllReduce((dscale, doffset), layers=self.layers)).results
        operands = (dx, x, *parameters[:3], *sums, steps, count)
        dx = builder.insert(StatisticsGradient(operands, attributes, self.layers)).results[0]
        return dx, None, None, dscale, doffset, None, None


MASKED = (
    MaskedGroupNorm,
    MaskedGroupNormGradient,
    MaskedBatchNorm,
    MaskedBatchNormGradient,
    MaskedChannelNormalize,
)
