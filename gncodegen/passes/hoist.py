"""hoist: launches that read parameters alone come first; what they write is kept until a parameter changes."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from gncodegen.ir.function import body_of, function_of, operations_of, slots
from gncodegen.ir.kern import AllocOp, AllReduceOp, LaunchOp, ViewOp
from gncodegen.passes.destinations import root_of

LASTING = ("parameter", "state")
"""Kinds of arguments that stay the same from run to run, unless a launch writes them."""


def hoistable(function: FuncOp) -> list[LaunchOp]:
    """The launches that compute the same in every run, as long as no parameter changes.

    They read parameters that the function never writes, and what other such launches wrote; and they write buffers that
    nothing else writes.
    """
    launches = [operation for operation in operations_of(function) if isinstance(operation, LaunchOp)]
    writers: dict[SSAValue, list[LaunchOp]] = {}
    for launch in launches:
        for value in launch.written:
            writers.setdefault(root_of(value), []).append(launch)
    lasting = {value for value, slot in slots(function) if slot.kind in LASTING and value not in writers}
    reduced = {
        root_of(value) for each in operations_of(function) if isinstance(each, AllReduceOp) for value in each.operands
    }
    found = {launch for launch in launches if reduced.isdisjoint(map(root_of, launch.written))}
    while True:
        kept = {launch for launch in found if _same(launch, lasting, writers, found)}
        if kept == found:
            return [launch for launch in launches if launch in found]
        found = kept


def _same(
    launch: LaunchOp,
    lasting: AbstractSet[SSAValue],
    writers: dict[SSAValue, list[LaunchOp]],
    found: AbstractSet[LaunchOp],
) -> bool:
    """Whether a launch reads and writes nothing but what is lasting or belongs to launches of `found`."""
    written = {root_of(value) for value in launch.written}
    read = {root_of(value) for value in launch.read} - lasting
    return all(isinstance(root.owner, AllocOp) and found >= set(writers.get(root, ())) for root in written | read)


@dataclass(frozen=True)
class Hoist(ModulePass):
    """Moves what depends on parameters alone to the beginning; its results are kept from run to run.

    What only leads to constants, such as folded weights that are then packed, lies in the arena like anything else.
    """

    name: ClassVar[str] = "hoist"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        function = function_of(op)
        launches = set(hoistable(function))
        if not launches:
            return
        early = {root_of(value) for launch in launches for value in launch.written}
        others = [other for other in operations_of(function) if isinstance(other, LaunchOp) and other not in launches]
        constants = early & {root_of(value) for other in others for value in other.read}
        moved: list[Operation] = []
        for operation in operations_of(function):
            match operation:
                case AllocOp():
                    operation.operands = [v for v in operation.operands if root_of(v) not in early]
                    if operation.buffer in constants:
                        operation.keep()
                    if operation.buffer in early:
                        moved.append(operation)
                case ViewOp() if root_of(operation.buffer) in early or root_of(operation.buffer) in function.args:
                    moved.append(operation)
                case LaunchOp() if operation in launches:
                    moved.append(operation)
                case _:
                    pass
        block = body_of(function)
        for operation in moved:
            operation.detach()
        first = block.first_op
        assert first is not None, "there is a return"
        block.insert_ops_before(moved, first)
