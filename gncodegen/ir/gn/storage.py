"""Ops of half-precision networks: casts between storage types, and the scale of the loss."""

from __future__ import annotations

from typing import ClassVar

from xdsl.irdl import irdl_op_definition

from gncodegen.ir.gn.base import GnOperation, expect_operands, expect_same, expect_shape
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import ELEMENT_TYPES, Values
from gncodegen.kernels.loss_scale import STATE
from gncodegen.kernels.schedule import Tensor


@irdl_op_definition
class Cast(GnOperation):
    """(x[, loss scale]) → x, times the scale where there is one, rounded to nearest even as elements of `dtype`."""

    name = "gn.cast"
    ATTRIBUTES: ClassVar = (Declared("dtype", "text", None, ELEMENT_TYPES),)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1, 2)
        for scale in operands[1:]:
            expect_same("the loss scale and what it must be", scale, STATE)
        return (Tensor(operands[0].shape, values.text("dtype")),)


@irdl_op_definition
class UpdateLossScale(GnOperation):
    """(norms of gradients, loss scale) → the next one: half where a norm is not finite, twice after enough steps."""

    name = "gn.update_loss_scale"

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2)
        norms, scale = operands
        expect_shape("norms", norms, (norms.count,))
        expect_same("the loss scale and what it must be", scale, STATE)
        return (scale,)


STORAGE = (Cast, UpdateLossScale)
