"""partials: convolutions leave the partials of what they write for the norm that reads it, where that costs less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import OpResult
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern

from gncodegen.ir.gn.forward import Convolution, GroupNorm
from gncodegen.ir.operation import merged_layers
from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Machine
from gncodegen.passes.machine import ForMachine
from gncodegen.passes.select import problem_of


class MomentsFromConvolution(RewritePattern):
    """convolution, group_norm → convolution{parts}, group_norm{parts}."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: GroupNorm, rewriter: PatternRewriter) -> None:
        x = op.operands[0]
        if op.attribute("parts") or op.attribute("reduced") != "spatial-channel":
            return
        if not (isinstance(x, OpResult) and isinstance(x.op, Convolution)) or x.op.attribute("parts"):
            return
        parts = catalog.parts(problem_of(x.op, self.machine))
        if not parts:
            return
        producer = Convolution(x.op.operands, {**x.op.values, "parts": parts}, merged_layers((x.op,)))
        y, partials = producer.results
        rewriter.replace(x.op, producer, [y])
        operands = (*op.operands, partials)
        rewriter.replace(op, GroupNorm(operands, {**op.values, "parts": parts}, merged_layers((op,))))


@dataclass(frozen=True)
class PartialStatistics(ForMachine):
    """Has convolutions leave statistics, in parts, for the norm behind them, where that is faster."""

    name: ClassVar[str] = "partial-statistics"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        PatternRewriteWalker(MomentsFromConvolution(self.machine)).rewrite_module(op)
