"""Where results go: the second half of select. A function on buffers returns nothing; it writes into arguments."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.builder import Builder
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, OpResult, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from gncodegen.ir.function import add_argument, argument, results, return_of, set_results
from gncodegen.ir.kern import Alloc, Launch, View
from gncodegen.ir.operation import users
from gncodegen.ir.values import tensor_of

Copy = Callable[[Builder, SSAValue, SSAValue], None]
"""Emits a copy: builder, source, target."""


def bind_results(function: FuncOp, copy: Copy) -> None:
    """Turns every result into an argument the launches write: outputs get one each, updates the argument they replace.

    Where a value cannot be computed in its destination, it is copied there at the end.
    """
    function.update_function_type()
    returned = results(function)
    set_results(function, [])
    end = Builder(InsertPoint.before(return_of(function)))
    # Updates first: a parameter that is also returned elsewhere would need its old value kept.
    for value, slot in returned:
        if slot.kind == "update":
            target = argument(function, slot.updates, slot.name)
            if not _replaces(value, target):
                copy(end, value, target)
    for value, slot in returned:
        if slot.kind != "update":
            target = add_argument(function, value.type, slot)
            if not _written_directly(value, target):
                copy(end, value, target)
    function.update_function_type()


def _replaces(value: SSAValue, target: SSAValue) -> bool:
    """Lets the op that computes `value` write `target` in place, if it may and nothing reads the old value later."""
    alloc = value.op if isinstance(value, OpResult) else None
    if not isinstance(alloc, Alloc) or target not in alloc.operands:
        return False
    step = _writer(alloc).values.integer("step")
    for reader in _readers(target):
        if reader.values.integer("step") > step:
            return False
    alloc.operands = []
    value.replace_all_uses_with(target)
    Rewriter.erase_op(alloc)
    return True


def _written_directly(value: SSAValue, target: SSAValue) -> bool:
    """Replaces the buffer behind `value` by the output argument; False if the buffer is itself an argument."""
    views: list[View] = []
    root = value
    while isinstance(root, OpResult) and isinstance(root.op, View):
        views.append(root.op)
        root = root.op.source
    if not isinstance(root, OpResult) or not isinstance(root.op, Alloc):
        return False
    alloc = root.op
    if views:
        shape = tensor_of(root).shape
        whole = Builder(InsertPoint.before(alloc)).insert(View(target, shape)).buffer
    else:
        whole = target
    alloc.operands = []
    root.replace_all_uses_with(whole)
    Rewriter.erase_op(alloc)
    return True


def _writer(alloc: Alloc) -> Launch:
    """The first launch that uses the buffer: the one that writes it."""
    found = [user for user in users(alloc.buffer) if isinstance(user, Launch)]
    return min(found, key=lambda launch: launch.values.integer("step"))


def _readers(value: SSAValue) -> list[Launch]:
    """Every launch that uses a buffer, also through views."""
    found: list[Launch] = []
    pending: list[Operation] = list(users(value))
    while pending:
        user = pending.pop()
        if isinstance(user, Launch):
            found.append(user)
        elif isinstance(user, View):
            pending.extend(users(user.buffer))
    return found
