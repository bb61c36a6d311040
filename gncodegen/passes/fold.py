"""fold: in prediction a product takes what follows it channel by channel into its weights and bias."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker
from xdsl.rewriter import InsertPoint

from gncodegen.ir.function import function_of, setting, slots
from gncodegen.ir.gn import GnOperation
from gncodegen.ir.gn.elementwise import Elementwise
from gncodegen.ir.gn.folded import FoldedParameters
from gncodegen.ir.gn.forward import Bias, ChannelNormalize, Convolution, FullyConnected
from gncodegen.ir.gn.transposed import TransposedConvolution
from gncodegen.ir.operation import merged_layers, only_user
from gncodegen.ir.values import encode, tensor_of
from gncodegen.kernels.folding import STEPS
from gncodegen.passes.fuse import Fusion, fused_lines
from gncodegen.passes.hoist import LASTING

FILTER_AXIS: dict[type[Operation], int] = {Convolution: -1, TransposedConvolution: -2, FullyConnected: 0}
"""Products → the axis of their weights that is the result's channels."""


@dataclass(frozen=True)
class Step:
    """An op that does the same to every value of a channel.

    Args:
        operation: the op.
        name: a row of kernels.folding.STEPS.
        operands: what it takes besides the value.
        epsilon: that of normalize.
    """

    operation: GnOperation
    name: str
    operands: tuple[SSAValue, ...]
    epsilon: float = 0.0


class StepsIntoParameters(Fusion):
    """product(x, weights), steps → folded_parameters(weights, …), product(x, folded weights, folded bias).

    Weights and the steps' operands are parameters, so that hoist moves the folding out of the run. A value that others
    read ends the chain. A bias alone is left to fuse.
    """

    def __init__(self, report: list[str], lasting: AbstractSet[SSAValue]) -> None:
        super().__init__(report)
        self.lasting = lasting

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter) -> None:
        axis = FILTER_AXIS.get(type(op))
        if axis is None or not isinstance(op, GnOperation) or len(op.operands) != 2 or op.attribute("activation"):
            return
        x, weights = op.operands
        steps = list(self._steps(op.results[0]))
        if weights not in self.lasting or all(isinstance(step.operation, Bias) for step in steps):
            return
        attributes = {
            "steps": tuple(step.name for step in steps),
            "epsilons": tuple(step.epsilon for step in steps),
            "axis": axis % len(tensor_of(weights).shape),
        }
        operations = (op, *(step.operation for step in steps))
        layers = merged_layers(operations)
        operands = (weights, *(operand for step in steps for operand in step.operands))
        folded = FoldedParameters(operands, attributes, layers)
        product = type(op)((x, *folded.results), op.values, layers)
        self.note(*operations)
        rewriter.insert((folded, product), InsertPoint.before(op))
        rewriter.replace(operations[-1], (), product.results)
        for operation in reversed(operations[:-1]):
            rewriter.erase(operation)

    def _steps(self, value: SSAValue) -> Iterator[Step]:
        """The steps that a value goes through, as long as nothing else reads what is between them."""
        while (step := self._step(value)) is not None:
            yield step
            value = step.operation.results[0]

    def _step(self, value: SSAValue) -> Step | None:
        user = only_user(value)
        match user:
            case ChannelNormalize() if user.operands[0] is value and not user.attribute("activation"):
                step = Step(user, "normalize", tuple(user.operands[1:]), user.values.real("epsilon"))
            case Bias() if user.operands[0] is value:
                step = Step(user, "add", (user.operands[1],))
            case Elementwise() if user.values.text("function") in STEPS and len(user.operands) == 2:
                first, second = user.operands
                ordered = user.values.text("function") in ("subtract", "divide")
                if ordered and first is not value:
                    return None
                step = Step(user, user.values.text("function"), (second if first is value else first,))
            case _:
                return None
        return step if all(self._per_channel(operand, value) for operand in step.operands) else None

    def _per_channel(self, operand: SSAValue, value: SSAValue) -> bool:
        """Whether an operand is a parameter with one value, or one per channel, and repeats to the shape of a value."""
        if operand not in self.lasting:
            return False
        given, wanted = tensor_of(operand), tensor_of(value)
        channels = wanted.shape[-1:]
        fits = given.count == 1 or (given.shape[-1:] == channels and given.count == channels[0])
        return fits and len(given.shape) <= len(wanted.shape)


@dataclass(frozen=True)
class Fold(ModulePass):
    """Folds affine maps of channels into the weights in front of them, in prediction."""

    name: ClassVar[str] = "fold"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        function = function_of(op)
        if setting(function, "training", False):
            return
        report = list(fused_lines(op))
        lasting = {value for value, slot in slots(function) if slot.kind in LASTING}
        PatternRewriteWalker(StepsIntoParameters(report, lasting)).rewrite_module(op)
        if report:
            op.attributes["gn.fused"] = encode(tuple(report))
