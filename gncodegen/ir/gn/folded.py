"""The op that computes the parameters of a product that does what followed it, channel by channel; made by fold."""

from __future__ import annotations

from typing import ClassVar

from xdsl.irdl import irdl_op_definition

from gncodegen.ir.gn.base import GnOperation, expect, shape_text
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import Values
from gncodegen.kernels.folding import STEPS
from gncodegen.kernels.schedule import Tensor


@irdl_op_definition
class FoldedParameters(GnOperation):
    """(weights, operands of the steps) → weights, bias, so that (weights · x) with the steps is (weights · x) + bias.

    `axis` of the weights is that of the result's channels. A step's operands have one value, or one per channel;
    `epsilons` has an entry per step, which normalize reads.
    """

    name = "gn.folded_parameters"
    ATTRIBUTES: ClassVar = (Declared("steps", "texts"), Declared("epsilons", "floats"), Declared("axis", "int"))

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        weights, *given = operands
        axis, steps = values.integer("axis"), values.texts("steps")
        expect(0 <= axis < len(weights.shape), f"axis = {axis}; weights have {len(weights.shape)} axes")
        channels = weights.shape[axis]
        for step in steps:
            expect(step in STEPS, f"step {step!r}; allowed: {', '.join(STEPS)}")
        wanted = sum(STEPS[step] for step in steps)
        expect(len(given) == wanted, f"{len(given)} operands of steps; {', '.join(steps)} take {wanted}")
        expect(len(values.reals("epsilons")) == len(steps), "epsilons has an entry per step")
        for operand in given:
            fits = operand.count == 1 or (operand.count, operand.shape[-1:]) == (channels, (channels,))
            expect(fits, f"an operand of a step is {shape_text(operand)}; allowed: 1 value or {channels}")
        return weights, Tensor((channels,), weights.dtype)
