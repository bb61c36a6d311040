"""How an instruction steers the lanes that execute it (PTX ISA 9.7.12, 9.7.13)."""

from __future__ import annotations

from gncodegen.emulator.ptx.operands import unsupported
from gncodegen.emulator.ptx.text import Instruction

_STEERING = {"bra": "branch", "ret": "exit", "exit": "exit", "trap": "trap", "brkpt": "trap"}


def gathers(instruction: Instruction) -> bool:
    """Whether lanes wait at an instruction for the other lanes of their warp that its member mask names."""
    name, parts = instruction.opcode[0], instruction.opcode
    return "warp" in parts if name in {"bar", "barrier"} else "sync" in parts


def members(instruction: Instruction) -> str:
    """The operand of such an instruction that names the lanes it waits for, "" for the whole warp."""
    if instruction.opcode[0] in {"mma", "ldmatrix"}:
        return ""
    return instruction.operands[0 if "bar" in instruction.opcode[0] else -1]


def control(instruction: Instruction) -> str:
    """How an instruction steers its lanes, "" if it does not.

    One of branch, exit, trap, block, warp, cluster arrive, cluster wait, fence.

    Raises:
        EmulationFault: a form of a barrier that the emulator does not know.
    """
    name, parts = instruction.opcode[0], instruction.opcode
    if name in _STEERING:
        return _STEERING[name]
    if name in {"membar", "fence"}:
        return "fence"
    if name not in {"bar", "barrier"}:
        return ""
    if "cluster" in parts:
        return "cluster arrive" if "arrive" in parts else "cluster wait"
    if "warp" in parts:
        return "warp"
    if "sync" not in parts:
        raise unsupported(instruction)
    return "block"
