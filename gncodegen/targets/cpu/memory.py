"""Intrinsics that move runs of values, and one that keeps a loop as it is written."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from gncodegen.targets.cpu.half import HalfPointer, as_stored
from gncodegen.targets.cpu.vector import (
    BYTES,
    INT32,
    INT64,
    address,
    element_bytes,
    literal,
    load_value,
    store_value,
)

BYTE_POINTER = ir.IntType(8).as_pointer()


COPIED_LANES = 16
"""Elements that a copy between storage types converts at once."""


def _bytes(builder: Any, count: Any, pointer: Any) -> Any:
    return builder.mul(count, ir.Constant(INT64, BYTES[str(pointer.type.pointee)]), flags=("nsw",))


def _converted(builder: Any, target: Any, source: Any, count: Any) -> None:
    """LLVM: the elements of one storage type as those of another."""
    whole = builder.and_(count, ir.Constant(INT64, -COPIED_LANES))
    for start, end, lanes in ((ir.Constant(INT64, 0), whole, COPIED_LANES), (whole, count, 1)):
        with cgutils.for_range_slice(builder, start, end, ir.Constant(INT64, lanes), INT64) as (index, _):
            store_value(builder, target, index, load_value(builder, source, index, lanes))


@intrinsic(prefer_literal=False)
def copy(context: Any, target: Any, source: Any, count: Any) -> Any:
    """`copy(target, source, count)`: target[:count] = source[:count], in target's type; they must not overlap."""
    given = source if isinstance(source, HalfPointer) or isinstance(target, HalfPointer) else target

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if given != target:
            _converted(builder, *args)
            return context.get_dummy_value()
        kinds = [BYTE_POINTER, BYTE_POINTER, INT64, ir.IntType(1)]
        move = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.memcpy.p0.p0.i64"
        )
        pointers = [builder.bitcast(pointer, BYTE_POINTER) for pointer in args[:2]]
        builder.call(move, [*pointers, _bytes(builder, args[2], args[0]), ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(target, given, types.intp), generate


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
        builder.call(fill, [pointer, zero, _bytes(builder, args[1], args[0]), ir.Constant(ir.IntType(1), 0)])
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


@intrinsic
def stream(context: Any, base: Any, index: Any, value: Any) -> Any:
    """`stream(p, i, v)`: p[i : i + lanes] = v past the caches; p + i is a multiple of 64 bytes, or of the vector."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _stream_value(builder, address(builder, args[0], args[1]), args[2])
        return context.get_dummy_value()

    return types.void(base, types.intp, value), generate


@intrinsic
def drain(context: Any) -> Any:
    """`drain()`: what was streamed is written before anything that follows."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function_type = ir.FunctionType(ir.VoidType(), [])
        if "x86" in builder.module.triple:
            builder.call(cgutils.get_or_insert_function(builder.module, function_type, "llvm.x86.sse.sfence"), [])
        else:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic(prefer_literal=True)
def transpose_block(context: Any, x: Any, i: Any, x_stride: Any, y: Any, j: Any, y_stride: Any, lanes: Any) -> Any:
    """`transpose_block(x, i, x_stride, y, j, y_stride, n)`: y[j + c·y_stride + r] = x[i + r·x_stride + c], n = 2^k."""
    count = literal(lanes, "lanes")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def at(base: Any, start: Any, stride: Any, row: int) -> Any:
            return builder.gep(base, [builder.add(start, builder.mul(stride, ir.Constant(INT64, row)))])

        rows = [load_value(builder, at(args[0], args[1], args[2], r), 0, count) for r in range(count)]
        step = 1
        while step < count:  # swap the off-diagonal blocks of step × step
            low = [k if not k & step else count + k - step for k in range(count)]
            high = [k + step if not k & step else count + k for k in range(count)]
            masks = [ir.Constant(ir.VectorType(INT32, count), lanes) for lanes in (low, high)]
            for r in (r for r in range(count) if not r & step):
                pair = rows[r], rows[r + step]
                rows[r], rows[r + step] = (builder.shuffle_vector(*pair, mask) for mask in masks)
            step *= 2
        for c, row in enumerate(rows):
            store_value(builder, at(args[3], args[4], args[5], c), 0, row)
        return context.get_dummy_value()

    index = types.intp
    return types.void(x, index, index, y, index, index, lanes), generate


@intrinsic
def prefetch(context: Any, base: Any, index: Any) -> Any:
    """`prefetch(p, i)`: ask for p[i]'s cache line in L1; p[i] need not exist."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte_pointer = ir.IntType(8).as_pointer()
        function_type = ir.FunctionType(ir.VoidType(), [byte_pointer, INT32, INT32, INT32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        at = builder.bitcast(builder.gep(args[0], [args[1]]), byte_pointer)
        builder.call(function, [at, ir.Constant(INT32, 0), ir.Constant(INT32, 3), ir.Constant(INT32, 1)])
        return context.get_dummy_value()

    return types.void(base, types.intp), generate


def _stream_value(builder: Any, pointer: Any, value: Any) -> None:
    """LLVM: a store that leaves the caches alone, of whole vectors that begin at a multiple of their size."""
    hint, value = builder.module.add_metadata([ir.Constant(INT32, 1)]), as_stored(builder, value, pointer.type.pointee)
    register = min(64, value.type.count * element_bytes(value.type))
    written = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=register)
    written.set_metadata("nontemporal", hint)
