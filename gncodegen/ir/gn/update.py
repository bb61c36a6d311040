"""Update ops: what a training step does to parameters, a solver's state and running statistics.

Values in, new values out; the function's result attributes say which argument each new value replaces in place.
"""

from __future__ import annotations

from typing import ClassVar

from xdsl.irdl import irdl_op_definition

from gncodegen.ir.gn.base import CLIPS, GnOperation, expect, expect_operands, expect_same, expect_shape
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import Values
from gncodegen.kernels.hyperparameters import BLOCK
from gncodegen.kernels.loss_scale import STATE
from gncodegen.kernels.schedule import Tensor
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.kernels.update_problem import NORM_CLIPS

HYPERPARAMETERS = BLOCK
"""The numbers that a step reads at run time; `kernels.hyperparameters` says what lies where."""

_NAMES = Declared("names", "texts")
_L2_FACTORS = Declared("l2_factors", "floats")
_SCALED = Declared("scaled", "bool", False)


def _expect_pairs(values: Values, parameters: tuple[Tensor, ...], *others: tuple[Tensor, ...]) -> None:
    names = values.texts("names")
    for other in others:
        for name, parameter, tensor in zip(names, parameters, other, strict=True):
            expect_same(f"{name} and what belongs to it", parameter, tensor)
    expect(len(values.reals("l2_factors")) == len(names), f"l2_factors needs {len(names)} entries, one per parameter")


@irdl_op_definition
class GradientNorms(GnOperation):
    """(p1…, g1…[, loss scale], hyperparameters) → norms (P,) float64: ‖g + l2·l2_factor·p‖ of each parameter.

    With `scaled`, gradients are those of scale · loss, and g are they divided by the scale.
    """

    name = "gn.gradient_norms"
    ATTRIBUTES: ClassVar = (_NAMES, _L2_FACTORS, _SCALED)
    READS_HYPERPARAMETERS: ClassVar = True

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        count, scaled = len(values.texts("names")), bool(values["scaled"])
        expect_operands(operands, 2 * count + 1 + scaled)
        expect_same("hyperparameters and what they must be", operands[-1], HYPERPARAMETERS)
        if scaled:
            expect_same("the loss scale and what it must be", operands[-2], STATE)
        _expect_pairs(values, operands[:count], operands[count : 2 * count])
        return (Tensor((count,), "float64"),)


@irdl_op_definition
class Update(GnOperation):
    """(p1…, g1…, the solver's state, norms if a norm clips, hyperparameters) → p1…, the state: one step of a solver.

    g ← g + l2·l2_factor·p; clip g; then the solver's formula, with the rate learn_rate·learn_rate_factor. The state is
    each of the solver's arrays in turn, for all parameters. With `scaled`, norms and the loss scale come behind the
    state: gradients are those of scale · loss, and where a norm is not finite, everything stays as it is.
    """

    name = "gn.update"
    ATTRIBUTES: ClassVar = (
        _NAMES,
        Declared("solver", "text", None, tuple(SOLVERS)),
        Declared("learn_rate_factors", "floats"),
        _L2_FACTORS,
        Declared("clip", "text", "none", CLIPS),
        _SCALED,
    )
    READS_HYPERPARAMETERS: ClassVar = True

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        count, arrays = len(values.texts("names")), len(SOLVERS[values.text("solver")].state)
        scaled = bool(values["scaled"])
        with_norms, norms = scaled or values.text("clip") in NORM_CLIPS, (2 + arrays) * count
        expect_operands(operands, norms + 1 + with_norms + scaled)
        expect_same("hyperparameters and what they must be", operands[-1], HYPERPARAMETERS)
        parameters, *others = (operands[array * count : (array + 1) * count] for array in range(2 + arrays))
        _expect_pairs(values, parameters, *others)
        factors = len(values.reals("learn_rate_factors"))
        expect(factors == count, f"learn_rate_factors has {factors} entries; it needs {count}, one per parameter")
        if with_norms:
            expect_same("norms and what they must be", operands[norms], Tensor((count,), "float64"))
        if scaled:
            expect_same("the loss scale and what it must be", operands[-2], STATE)
        return (*parameters, *(tensor for state in others[1:] for tensor in state))


@irdl_op_definition
class Accumulate(GnOperation):
    """(s1…, g1…, hyperparameters) → s1…: s + share·g, share·g for the first part of a mini-batch; g is a gradient."""

    name = "gn.accumulate"
    READS_HYPERPARAMETERS: ClassVar = True

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        count = len(operands) // 2
        expect_operands(operands, 2 * count + 1)
        expect_same("hyperparameters and what they must be", operands[-1], HYPERPARAMETERS)
        for sums, gradient in zip(operands[:count], operands[count : 2 * count], strict=True):
            expect_same("sum and gradient", sums, gradient)
        return operands[:count]


@irdl_op_definition
class UpdateStatistics(GnOperation):
    """(statistics, running mean, running variance[, more[, share]]) → new ones: decay·batch + (1 − decay)·old.

    The batch's variance is that of its statistics, and `more`; both statistics count `share` (1,) times.
    """

    name = "gn.update_statistics"
    ATTRIBUTES: ClassVar = (Declared("decays", "floats"), Declared("count", "int"), Declared("epsilon", "float"))

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 3, 4, 5)
        statistics, mean, *others = operands
        for share in others[2:]:
            expect_shape("share", share, (1,))
        for other in others[:2]:
            expect_same("mean and variance", mean, other)
        expect_shape("statistics", statistics, (1, *mean.shape, 3))
        return (mean, mean)


@irdl_op_definition
class AllReduce(GnOperation):
    """(a1…) → a1…: Σ share·a over all ranks, share being a rank's part of the observations that a is a mean over.

    The caller's collective does it while the ops behind go on, up to the first that reads a result.
    """

    name = "gn.all_reduce"
    COMPUTES: ClassVar = False

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect(bool(operands), "no operands; allowed: one or more")
        for tensor in operands:
            expect(tensor.dtype == operands[0].dtype, f"{tensor.dtype} beside {operands[0].dtype}; one type is reduced")
        return operands


UPDATES = (GradientNorms, Update, Accumulate, UpdateStatistics, AllReduce)
