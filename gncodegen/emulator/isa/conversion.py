"""Moves and conversion (PTX ISA 9.7.9)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gncodegen.emulator.isa import floats
from gncodegen.emulator.isa.arithmetic import narrow, widen
from gncodegen.emulator.isa.effects import Compute, Effect, pure, several
from gncodegen.emulator.ptx.operands import Decoder, unsupported, vector
from gncodegen.emulator.ptx.scalars import DTYPE, UNSIGNED, Array
from gncodegen.emulator.ptx.text import Instruction


def mov(decoder: Decoder, instruction: Instruction) -> Effect:
    """Mov of registers, constants, addresses and special registers; packing and unpacking of vectors."""
    dtype = DTYPE[instruction.opcode[-1]]
    target, source = instruction.operands
    if target.startswith("{"):
        parts = vector(target)
        piece = UNSIGNED[dtype.itemsize // len(parts)]
        targets = [decoder.destination(part, piece) for part in parts]
        count = len(parts)

        def unpack(value: Array) -> list[Array]:
            pieces = np.ascontiguousarray(np.atleast_1d(value)).view(piece).reshape(-1, count)
            return [pieces[:, i] for i in range(count)]

        return several(unpack, [decoder.source(source, UNSIGNED[dtype.itemsize])], targets)
    if source.startswith("{"):
        parts = vector(source)
        piece, whole = UNSIGNED[dtype.itemsize // len(parts)], UNSIGNED[dtype.itemsize]
        sources = [decoder.source(part, piece) for part in parts]

        def pack(*given: Any) -> Array:
            pieces = np.broadcast_arrays(*[np.atleast_1d(value) for value in given])
            return np.stack(pieces, axis=-1).view(whole)[..., 0]

        return pure(pack, sources, decoder.destination(target, whole))
    return pure(np.asarray, [decoder.source(source, dtype)], decoder.destination(target, dtype))


_INTEGRAL: dict[str, Compute] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
_FLOATS = {"f16", "bf16", "f32", "f64"}


def cvt(decoder: Decoder, instruction: Instruction) -> Effect:
    """Cvt between integers, float16, bfloat16, float32, float64, tf32 and packed halves.

    Raises:
        EmulationFault: a pair of types or a rounding that is not known.
    """
    parts, operands = instruction.opcode, instruction.operands
    if parts[0] == "cvt" and "pack" in parts:
        raise unsupported(instruction)
    result, kind = parts[-2:]
    modes = [part for part in parts[1:-2] if part not in {"ftz", "sat", "relu", "satfinite"}]
    mode = modes[0] if modes else ""
    if result not in DTYPE or kind not in DTYPE or mode not in {"", "rn", "rz", "rm", "rp", "rna", *_INTEGRAL}:
        raise unsupported(instruction)
    sources = [decoder.source(text, DTYPE[kind]) for text in operands[1:]]
    target = decoder.destination(operands[0], DTYPE[result])
    if result in {"f16x2", "bf16x2"} and len(sources) == 2:
        single = result.removesuffix("x2")
        function = _to_float(kind, single, mode, parts)
        return pure(lambda high, low: _pair(function(high), function(low)), sources, target)
    if result == "tf32":
        return pure(floats.to_tfloat32 if mode == "rna" else _nearest_tf32, sources, target)
    if result in _FLOATS:
        return pure(_to_float(kind, result, mode, parts), sources, target)
    return pure(_to_integer(kind, result, mode, parts), sources, target)


def _nearest_tf32(value: Array) -> Array:
    bits = np.asarray(value, np.float32).view(np.uint32)
    return np.where(np.isnan(value), bits, (bits + np.uint32(0xFFF) + ((bits >> 13) & 1)) & np.uint32(0xFFFFE000))


def _pair(high: Array, low: Array) -> Array:
    return np.asarray(low).astype(np.uint32) | (np.asarray(high).astype(np.uint32) << np.uint32(16))


def _value(kind: str) -> Compute:
    """Source values as NumPy numbers."""
    if kind in {"f16", "bf16"}:
        return lambda a: widen(np.asarray(a), kind)
    return np.asarray


@cache
def _to_float(kind: str, result: str, mode: str, parts: tuple[str, ...]) -> Compute:
    read = _value(kind)
    clamp, relu = "sat" in parts, "relu" in parts

    def compute(source: Array) -> Array:
        value = read(source)
        if mode in _INTEGRAL:
            value = _INTEGRAL[mode](value)
        if clamp:
            value = np.where(np.isnan(value), value.dtype.type(0), np.clip(value, 0, 1))
        value = np.maximum(value, 0) if relu else value
        return _round(value, result, mode)

    return compute


def _round(value: Array, result: str, mode: str) -> Array:
    if mode not in {"rz", "rm", "rp"}:
        if result in {"f16", "bf16"}:
            return narrow(value, result)
        return value.astype(DTYPE[result])
    if result == "bf16":
        bits = np.asarray(value, np.float32).view(np.uint32)
        up = (bits & np.uint32(0xFFFF) != 0) & ((value < 0) if mode == "rm" else (value > 0)) & (mode != "rz")
        return ((bits >> np.uint32(16)) + up).astype(np.uint16)
    exact = value.astype(np.longdouble if value.dtype.itemsize == 8 else np.float64)
    dtype = np.float16 if result == "f16" else DTYPE[result]
    rounded = floats.directed(np.atleast_1d(exact), np.zeros_like(np.atleast_1d(exact)), mode, dtype)
    return rounded.view(np.uint16) if result == "f16" else rounded


@cache
def _to_integer(kind: str, result: str, mode: str, parts: tuple[str, ...]) -> Compute:
    dtype = DTYPE[result]
    limits = np.iinfo(dtype)
    if kind not in _FLOATS:
        if "sat" in parts:
            return lambda a: _clamped(a, DTYPE[kind], dtype)
        return lambda a: np.asarray(a).astype(dtype)
    read = _value(kind)
    integral = _INTEGRAL.get(mode, np.trunc)

    def compute(source: Array) -> Array:
        value = integral(np.asarray(read(source), np.float64))
        inside = (value > float(limits.min)) & (value < float(limits.max))
        outside = np.where(value >= float(limits.max), limits.max, limits.min).astype(dtype)
        outside = np.where(np.isnan(value), dtype.type(0), outside)
        return np.where(inside, np.where(inside, value, 0.0).astype(dtype), outside)

    return compute


def _clamped(value: Array, source: np.dtype[Any], dtype: np.dtype[Any]) -> Array:
    low = max(np.iinfo(source).min, np.iinfo(dtype).min)
    high = min(np.iinfo(source).max, np.iinfo(dtype).max)
    return np.clip(value, source.type(low), source.type(high)).astype(dtype)
