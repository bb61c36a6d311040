"""mma.sync: products of small matrices spread over a warp (PTX ISA 9.7.14.5, the fragment layouts of each shape).

Products are exact, sums are float32's. tf32 operands lose their low 13 bits as on the hardware.
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
}
_GROUP, _MEMBER = np.divmod(np.arange(32), 4)


def _values(words: Array, kind: str) -> Array:
    """Register words (warps, 32) as (warps, 32, values in a register) of float32."""
    if kind == "tf32":
        return (words & np.uint32(0xFFFF_E000)).view(np.float32)[..., None]
    return widen(np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, 2), kind)


def place_left(register: int, element: int, pairs: bool) -> tuple[Array, Array]:
    """Rows and columns (one a lane) that an element of A's register holds."""
    if pairs:
        return _GROUP + 8 * (register & 1), 2 * _MEMBER + element + 8 * (register >> 1)
    return _GROUP + 8 * (register & 1), _MEMBER + 4 * (register >> 1)


def place_right(register: int, element: int, pairs: bool) -> tuple[Array, Array]:
    """Rows and columns (one a lane) that an element of B's register holds."""
    if pairs:
        return 2 * _MEMBER + element + 8 * register, _GROUP
    return _MEMBER + 4 * register, _GROUP


def place_sum(register: int) -> tuple[Array, Array]:
    """Rows and columns (one a lane) that C's or D's register holds."""
    return _GROUP + 8 * (register >> 1), 2 * _MEMBER + (register & 1)


def multiply(decoder: Decoder, instruction: Instruction) -> Effect:
    """mma.sync.aligned.m16n8k4/k8/k16.row.col.f32.{tf32, f16, bf16}.….f32.

    Raises:
        EmulationFault: another shape or type.
    """
    parts = instruction.opcode
    shape, kinds = next((part for part in parts if part.startswith("m16n8k")), ""), parts[-4:]
    if (shape, kinds[1]) not in _DEPTHS or kinds[0] != "f32" or kinds[3] != "f32" or kinds[1] != kinds[2]:
        raise unsupported(instruction)
    depth, kind = int(shape.rpartition("k")[2]), kinds[1]
    word, single = DTYPE["u32"], DTYPE["f32"]
    out = [decoder.destination(text, single) for text in vector(instruction.operands[0])]
    left, right = ([decoder.source(text, word) for text in vector(instruction.operands[i])] for i in (1, 2))
    start = [decoder.source(text, single) for text in vector(instruction.operands[3])]

    def execute(wave: Wave, active: ActiveLanes) -> None:
        wave.aligned(active, "mma")
        warps = active.count // 32
        a = _assemble(wave, active, left, kind, (warps, 16, depth), place_left)
        b = _assemble(wave, active, right, kind, (warps, depth, 8), place_right)
        d = np.matmul(a, b)
        for register, (target, source) in enumerate(zip(out, start, strict=True)):
            rows, columns = place_sum(register)
            put(wave.values, target, active, d[:, rows, columns].reshape(-1) + fetch(wave.values, source, active))

    return execute


def _assemble(
    wave: Wave, active: ActiveLanes, words: list[int], kind: str, shape: tuple[int, int, int], place: Any
) -> Array:
    result = np.zeros(shape, np.float32)
    for register, word in enumerate(words):
        parts = _values(fetch(wave.values, word, active).reshape(-1, 32), kind)
        for element in range(parts.shape[-1]):
            rows, columns = place(register, element, parts.shape[-1] == 2)
            result[:, rows, columns] = parts[..., element]
    return result
