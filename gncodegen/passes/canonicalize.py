"""canonicalize: one spelling for what can be said in several ways, and training or prediction decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

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

from gncodegen.ir.function import Slot, results, set_results, setting, slots
from gncodegen.ir.gn import GnOperation
from gncodegen.ir.gn.elementwise import Elementwise
from gncodegen.ir.gn.forward import (
    BatchNorm,
    ChannelNormalize,
    GroupNorm,
    GroupStatistics,
    MaxPool,
    Pad,
    group_count,
)
from gncodegen.ir.gn.gradient import BiasGradient
from gncodegen.ir.gn.masked import MaskedBatchNorm, MaskedChannelNormalize
from gncodegen.ir.gn.pointwise import Add, Concatenate, Dropout, Reshape, Transpose
from gncodegen.ir.gn.update import AllReduce, UpdateStatistics
from gncodegen.ir.values import Value, tensor_of
from gncodegen.kernels.program import STEPS


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
    """Training: group norm over the batch, where it counts also new running statistics. Prediction: trained ones.

    Args:
        synchronize: a training step takes the statistics of all ranks' observations.
    """

    def __init__(self, synchronize: bool = False) -> None:
        self.synchronize = synchronize

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: BatchNorm, rewriter: PatternRewriter) -> None:
        x, scale, offset, mean, variance, *_ = op.operands
        epsilon = op.attribute("epsilon")
        function = _function(op)
        if not setting(function, "training", False):
            operands = (x, mean, variance, scale, offset)
            rewriter.replace(op, ChannelNormalize(operands, {"epsilon": epsilon}, op.layers))
            return
        kind = setting(function, "function", "")
        made = _over_ranks(op) if self.synchronize and kind in STEPS else _over_batch(op)
        if kind not in (*STEPS, "training_forward"):
            rewriter.replace(op, made.operations, [made.y])
            return
        count = tensor_of(x).count // tensor_of(x).shape[-1]
        decays = (op.attribute("mean_decay"), op.attribute("variance_decay"))
        update = UpdateStatistics(
            (made.statistics, mean, variance, *made.more),
            {"decays": decays, "count": count, "epsilon": epsilon},
            made.operations[0].layers,
        )
        rewriter.replace(op, (*made.operations, update), [made.y])
        names = {value: slot.name for value, slot in slots(function)}
        updated = [
            (new, Slot("update", names[old], updates="state"))  # pyright: ignore[reportArgumentType]
            for new, old in zip(update.results, (mean, variance), strict=True)
        ]
        set_results(function, [*results(function), *updated])


@dataclass(frozen=True)
class _Normalized:
    """A batch norm of a training step as other ops.

    Args:
        operations: in order.
        y: its result.
        statistics: of this rank's observations.
        more: what their variance lacks of that over all ranks, and how much both count, where they do.
    """

    operations: tuple[GnOperation, ...]
    y: SSAValue
    statistics: SSAValue
    more: tuple[SSAValue, ...] = ()


def _over_batch(op: BatchNorm) -> _Normalized:
    """A group norm over the batch, or over the steps that its sequences have."""
    norm: GnOperation
    if steps := op.operands[5:]:
        norm = MaskedBatchNorm((*op.operands[:3], *steps), {"epsilon": op.attribute("epsilon")}, op.layers)
    else:
        norm = GroupNorm(op.operands[:3], _of_batch(op), op.layers)
    return _Normalized((norm,), norm.results[0], norm.results[1])


def _over_ranks(op: BatchNorm) -> _Normalized:
    """By the average of all ranks' means, and that of their variances about it: σ_r² + (μ_r − μ)².

    Of sequences, averages are weighed by the steps that an observation has on each rank.
    """
    x, scale, offset, *more = op.operands
    running, steps = more[:2], more[2:]
    made = _Chain(op.layers)
    own = {"decays": (1.0, 1.0), "count": 1, "epsilon": op.attribute("epsilon")}
    if steps:
        attributes = {"epsilon": op.attribute("epsilon")}
        statistics = made.add(MaskedBatchNorm, (x, scale, offset, *steps), attributes)[1]
        weight = _mean_steps(made, steps, own)
    else:
        statistics, weight = made.add(GroupStatistics, (x,), _of_batch(op))[0], None
    here = made.add(UpdateStatistics, (statistics, *running), own)[0]
    (mean,), count = _average(made, here, weight)
    apart = made.elementwise("subtract", here, mean)
    about = made.elementwise("multiply", apart, apart)
    variance = _average(made, made.add(UpdateStatistics, (statistics, *running, about), own)[1], weight)[0][0]
    operands, attributes = (x, mean, variance, scale, offset), {"epsilon": op.attribute("epsilon")}
    if weight is None or count is None:
        (y,) = made.add(ChannelNormalize, operands, attributes | {"of_batch": True})
        return _Normalized(tuple(made.operations), y, statistics, (about,))
    (y,) = made.add(MaskedChannelNormalize, (*operands, *steps, count), attributes)
    share = made.elementwise("divide", weight, count)
    return _Normalized(tuple(made.operations), y, statistics, (about, share))


def _average(made: _Chain, value: SSAValue, weight: SSAValue | None) -> tuple[tuple[SSAValue, ...], SSAValue | None]:
    """The average over ranks, weighed if it is to be, and that of the weight."""
    if weight is None:
        return made.add(AllReduce, (value,)), None
    weighed = made.elementwise("multiply", value, weight)
    total, count = made.add(AllReduce, (weighed, weight))
    return (made.elementwise("divide", total, count),), count


def _mean_steps(made: _Chain, steps: Sequence[SSAValue], own: Mapping[str, Value]) -> SSAValue:
    """The average of the steps of this rank's observations, (1,)."""
    of_one = {"groups": 1, "epsilon": own["epsilon"], "reduced": "batch-spatial"}
    statistics = made.add(GroupStatistics, steps, of_one)[0]
    before = made.add(BiasGradient, steps)[0]  # of the running mean's shape; it counts 0 times
    return made.add(UpdateStatistics, (statistics, before, before), own)[0]


class _Chain:
    """Ops of a layer, one after the other."""

    def __init__(self, layers: tuple[str, ...]) -> None:
        self.layers = layers
        self.operations: list[GnOperation] = []

    def add(
        self, kind: type[GnOperation], operands: Sequence[SSAValue], attributes: Mapping[str, Value] | None = None
    ) -> tuple[SSAValue, ...]:
        """The results of another one."""
        self.operations.append(kind(operands, attributes or {}, self.layers))
        return tuple(self.operations[-1].results)

    def elementwise(self, function: str, *operands: SSAValue) -> SSAValue:
        """The result of a function of elements."""
        return self.add(Elementwise, operands, {"function": function})[0]


def _of_batch(op: BatchNorm) -> dict[str, Value]:
    """The attributes of statistics of each channel over the batch."""
    channels = tensor_of(op.operands[0]).shape[-1]
    return {"groups": channels, "epsilon": op.attribute("epsilon"), "reduced": "batch-spatial"}


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
    """Brings ops to one spelling, and decides between training and prediction.

    Args:
        synchronize: batch norms of a training step take the statistics of all ranks' observations.
    """

    name: ClassVar[str] = "canonicalize"
    synchronize: bool = False

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        patterns: list[RewritePattern] = [
            GroupsAsNumber(), BatchNormByMode(self.synchronize), DropoutByMode(), WithoutEffect(), ReshapeOfReshape(),
        ]  # fmt: skip
        PatternRewriteWalker(GreedyRewritePatternApplier(patterns)).rewrite_module(op)


def _function(operation: Operation) -> FuncOp:
    parent = operation.parent_op()
    assert isinstance(parent, FuncOp)
    return parent
