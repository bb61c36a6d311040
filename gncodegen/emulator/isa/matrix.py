"""mma.sync: products of small matrices spread over a warp (PTX ISA 9.7.14.5, the fragment layouts of each shape).

Products are exact, sums are float32's or, of bytes, int32's. tf32 operands lose their low 13 bits as on the hardware.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.emulator.isa.arithmetic import widen
from gncodegen.emulator.isa.effects import Effect, fetch, put
from gncodegen.emulator.ptx.operands import Decoder, unsupported, vector
from gncodegen.emulator.ptx.scalars import DTYPE, Array
from gncodegen.emulator.ptx.text import Instruction
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.wave import Wave

_DEPTHS = {
    ("m16n8k4", "tf32"),
    ("m16n8k8", "tf32"),
    *((f"m16n8k{k}", kind) for k in (8, 16) for kind in ("f16", "bf16")),
    *((f"m16n8k{k}", kind) for k in (16, 32) for kind in ("s8", "u8")),
}
_BYTES = {"s8": np.int8, "u8": np.uint8}
_GROUP, _MEMBER = np.divmod(np.arange(32), 4)


def _values(words: Array, kind: str) -> Array:
    """Register words (warps, 32) as (warps, 32, values in a register)."""
    if kind in _BYTES:
        return np.ascontiguousarray(words).view(_BYTES[kind]).reshape(*words.shape, 4)
    if kind == "tf32":
        return (words & np.uint32(0xFFFF_E000)).view(np.float32)[..., None]
    return widen(np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, 2), kind)


def place_left(register: int, element: int, together: int) -> tuple[Array, Array]:
    """Rows and columns (one a lane) that an element of A's register holds; registers hold so many `together`."""
    return _GROUP + 8 * (register & 1), together * _MEMBER + element + 4 * together * (register >> 1)


def place_right(register: int, element: int, together: int) -> tuple[Array, Array]:
    """Rows and columns (one a lane) that an element of B's register holds."""
    return together * _MEMBER + element + 4 * together * register, _GROUP


def place_sum(register: int) -> tuple[Array, Array]:
    """Rows and columns (one a lane) that C's or D's register holds."""
    return _GROUP + 8 * (register >> 1), 2 * _MEMBER + (register & 1)


def multiply(decoder: Decoder, instruction: Instruction) -> Effect:
    """mma.sync.aligned.m16n8k….row.col.f32.{tf32, f16, bf16}.….f32, or [.satfinite].s32.{s8, u8}.….s32.

    Raises:
        EmulationFault: another shape or type.
    """
    parts = instruction.opcode
    shape, kinds = next((part for part in parts if part.startswith("m16n8k")), ""), parts[-4:]
    sums = "s32" if kinds[1] in _BYTES else "f32"
    known = (shape, kinds[1]) in _DEPTHS and (shape, kinds[2]) in _DEPTHS
    if not known or kinds[0] != sums or kinds[3] != sums or (kinds[1] != kinds[2] and sums == "f32"):
        raise unsupported(instruction)
    depth = int(shape.rpartition("k")[2])
    word, single = DTYPE["u32"], DTYPE[sums]
    out = [decoder.destination(text, single) for text in vector(instruction.operands[0])]
    left, right = ([decoder.source(text, word) for text in vector(instruction.operands[i])] for i in (1, 2))
    start = [decoder.source(text, single) for text in vector(instruction.operands[3])]
    add = _added if sums == "f32" else _saturated if "satfinite" in parts else _wrapped

    def execute(wave: Wave, active: ActiveLanes) -> None:
        wave.aligned(active, "mma")
        warps = active.count // 32
        a = _assemble(wave, active, left, kinds[1], (warps, 16, depth), place_left)
        b = _assemble(wave, active, right, kinds[2], (warps, depth, 8), place_right)
        d = np.matmul(a, b)
        for register, (target, source) in enumerate(zip(out, start, strict=True)):
            rows, columns = place_sum(register)
            put(wave.values, target, active, add(d[:, rows, columns].reshape(-1), fetch(wave.values, source, active)))

    return execute


def _added(products: Array, start: Array) -> Array:
    return products + start


def _wrapped(products: Array, start: Array) -> Array:
    return (products.astype(np.int64) + start).astype(np.int32)


def _saturated(products: Array, start: Array) -> Array:
    limits = np.iinfo(np.int32)
    return np.clip(products.astype(np.int64) + start, limits.min, limits.max).astype(np.int32)


def _assemble(
    wave: Wave, active: ActiveLanes, words: list[int], kind: str, shape: tuple[int, int, int], place: Any
) -> Array:
    result = np.zeros(shape, np.float64 if kind in _BYTES else np.float32)  # sums of products of bytes are exact
    for register, word in enumerate(words):
        parts = _values(fetch(wave.values, word, active).reshape(-1, 32), kind)
        for element in range(parts.shape[-1]):
            rows, columns = place(register, element, parts.shape[-1])
            result[:, rows, columns] = parts[..., element]
    return result
