"""canonicalize: one spelling for what can be said in several ways, and training or prediction decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, OpResult
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import (
    GreedyRewritePatternApplier,
    PatternRewriter,
    PatternRewriteWalker,
    RewritePattern,
    op_type_rewrite_pattern,
)

from gncodegen.ir.function import Slot, results, set_results, setting, slots
from gncodegen.ir.gn.forward import BatchNorm, ChannelNormalize, GroupNorm, MaxPool, Pad, group_count
from gncodegen.ir.gn.pointwise import Add, Concatenate, Dropout, Reshape, Transpose
from gncodegen.ir.gn.update import UpdateStatistics
from gncodegen.ir.values import tensor_of


class GroupsAsNumber(RewritePattern):
    """groups = "all-channels" → 1, "channel-wise" → C; reduced = "channel" without positions is the default."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: GroupNorm, rewriter: PatternRewriter) -> None:
        x = tensor_of(op.operands[0])
        if isinstance(op.attribute("groups"), str):
            op.set_attribute("groups", group_count(x, op.values))
            rewriter.notify_op_modified(op)
        if op.attribute("reduced") == "channel" and len(x.shape) == 2:
            del op.attributes["reduced"]
            rewriter.notify_op_modified(op)


class BatchNormByMode(RewritePattern):
    """Training: group norm over the batch, where it counts also new running statistics. Prediction: trained ones."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: BatchNorm, rewriter: PatternRewriter) -> None:
        x, scale, offset, mean, variance = op.operands
        epsilon = op.attribute("epsilon")
        function = _function(op)
        if not setting(function, "training", False):
            operands = (x, mean, variance, scale, offset)
            rewriter.replace(op, ChannelNormalize(operands, {"epsilon": epsilon}, op.layers))
            return
        shape = tensor_of(x).shape
        attributes = {"groups": shape[-1], "epsilon": epsilon, "reduced": "batch-spatial"}
        norm = GroupNorm((x, scale, offset), attributes, op.layers)
        if setting(function, "function", "") not in ("train_step", "training_forward"):
            rewriter.replace(op, norm, [norm.results[0]])
            return
        count = tensor_of(x).count // shape[-1]
        decays = (op.attribute("mean_decay"), op.attribute("variance_decay"))
        update = UpdateStatistics(
            (norm.results[1], mean, variance), {"decays": decays, "count": count, "epsilon": epsilon}, norm.layers
        )
        rewriter.replace(op, (norm, update), [norm.results[0]])
        names = {value: slot.name for value, slot in slots(function)}
        updated = [
            (new, Slot("update", names[old], updates="state"))  # pyright: ignore[reportArgumentType]
            for new, old in zip(update.results, (mean, variance), strict=True)
        ]
        set_results(function, [*results(function), *updated])


class DropoutByMode(RewritePattern):
    """Dropout does nothing at prediction, nor with probability 0."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: Dropout, rewriter: PatternRewriter) -> None:
        if not setting(_function(op), "training", False) or op.attribute("probability") == 0:
            rewriter.replace(op, (), [op.operands[0]])


class WithoutEffect(RewritePattern):
    """Ops that hand their operand on: pads of 0, windows of 1, one summand, reshapes and transposes to the same."""

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter) -> None:
        match op:
            case Pad():
                idle = not any(op.values.integers("padding"))
            case MaxPool():
                values = op.values
                ones = set(values.integers("window")) | set(values.integers("stride"))
                idle = ones == {1} and not any(values.integers("padding"))
            case Add() | Concatenate():
                idle = len(op.operands) == 1 and not op.attributes.get("activation")
            case Reshape():
                idle = tensor_of(op.operands[0]) == tensor_of(op.results[0])
            case Transpose():
                idle = op.values.integers("permutation") == tuple(range(len(op.values.integers("permutation"))))
            case _:
                idle = False
        if idle:
            rewriter.replace(op, (), [op.operands[0]])


class ReshapeOfReshape(RewritePattern):
    """Two reshapes in a row are one."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: Reshape, rewriter: PatternRewriter) -> None:
        source = op.operands[0]
        if isinstance(source, OpResult) and isinstance(source.op, Reshape):
            rewriter.replace(op, Reshape((source.op.operands[0],), op.values, op.layers))


@dataclass(frozen=True)
class Canonicalize(ModulePass):
    """Brings ops to one spelling, and decides between training and prediction."""

    name: ClassVar[str] = "canonicalize"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        patterns: list[RewritePattern] = [
            GroupsAsNumber(), BatchNormByMode(), DropoutByMode(), WithoutEffect(), ReshapeOfReshape(),
        ]  # fmt: skip
        PatternRewriteWalker(GreedyRewritePatternApplier(patterns)).rewrite_module(op)


def _function(operation: Operation) -> FuncOp:
    parent = operation.parent_op()
    assert isinstance(parent, FuncOp)
    return parent
