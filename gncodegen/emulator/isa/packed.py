"""Arithmetic of the bytes or halves of a 32-bit register (PTX ISA 9.7.1, u16x2; 9.7.18.2, video instructions)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gncodegen.emulator.isa.effects import Effect, pure
from gncodegen.emulator.ptx.operands import Decoder, unsupported
from gncodegen.emulator.ptx.scalars import DTYPE, Array
from gncodegen.emulator.ptx.text import Instruction

OPERATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "min": np.minimum,
    "max": np.maximum,
    "absdiff": lambda a, b: np.abs(a - b),
    "avrg": lambda a, b: (a + b + (a + b >= 0)) >> 1,
}
VIDEO = {f"v{name}{count}": (name, count) for name in OPERATIONS for count in (2, 4)}
"""Instruction → operation and parts of a register."""


def video(decoder: Decoder, instruction: Instruction) -> Effect:
    """vadd, vsub, vabsdiff, vmin, vmax, vavrg of 2 or 4 parts, with .sat or with .add, which sums the parts."""
    (name, count), parts = VIDEO[instruction.opcode[0]], instruction.opcode[1:]
    kinds = [part for part in parts if part in {"u32", "s32"}]
    if len(kinds) != 3 or any("." in text for text in instruction.operands):
        raise unsupported(instruction)
    result = _dtype(kinds[0], count)

    def compute(a: Array, b: Array, c: Array) -> Array:
        total = OPERATIONS[name](_parts(a, _dtype(kinds[1], count)), _parts(b, _dtype(kinds[2], count)))
        if "add" in parts:
            return (total.sum(-1) + c).astype(np.uint32)
        return _joined(total, result, saturates="sat" in parts)

    sources = [decoder.source(text, DTYPE["u32"]) for text in instruction.operands[1:]]
    return pure(compute, sources, decoder.destination(instruction.operands[0], DTYPE["u32"]))


def pairs(decoder: Decoder, instruction: Instruction) -> Effect:
    """add, min, max of u16x2 and s16x2.

    Raises:
        EmulationFault: another operation.
    """
    name, kind = instruction.opcode[0], instruction.opcode[-1]
    if name not in {"add", "min", "max"}:
        raise unsupported(instruction)
    dtype = np.dtype(np.int16 if kind[0] == "s" else np.uint16)

    def compute(a: Array, b: Array) -> Array:
        return _joined(OPERATIONS[name](_parts(a, dtype), _parts(b, dtype)), dtype, saturates=False)

    sources = [decoder.source(text, DTYPE["u32"]) for text in instruction.operands[1:]]
    return pure(compute, sources, decoder.destination(instruction.operands[0], DTYPE["u32"]))


def _dtype(kind: str, count: int) -> np.dtype[Any]:
    return np.dtype(f"{'i' if kind[0] == 's' else 'u'}{4 // count}")


def _parts(word: Array, dtype: np.dtype[Any]) -> Array:
    """The parts of each register along a last axis, wide enough for any sum."""
    return np.ascontiguousarray(word).reshape(-1, 1).view(dtype).astype(np.int64)


def _joined(values: Array, dtype: np.dtype[Any], *, saturates: bool) -> Array:
    limits = np.iinfo(dtype)
    kept = np.clip(values, limits.min, limits.max) if saturates else values
    return np.ascontiguousarray(kept.astype(dtype)).view(np.uint32)[:, 0]
