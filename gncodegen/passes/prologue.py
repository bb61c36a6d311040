"""prologue: a norm whose result one convolution reads is done there, where that saves writing the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern

from gncodegen.ir.gn.forward import Convolution, GroupNorm, GroupStatistics, group_count
from gncodegen.ir.operation import merged_layers, only_user
from gncodegen.ir.values import tensor_of
from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Machine
from gncodegen.passes.machine import ForMachine
from gncodegen.passes.select import problem_of


class NormIntoConvolution(RewritePattern):
    """group_norm, convolution → group_statistics, convolution{norm_groups}; the values keep their bits.

    In training the weights' gradient reads the norm's result too, so that it is written all the same.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: GroupNorm, rewriter: PatternRewriter) -> None:
        y = op.operands[0]
        user = only_user(op.results[0])
        if op.attribute("reduced") != "spatial-channel" or op.attribute("residual"):
            return
        if not isinstance(user, Convolution) or user.operands[0] is not op.results[0] or user.attribute("norm_groups"):
            return
        if not catalog.takes_norm(problem_of(user, self.machine)):
            return
        y, scale, offset, *partials = op.operands
        shared = {"groups": group_count(tensor_of(y), op.values), "epsilon": op.attribute("epsilon")}
        statistics = GroupStatistics((y, *partials), {**shared, "parts": op.attribute("parts")}, merged_layers((op,)))
        attributes = {
            **user.values, "norm_groups": shared["groups"],
            "norm_activation": op.attribute("activation"), "norm_alpha": op.attribute("alpha"),
        }  # fmt: skip
        operands = (y, *user.operands[1:], statistics.results[0], scale, offset)
        rewriter.replace(user, Convolution(operands, attributes, merged_layers((op, user))))
        rewriter.replace(op, statistics, [None, statistics.results[0]])


@dataclass(frozen=True)
class Prologue(ForMachine):
    """Has convolutions normalize what they read, where that is faster, in prediction."""

    name: ClassVar[str] = "prologue"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        PatternRewriteWalker(NormIntoConvolution(self.machine)).rewrite_module(op)
