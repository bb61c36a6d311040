"""Group normalization of sequences that have padding behind them."""

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
from gncodegen.ir.gn.gradient import BiasGradient
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


MASKED = (MaskedGroupNorm, MaskedGroupNormGradient)
