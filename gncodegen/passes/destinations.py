"""Where results go: the second half of select. A function on buffers returns nothing; it writes into arguments."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.builder import Builder
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, OpResult, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from gncodegen.ir.function import add_arguments, arguments, results, return_of, set_results
from gncodegen.ir.kern import AllocOp, LaunchOp, ViewOp
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
    known = arguments(function)
    outputs = [(value, slot) for value, slot in returned if slot.kind != "update"]
    new = add_arguments(function, ((value.type, slot) for value, slot in outputs))
    # Outputs first: an update then sees that an old value is still to be copied out, and waits.
    places = [(value, target, _written_directly) for (value, _), target in zip(outputs, new, strict=True)]
    places += [(value, known[slot.updates, slot.name], _replaces) for value, slot in returned if slot.kind == "update"]
    moved: dict[SSAValue, SSAValue] = {}
    for value, target, bind in places:
        root = root_of(value)
        if root in moved:
            copy(end, moved[root], target)
        elif bind(value, target):
            moved[root] = target
        else:
            copy(end, value, target)
    function.update_function_type()


def root_of(value: SSAValue) -> SSAValue:
    """The buffer a view looks at, through any number of views."""
    while isinstance(value, OpResult) and isinstance(value.op, ViewOp):
        value = value.op.source
    return value


def _replaces(value: SSAValue, target: SSAValue) -> bool:
    """Lets the op that computes `value` write `target` in place, if it may and nothing reads the old value later."""
    alloc = value.op if isinstance(value, OpResult) else None
    if not isinstance(alloc, AllocOp) or target not in alloc.operands:
        return False
    step = min(launch.step for launch in _readers(value))
    if any(reader.step > step for reader in _readers(target)):
        return False
    alloc.operands = []
    value.replace_all_uses_with(target)
    Rewriter.erase_op(alloc)
    return True


def _written_directly(value: SSAValue, target: SSAValue) -> bool:
    """Replaces the buffer behind `value` by the output argument; False if the buffer is itself an argument."""
    root = root_of(value)
    if not isinstance(root, OpResult) or not isinstance(root.op, AllocOp):
        return False
    alloc = root.op
    whole = target
    if root is not value:
        whole = Builder(InsertPoint.before(alloc)).insert(ViewOp(target, tensor_of(root).shape)).buffer
    alloc.operands = []
    root.replace_all_uses_with(whole)
    Rewriter.erase_op(alloc)
    return True


def _readers(value: SSAValue) -> list[LaunchOp]:
    """Every launch that uses a buffer, also through views."""
    found: list[LaunchOp] = []
    pending: list[Operation] = list(users(value))
    while pending:
        user = pending.pop()
        if isinstance(user, LaunchOp):
            found.append(user)
        elif isinstance(user, ViewOp):
            pending.extend(users(user.buffer))
    return found
