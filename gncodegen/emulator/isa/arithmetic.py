"""Arithmetic of integers, float32, float64 and the half types (PTX ISA 9.7.1 to 9.7.4).

`.ftz` is accepted and ignored: subnormals are kept. The `approx` forms are computed in float64 and rounded.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from gncodegen.emulator.isa import floats
from gncodegen.emulator.isa.effects import Compute, Effect, pure
from gncodegen.emulator.isa.integers import (
    carrying,
    high_product,
    quotient,
    remainder,
    shift_left,
    shift_right,
    wide,
)
from gncodegen.emulator.isa.packed import pairs
from gncodegen.emulator.ptx.operands import Decoder, unsupported
from gncodegen.emulator.ptx.scalars import DTYPE, Array
from gncodegen.emulator.ptx.text import Instruction

HALVES = {"f16", "bf16", "f16x2", "bf16x2"}
_DIRECTED = {"rz", "rm", "rp"}


def _mode(instruction: Instruction) -> str:
    return next((part for part in instruction.opcode if part in _DIRECTED), "rn")


def _decode(decoder: Decoder, instruction: Instruction, function: Compute, kinds: list[str], result: str) -> Effect:
    if len(kinds) != len(instruction.operands) - 1:
        raise unsupported(instruction)
    sources = [decoder.source(text, DTYPE[kind]) for text, kind in zip(instruction.operands[1:], kinds, strict=True)]
    return pure(function, sources, decoder.destination(instruction.operands[0], DTYPE[result]))


def two(decoder: Decoder, instruction: Instruction) -> Effect:
    """add, sub, mul, div, rem."""
    name, kind = instruction.opcode[0], instruction.opcode[-1]
    if "cc" in instruction.opcode or name in {"addc", "subc"}:
        return carrying(decoder, instruction)
    if kind in HALVES:
        return half(decoder, instruction)
    if kind == "f32x2":
        return pair(decoder, instruction, _float_two(instruction))
    if kind.endswith("16x2"):
        return pairs(decoder, instruction)
    function: Compute
    result = kind
    if kind.startswith("f"):
        function = _float_two(instruction)
    elif name == "mul" and "wide" in instruction.opcode:
        result = wide(kind)
        function = _wide_product(result)
    elif name == "mul" and "hi" in instruction.opcode:
        function = high_product
    else:
        function = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": quotient, "rem": remainder}[name]
    if "sat" in instruction.opcode:
        function = _saturated(function, kind)
    return _decode(decoder, instruction, function, [kind, kind], result)


def _float_two(instruction: Instruction) -> Compute:
    name, kind, mode = instruction.opcode[0], instruction.opcode[-1], _mode(instruction)
    plain = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
    if mode == "rn":
        return plain[name]
    if not kind.startswith("f32") or name == "div":
        raise unsupported(instruction)
    return {
        "add": partial(floats.sum32, mode=mode),
        "sub": lambda a, b: floats.sum32(a, np.negative(b), mode),
        "mul": partial(floats.product32, mode=mode),
    }[name]


@cache
def _saturated(function: Compute, kind: str) -> Compute:
    if kind.startswith("f"):
        return lambda *given: _unit(function(*given))
    limits = np.iinfo(DTYPE[kind])
    return lambda a, b: np.clip(function(a.astype(np.int64), np.asarray(b).astype(np.int64)), limits.min, limits.max)


def _unit(value: Array) -> Array:
    return np.where(np.isnan(value), value.dtype.type(0), np.clip(value, 0, 1))


def three(decoder: Decoder, instruction: Instruction) -> Effect:
    """Mad and fma."""
    name, kind, parts = instruction.opcode[0], instruction.opcode[-1], instruction.opcode
    if "cc" in parts or name == "madc":
        return carrying(decoder, instruction)
    if kind in HALVES:
        return half(decoder, instruction)
    if kind.startswith("f"):
        return _float_three(decoder, instruction)
    function, result = _multiply_add, kind
    if "wide" in parts:
        result = wide(kind)
        function = _wide_multiply_add(result)
    elif "hi" in parts:
        function = _high_multiply_add
    return _decode(decoder, instruction, function, [kind, kind, result], result)


def _multiply_add(a: Array, b: Array, c: Array) -> Array:
    return a * b + c


def _high_multiply_add(a: Array, b: Array, c: Array) -> Array:
    return high_product(a, b) + c


@cache
def _wide_product(kind: str) -> Compute:
    return partial(np.multiply, dtype=DTYPE[kind])


@cache
def _wide_multiply_add(kind: str) -> Compute:
    return lambda a, b, c: np.multiply(a, b, dtype=DTYPE[kind]) + c


def _float_three(decoder: Decoder, instruction: Instruction) -> Effect:
    kind, mode = instruction.opcode[-1], _mode(instruction)
    if kind == "f64" and mode != "rn":
        raise unsupported(instruction)
    function: Compute = floats.fused64 if kind == "f64" else floats.fused32
    function = function if mode == "rn" else partial(floats.fused32_directed, mode=mode)
    if kind == "f32x2":
        return pair(decoder, instruction, function)
    function = _saturated(function, kind) if "sat" in instruction.opcode else function
    return _decode(decoder, instruction, function, [kind] * 3, kind)


def extreme(decoder: Decoder, instruction: Instruction) -> Effect:
    """Min and max; a NaN loses unless `.NaN` is given; −0 < +0."""
    name, kind, parts = instruction.opcode[0], instruction.opcode[-1], instruction.opcode
    if kind in HALVES:
        return half(decoder, instruction)
    if kind.endswith("16x2"):
        return pairs(decoder, instruction)
    if not kind.startswith("f"):
        function: Compute = np.minimum if name == "min" else np.maximum
        return _decode(decoder, instruction, function, [kind] * (len(instruction.operands) - 1), kind)
    chosen = _float_extreme(name, "NaN" in parts)
    function = chosen if len(instruction.operands) == 3 else lambda a, b, c: chosen(chosen(a, b), c)
    return _decode(decoder, instruction, function, [kind] * (len(instruction.operands) - 1), kind)


@cache
def _float_extreme(name: str, with_nan: bool) -> Compute:
    plain = {("min", False): np.fmin, ("max", False): np.fmax, ("min", True): np.minimum, ("max", True): np.maximum}
    pick = plain[name, with_nan]

    def choose(a: Array, b: Array) -> Array:
        result = pick(a, b)
        zeros = (a == 0) & (b == 0)
        if np.any(zeros):
            negative = (np.signbit(a) | np.signbit(b)) if name == "min" else (np.signbit(a) & np.signbit(b))
            result = np.where(zeros, np.where(negative, a.dtype.type(-0.0), a.dtype.type(0.0)), result)
        return result

    return choose


def _wide(function: Compute) -> Compute:
    """`function` in float64, rounded to float32."""
    return lambda a: function(np.asarray(a, np.float64))


UNARY: dict[str, Compute] = {
    "neg": np.negative,
    "abs": np.abs,
    "not": np.invert,
    "sqrt": np.sqrt,
    "rcp": _wide(lambda a: 1.0 / a),
    "rsqrt": _wide(lambda a: 1.0 / np.sqrt(a)),
    "ex2": _wide(np.exp2),
    "lg2": _wide(np.log2),
    "sin": _wide(np.sin),
    "cos": _wide(np.cos),
    "tanh": _wide(np.tanh),
    "cnot": lambda a: (a == 0).astype(a.dtype),
}


def one(decoder: Decoder, instruction: Instruction) -> Effect:
    """neg, abs, not, cnot, sqrt, rcp, rsqrt, ex2, lg2, sin, cos, tanh."""
    name, kind = instruction.opcode[0], instruction.opcode[-1]
    if kind in HALVES:
        return half(decoder, instruction)
    mode = _mode(instruction)
    function = UNARY[name]
    if name in {"rcp", "sqrt"} and mode != "rn":
        if kind != "f32":
            raise unsupported(instruction)
        function = _directed_one(name, mode)
    if name == "not" and kind == "pred":
        function = np.logical_not
    return _decode(decoder, instruction, function, [kind], kind)


def _directed_one(name: str, mode: str) -> Compute:
    def compute(a: Array) -> Array:
        x = np.atleast_1d(np.asarray(a, np.float64))
        total = 1.0 / x if name == "rcp" else np.sqrt(x)
        # The residual's sign tells on which side of the exact value the float64 one lies.
        residual = np.longdouble(1) - np.longdouble(total) * x if name == "rcp" else x - np.longdouble(total) * total
        error = np.sign(residual * (np.sign(x) if name == "rcp" else 1)).astype(np.float64)
        return floats.directed(total, error, mode, np.float32)

    return compute


def logic(decoder: Decoder, instruction: Instruction) -> Effect:
    """and, or, xor, shl, shr."""
    name, kind = instruction.opcode[0], instruction.opcode[-1]
    if name in {"shl", "shr"}:
        function = shift_left if name == "shl" else shift_right
        return _decode(decoder, instruction, _arrays(function), [kind, "u32"], kind)
    function = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[name]
    return _decode(decoder, instruction, function, [kind, kind], kind)


@cache
def _arrays(function: Compute) -> Compute:
    return lambda a, b: function(np.asarray(a), np.asarray(b))


def copysign(decoder: Decoder, instruction: Instruction) -> Effect:
    """Copysign d, a, b: the magnitude of b with the sign of a (PTX ISA 9.7.3.2)."""
    kind = instruction.opcode[-1]
    return _decode(decoder, instruction, lambda a, b: np.copysign(b, a), [kind, kind], kind)


def testp(decoder: Decoder, instruction: Instruction) -> Effect:
    """testp: finite, infinite, number, notanumber, normal, subnormal."""
    kind = instruction.opcode[-1]
    smallest = np.finfo(DTYPE[kind]).tiny
    function: Compute = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda a: ~np.isnan(a),
        "notanumber": np.isnan,
        "normal": lambda a: np.isfinite(a) & (np.abs(a) >= smallest),
        "subnormal": lambda a: (a != 0) & (np.abs(a) < smallest),
    }[instruction.opcode[1]]
    return _decode(decoder, instruction, function, [kind], "pred")


def widen(bits: Array, kind: str) -> Array:
    """The bits of float16 or bfloat16 as float32."""
    if kind.startswith("bf16"):
        return floats.from_bfloat16(bits)
    return np.asarray(bits).view(np.float16).astype(np.float32)


def narrow(value: Array, kind: str) -> Array:
    """Values as the bits of float16 or bfloat16, to nearest even."""
    if kind.startswith("bf16"):
        return floats.to_bfloat16(np.asarray(value, np.float32))
    return np.asarray(value).astype(np.float16).view(np.uint16)


_HALF: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "neg": np.negative,
    "abs": np.abs,
    "ex2": np.exp2,
    "tanh": np.tanh,
}


def half(decoder: Decoder, instruction: Instruction) -> Effect:
    """Arithmetic of f16, bf16 and their pairs: in float32 (fma: float64), then rounded to nearest even."""
    name, kind = instruction.opcode[0], instruction.opcode[-1]
    count = len(instruction.operands) - 1
    if _mode(instruction) != "rn" or name not in {*_HALF, "fma", "min", "max"}:
        raise unsupported(instruction)
    if "f32" in instruction.opcode:
        return mixed(decoder, instruction)
    if name in {"min", "max"}:
        function: Compute = _float_extreme(name, "NaN" in instruction.opcode)
    elif name == "fma":
        function = floats.fused32
    else:
        function = _HALF[name]

    def compute(*given: Any) -> Array:
        words = np.broadcast_arrays(*[np.atleast_1d(value) for value in given])
        halves = [widen(np.ascontiguousarray(word).view(np.uint16), kind) for word in words]
        result = function(*halves)
        result = np.maximum(result, 0) if "relu" in instruction.opcode else result
        return narrow(result, kind).view(DTYPE[kind])

    return _decode(decoder, instruction, compute, [kind] * count, kind)


def mixed(decoder: Decoder, instruction: Instruction) -> Effect:
    """add, sub and fma of halves and, last, a float32 that they are added to (sm_100 and newer; PTX ISA 9.7.5)."""
    name, kind, count = instruction.opcode[0], instruction.opcode[-1], len(instruction.operands) - 1
    functions: dict[str, Any] = {"add": np.add, "sub": np.subtract, "fma": floats.fused32}
    if name not in functions or "sat" in instruction.opcode:
        raise unsupported(instruction)

    def compute(*given: Any) -> Array:
        *halves, last = given
        words = [np.ascontiguousarray(np.atleast_1d(word)).view(np.uint16) for word in halves]
        return functions[name](*(widen(word, kind) for word in words), last)

    return _decode(decoder, instruction, compute, [kind] * (count - 1) + ["f32"], "f32")


def pair(decoder: Decoder, instruction: Instruction, function: Compute) -> Effect:
    """Arithmetic of two float32 in one 64-bit register (sm_100 and newer)."""

    def compute(*given: Any) -> Array:
        words = np.broadcast_arrays(*[np.atleast_1d(value) for value in given])
        result = function(*[np.ascontiguousarray(word).view(np.float32) for word in words])
        return np.asarray(result, np.float32).view(np.uint64)

    return _decode(decoder, instruction, compute, ["f32x2"] * (len(instruction.operands) - 1), "f32x2")
