"""Copies from global to shared memory that no register waits for (cp.async, sm_80 and later).

Source: PTX ISA, "Data Movement and Conversion Instructions: Asynchronous copy".
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.memory import index_type
from gncodegen.targets.cuda.numba_cuda import intrinsic, intrinsic_of_literals, types
from gncodegen.targets.cuda.values import INDEX, INT32, INT64, literal


@intrinsic_of_literals
def copy_where(context: Any, target: Any, at: Any, base: Any, index: Any, lanes: Any, condition: Any) -> Any:
    """`copy_where(s, k, p, i, lanes, condition)`: starts s[k : k + lanes] = p[i : i + lanes], or zeros where it fails.

    s is in shared memory and of p's type; 4, 8 or 16 bytes. `await_copies` says when the values are there.
    """
    size = literal(lanes, "lanes") * (8 if base.element == "float64" else 4)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = builder.ptrtoint(builder.gep(args[0], [args[1]]), INT32)
        source = builder.gep(args[2], [args[3] if args[3].type.width == 64 else builder.zext(args[3], INT64)])
        count = builder.select(args[5], ir.Constant(INT32, size), ir.Constant(INT32, 0))
        function = ir.FunctionType(ir.VoidType(), [INT32, source.type, INT32])
        text = f"cp.async.{'cg' if size == 16 else 'ca'}.shared.global [$0], [$1], {size}, $2;"
        builder.call(ir.InlineAsm(function, text, "r,l,r,~{memory}", side_effect=True), [place, source, count])
        return context.get_dummy_value()

    return types.void(target, INDEX, base, index_type(index), lanes, types.boolean), generate


def _command(builder: Any, text: str) -> None:
    builder.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), text, "~{memory}", side_effect=True), [])


@intrinsic
def commit_copies(context: Any) -> Any:
    """`commit_copies()`: the copies that the thread started since the last commit are one group."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _command(builder, "cp.async.commit_group;")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic_of_literals
def await_copies(context: Any, most: Any) -> Any:
    """`await_copies(most)`: all but the thread's `most` latest groups have arrived; a barrier tells the others."""
    groups = literal(most, "most")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _command(builder, f"cp.async.wait_group {groups};")
        return context.get_dummy_value()

    return types.void(most), generate
