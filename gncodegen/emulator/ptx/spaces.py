"""State spaces and generic addresses (PTX ISA 5.1).

In a generic address, global memory starts at 0; the shared, local and constant windows carry their number in the top
byte. A shared address may name another block of the cluster by rank + 1 in its bits 24 and up (mapa).
"""

from __future__ import annotations

from functools import cache

from gncodegen.emulator.ptx.text import Instruction

WINDOW_BITS = 56
SHARED, LOCAL, CONSTANT = (number << WINDOW_BITS for number in (1, 2, 3))
RANK_BITS = 24
WINDOWS = {SHARED >> WINDOW_BITS: "shared", LOCAL >> WINDOW_BITS: "local", CONSTANT >> WINDOW_BITS: "constant"}
_NAMES = {"global": "global", "shared": "shared", "local": "local", "const": "", "param": "param"}


def space_of(instruction: Instruction) -> str:
    """The state space an instruction names, "" for generic."""
    return _space(instruction.opcode)


@cache
def _space(opcode: tuple[str, ...]) -> str:
    named = (part.partition("::")[0] for part in opcode)
    return next((_NAMES[part] for part in named if part in _NAMES), "")
