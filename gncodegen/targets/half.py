"""Half-precision storage in LLVM: what lies in memory as 16 bits computes as float32; scalars and vectors alike."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

INT16, INT32 = ir.IntType(16), ir.IntType(32)

BITS = {"float16": ir.HalfType(), "bfloat16": INT16}
"""Storage type → LLVM type of an element in memory; LLVM's own bfloat has no conversions on most processors."""


def widened(builder: Any, element: str, bits: Any) -> Any:
    """Half-precision elements as float32; `bits` are of the element's LLVM type, or 16-bit integers."""
    if element == "float16":
        return builder.fpext(builder.bitcast(bits, _like(bits, ir.HalfType())), _like(bits, ir.FloatType()))
    whole = builder.zext(bits, _like(bits, INT32))
    return builder.bitcast(builder.shl(whole, _integer(whole, 16)), _like(bits, ir.FloatType()))


def narrowed(builder: Any, element: str, value: Any) -> Any:
    """Float32 as half-precision elements in 16-bit integers, rounded to nearest even; a NaN stays one."""
    if element == "float16":
        return builder.bitcast(builder.fptrunc(value, _like(value, ir.HalfType())), _like(value, INT16))
    bits = builder.bitcast(value, _like(value, INT32))
    odd = builder.and_(builder.lshr(bits, _integer(bits, 16)), _integer(bits, 1))
    rounded = builder.add(bits, builder.add(odd, _integer(bits, 0x7FFF)))
    quiet = builder.or_(bits, _integer(bits, 0x400000))
    chosen = builder.select(builder.fcmp_unordered("uno", value, value), quiet, rounded)
    return builder.trunc(builder.lshr(chosen, _integer(bits, 16)), _like(value, INT16))


def _like(value: Any, element: ir.Type) -> ir.Type:
    """The element type, or a vector of as many as `value` has."""
    return ir.VectorType(element, value.type.count) if isinstance(value.type, ir.VectorType) else element


def _integer(like: Any, value: int) -> Any:
    vector = isinstance(like.type, ir.VectorType)
    return ir.Constant(like.type, [value] * like.type.count if vector else value)
