"""reduce: the gradients of a training step are averaged over ranks, bucket by bucket, as soon as they are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, OpResult, SSAValue
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import PassFailedException

from gncodegen.ir.function import body_of, function_of, operations_of, results, return_of
from gncodegen.ir.gn.update import AllReduce, GradientNorms, Update, UpdateStatistics
from gncodegen.ir.operation import merged_layers
from gncodegen.ir.values import tensor_of


@dataclass(frozen=True)
class Reduce(ModulePass):
    """Puts gn.all_reduce behind the gradients of each bucket, and running statistics, in the order they are computed.

    Args:
        bucket_size: bytes of gradients from which on they are sent; 0 = there is one rank, and nothing to do.
    """

    name: ClassVar[str] = "reduce"
    bucket_size: int = 0

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if self.bucket_size < 0:
            raise PassFailedException(f"bucket_size = {self.bucket_size}; allowed: bytes, 0 or more; correct it")
        if not self.bucket_size:
            return
        function = function_of(op)
        readers: set[Operation] = {each for each in operations_of(function) if isinstance(each, Update | GradientNorms)}
        readers |= {return_of(function)}
        before: list[Operation] = []
        for bucket in self._buckets(_averaged(function)):
            owners = [value.op for value in bucket if isinstance(value, OpResult)]
            averages = AllReduce(bucket, layers=merged_layers(owners))
            body_of(function).insert_op_after(averages, _last([*owners, *before], function))
            before = [averages]
            for value, average in zip(bucket, averages.results, strict=True):
                average.name_hint = value.name_hint
                value.replace_uses_with_if(average, lambda use: use.operation in readers)

    def _buckets(self, values: Sequence[SSAValue]) -> Iterator[list[SSAValue]]:
        bucket: list[SSAValue] = []
        for value in values:
            bucket.append(value)
            if sum(tensor_of(each).bytes for each in bucket) >= self.bucket_size:
                yield bucket
                bucket = []
        if bucket:
            yield bucket


def _averaged(function: FuncOp) -> list[SSAValue]:
    """The gradients that an update reads, and new running statistics, each once, in the order of computation."""
    place = {operation: index for index, operation in enumerate(operations_of(function))}
    found: list[SSAValue] = []
    for operation in place:
        if isinstance(operation, Update):
            count = len(operation.values.texts("names"))
            found += operation.operands[count : 2 * count]
    found += [value for value, _ in results(function) if isinstance(value.owner, UpdateStatistics)]
    owners: dict[SSAValue, Operation] = {value: value.op for value in found if isinstance(value, OpResult)}
    return sorted(owners, key=lambda value: place[owners[value]])


def _last(operations: Sequence[Operation], function: FuncOp) -> Operation:
    return next(each for each in reversed(operations_of(function)) if each in operations)
