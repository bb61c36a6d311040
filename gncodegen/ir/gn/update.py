"""Update ops: what a training step does to parameters, velocities and running statistics.

Values in, new values out; the function's result attributes say which argument each new value replaces in place.
"""

from __future__ import annotations

from typing import ClassVar

from xdsl.irdl import irdl_op_definition

from gncodegen.ir.gn.base import CLIPS, GnOperation, expect, expect_operands, expect_same, expect_shape
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import Values
from gncodegen.kernels.schedule import Tensor

HYPERPARAMETERS = Tensor((8,), "float64")
"""The run-time scalars: learn_rate, momentum, l2, threshold, iteration, seed, 0, 0."""

NORM_CLIPS = ("l2norm", "global-l2norm")

_NAMES = Declared("names", "texts")
_L2_FACTORS = Declared("l2_factors", "floats")


def _expect_pairs(values: Values, parameters: tuple[Tensor, ...], *others: tuple[Tensor, ...]) -> None:
    names = values.texts("names")
    for other in others:
        for name, parameter, tensor in zip(names, parameters, other, strict=True):
            expect_same(f"{name} and what belongs to it", parameter, tensor)
    expect(len(values.reals("l2_factors")) == len(names), f"l2_factors needs {len(names)} entries, one per parameter")


@irdl_op_definition
class GradientNorms(GnOperation):
    """(p1…, g1…, hyperparameters) → norms (P,) float64: ‖g + l2·l2_factor·p‖ of each parameter."""

    name = "gn.gradient_norms"
    ATTRIBUTES: ClassVar = (_NAMES, _L2_FACTORS)
    READS_HYPERPARAMETERS: ClassVar = True

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        count = len(values.texts("names"))
        expect_operands(operands, 2 * count + 1)
        expect_same("hyperparameters and what they must be", operands[-1], HYPERPARAMETERS)
        _expect_pairs(values, operands[:count], operands[count : 2 * count])
        return (Tensor((count,), "float64"),)


@irdl_op_definition
class SgdmUpdate(GnOperation):
    """(p1…, g1…, v1…, norms if a norm clips, hyperparameters) → p1…, v1….

    g ← g + l2·l2_factor·p; clip g; v ← momentum·v − learn_rate·learn_rate_factor·g; p ← p + v.
    """

    name = "gn.sgdm_update"
    ATTRIBUTES: ClassVar = (
        _NAMES,
        Declared("learn_rate_factors", "floats"),
        _L2_FACTORS,
        Declared("clip", "text", "none", CLIPS),
    )
    READS_HYPERPARAMETERS: ClassVar = True

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        count = len(values.texts("names"))
        with_norms = values.text("clip") in NORM_CLIPS
        expect_operands(operands, 3 * count + 1 + with_norms)
        expect_same("hyperparameters and what they must be", operands[-1], HYPERPARAMETERS)
        parameters, velocities = operands[:count], operands[2 * count : 3 * count]
        _expect_pairs(values, parameters, operands[count : 2 * count], velocities)
        factors = len(values.reals("learn_rate_factors"))
        expect(factors == count, f"learn_rate_factors has {factors} entries; it needs {count}, one per parameter")
        if with_norms:
            expect_same("norms and what they must be", operands[3 * count], Tensor((count,), "float64"))
        return (*parameters, *velocities)


@irdl_op_definition
class UpdateStatistics(GnOperation):
    """(statistics, running mean, running variance) → new mean, new variance: decay·batch + (1 − decay)·old."""

    name = "gn.update_statistics"
    ATTRIBUTES: ClassVar = (Declared("decays", "floats"), Declared("count", "int"), Declared("epsilon", "float"))

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 3)
        statistics, mean, variance = operands
        expect_same("mean and variance", mean, variance)
        expect_shape("statistics", statistics, (1, *mean.shape, 3))
        return (mean, variance)


UPDATES = (GradientNorms, SgdmUpdate, UpdateStatistics)
