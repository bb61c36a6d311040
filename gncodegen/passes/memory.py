"""memory: every kern.alloc gets its place in one arena, from the lifetimes over the launches."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter
from xdsl.utils.exceptions import PassFailedException

from gncodegen.ir.function import function_of, operations_of
from gncodegen.ir.kern import AllocOp, AllReduceOp, LaunchOp
from gncodegen.ir.values import encode, tensor_of
from gncodegen.passes.destinations import root_of
from gncodegen.passes.placement import Lifetime, aligned_size, place


def lifetimes(function: FuncOp) -> dict[AllocOp, Lifetime]:
    """The lifetime of every alloc of the arena that a launch uses, over the indices of the launches.

    Raises:
        PassFailedException: a launch reads a buffer that nothing has written.
    """
    operations = operations_of(function)
    allocs = [operation for operation in operations if isinstance(operation, AllocOp) and not operation.constant]
    launches = [operation for operation in operations if isinstance(operation, LaunchOp)]
    step_end = {launch.step: index for index, launch in enumerate(launches)}
    first: dict[SSAValue, int] = {}
    last: dict[SSAValue, int] = {}
    shared: set[tuple[SSAValue, int]] = set()
    for index, launch in enumerate(launches):
        written = {root_of(value) for value in launch.written}
        roots = [root_of(value) for value in launch.operands]
        for root in roots:
            if root not in first and root not in written and isinstance(root.owner, AllocOp):
                raise PassFailedException(
                    f"kern.launch @{launch.kernel_name} reads a buffer that no launch has written"
                )
            first.setdefault(root, index)
            last[root] = index
            if roots.count(root) > 1:
                shared.add((root, launch.step))
    used = {alloc: index for index, alloc in enumerate(alloc for alloc in allocs if alloc.buffer in first)}
    lives: dict[AllocOp, Lifetime] = {}
    for alloc in used:
        buffer = alloc.buffer
        step = launches[first[buffer]].step
        candidates = [root_of(operand) for operand in alloc.operands]
        takes_over = tuple(
            used[root.owner]
            for root in candidates
            # A buffer that fills two operands of one launch is still read as the other while this one is written.
            if isinstance(root.owner, AllocOp) and root.owner in used and (root, step) not in shared
        )
        lives[alloc] = Lifetime(tensor_of(buffer).bytes, first[buffer], last[buffer], takes_over, step_end[step])
    return lives


def reduced(function: FuncOp, allocs: Container[AllocOp]) -> list[AllocOp]:
    """The allocs that are averaged over ranks, in the order of their reductions.

    Args:
        function: on buffers.
        allocs: of the arena, written by launches.

    Raises:
        PassFailedException: another buffer is reduced, or one twice.
    """
    found: list[AllocOp] = []
    for operation in operations_of(function):
        for root in map(root_of, operation.operands if isinstance(operation, AllReduceOp) else ()):
            if not isinstance(root.owner, AllocOp) or root.owner not in allocs or root.owner in found:
                raise PassFailedException(
                    "kern.all_reduce of a buffer that is an argument, constant, never written or reduced twice; "
                    "allowed: buffers of the arena, each once; copy it"
                )
            found.append(root.owner)
    return found


@dataclass(frozen=True)
class Memory(ModulePass):
    """Places all buffers in one arena, by their lifetimes.

    Greedy best fit, largest first, 64-byte aligned; the function's attribute kern.arena_bytes is the peak.

    Buffers that are reduced lie side by side in the order of their reductions.
    Constant buffers lie side by side in memory of their own, of kern.constant_bytes.
    """

    name: ClassVar[str] = "memory"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        function = function_of(op)
        lives = lifetimes(function)
        index = {alloc: position for position, alloc in enumerate(lives)}
        placement = place(list(lives.values()), [index[alloc] for alloc in reduced(function, lives)])
        for alloc, offset in zip(lives, placement.offsets, strict=True):
            alloc.place(offset)
        constant_bytes = 0
        for operation in operations_of(function):
            if isinstance(operation, AllocOp):
                operation.operands = []
                if operation.constant:
                    operation.place(constant_bytes)
                    constant_bytes += aligned_size(tensor_of(operation.buffer).bytes)
                elif operation not in lives:
                    Rewriter.erase_op(operation)
        function.attributes["kern.constant_bytes"] = encode(constant_bytes)
        function.attributes["kern.arena_bytes"] = encode(placement.peak)
