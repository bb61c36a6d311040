"""Intrinsics that move runs of values, and one that keeps a loop as it is written."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from gncodegen.targets.cpu.vector import INT64, LLVM_TYPE

BYTE_POINTER = ir.IntType(8).as_pointer()


def _bytes(builder: Any, count: Any, element: Any) -> Any:
    size = {"float": 4, "double": 8, "i32": 4, "i64": 8, "i8": 1}[str(LLVM_TYPE[element])]
    return builder.mul(count, ir.Constant(INT64, size), flags=("nsw",))


@intrinsic(prefer_literal=False)
def copy(context: Any, target: Any, source: Any, count: Any) -> Any:
    """`copy(target, source, count)`: target[:count] = source[:count]; they must not overlap."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kinds = [BYTE_POINTER, BYTE_POINTER, INT64, ir.IntType(1)]
        move = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.memcpy.p0.p0.i64"
        )
        pointers = [builder.bitcast(pointer, BYTE_POINTER) for pointer in args[:2]]
        builder.call(move, [*pointers, _bytes(builder, args[2], target.dtype), ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(target, target, types.intp), generate


@intrinsic(prefer_literal=False)
def clear(context: Any, target: Any, count: Any) -> Any:
    """`clear(target, count)`: target[:count] = 0."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kinds = [BYTE_POINTER, ir.IntType(8), INT64, ir.IntType(1)]
        fill = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.memset.p0.i64"
        )
        zero = ir.Constant(ir.IntType(8), 0)
        pointer = builder.bitcast(args[0], BYTE_POINTER)
        builder.call(fill, [pointer, zero, _bytes(builder, args[1], target.dtype), ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(target, types.intp), generate


@intrinsic
def opaque(context: Any, value: Any) -> Any:
    """`opaque(v)`: the same pointer or integer, of which LLVM knows nothing, so that it derives nothing from it."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        same = ir.InlineAsm(ir.FunctionType(kind, [kind]), "", "=r,0,~{memory}", side_effect=True)
        return builder.call(same, [args[0]], attrs=("nounwind",))

    return value(value), generate


@intrinsic
def rolled(context: Any) -> Any:
    """`rolled()` in a loop's body: LLVM keeps its iterations apart; nothing is executed.

    Without it LLVM unrolls by up to 8, mixes the iterations, and spills a register tile that fills the registers.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        nothing = ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", side_effect=True)
        builder.call(nothing, [], attrs=("nounwind",))
        return context.get_dummy_value()

    return types.void(), generate
