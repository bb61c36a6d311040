"""layout: arrays come and go in the user's axis order; inside, activations stay channel-last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from xdsl.builder import Builder
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, OpResult, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import (
    GreedyRewritePatternApplier,
    PatternRewriter,
    PatternRewriteWalker,
    RewritePattern,
    op_type_rewrite_pattern,
)
from xdsl.rewriter import InsertPoint

from gncodegen.ir.function import Slot, function_of, results, return_of, set_argument, set_results, slots
from gncodegen.ir.gn.pointwise import Reshape, Transpose
from gncodegen.ir.values import tensor_of, tensor_type
from gncodegen.kernels.schedule import Tensor
from gncodegen.layers.formats import axis_order, permutation


class CancelTransposes(RewritePattern):
    """transpose of transpose → one; a transpose that moves only axes of extent 1 → reshape; none → nothing."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: Transpose, rewriter: PatternRewriter) -> None:
        source, order = op.operands[0], op.values.integers("permutation")
        if isinstance(source, OpResult) and isinstance(source.op, Transpose):
            inner = source.op.values.integers("permutation")
            both = {"permutation": tuple(inner[axis] for axis in order)}
            rewriter.replace(op, Transpose((source.op.operands[0],), both, op.layers))
        elif order == tuple(range(len(order))):
            rewriter.replace(op, (), [source])
        else:
            shape = tensor_of(source).shape
            moved = [axis for axis in order if shape[axis] != 1]
            if moved == sorted(moved):
                target = {"shape": tensor_of(op.results[0]).shape}
                rewriter.replace(op, Reshape((source,), target, op.layers))


@dataclass(frozen=True)
class Layout(ModulePass):
    """Transposes inputs, targets, outputs and input gradients at the function's edges.

    Args:
        data_format: the user's axis order, for example "BCSS"; "" leaves arrays channel-last.
    """

    name: ClassVar[str] = "layout"
    data_format: str = ""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        function = function_of(op)
        if self.data_format:
            self._arguments(function)
            self._results(function)
        PatternRewriteWalker(GreedyRewritePatternApplier([CancelTransposes()])).rewrite_module(op)

    def _arguments(self, function: FuncOp) -> None:
        block = function.body.block
        for argument, slot in slots(function):
            outer = axis_order(self.data_format, slot.format) if slot.format else ""
            if outer == slot.format:
                continue
            tensor = tensor_of(argument)
            shape = tuple(tensor.shape[axis] for axis in permutation(slot.format, outer))
            kind = tensor_type(Tensor(shape, tensor.dtype))
            taken = set_argument(function, argument, kind, replace(slot, format=outer))
            operation = _transposed(taken, permutation(outer, slot.format), InsertPoint.at_start(block))
            taken.replace_uses_with_if(operation.results[0], lambda use, new=operation: use.operation is not new)

    def _results(self, function: FuncOp) -> None:
        returned: list[tuple[SSAValue, Slot]] = []
        end = InsertPoint.before(return_of(function))
        for value, slot in results(function):
            outer = axis_order(self.data_format, slot.format) if slot.format else ""
            if outer != slot.format:
                operation = _transposed(value, permutation(slot.format, outer), end)
                returned.append((operation.results[0], replace(slot, format=outer)))
            else:
                returned.append((value, slot))
        set_results(function, returned)


def _transposed(value: SSAValue, order: tuple[int, ...], point: InsertPoint) -> Operation:
    layers = getattr(value.op, "layers", ()) if isinstance(value, OpResult) else ()
    return Builder(point).insert(Transpose((value,), {"permutation": order}, layers))
