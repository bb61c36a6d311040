"""Which builder decodes which opcode."""

from __future__ import annotations

from collections.abc import Callable

from gncodegen.emulator.isa import arithmetic, atomics, choose, copies, integers, matrix, transfers, warps
from gncodegen.emulator.ptx.decode import Decoder, Execute, nothing, unsupported
from gncodegen.emulator.ptx.text import Instruction

Builder = Callable[[Decoder, Instruction], Execute]
BUILDERS: dict[str, Builder] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "rem", "addc", "subc"), arithmetic.two),
    **dict.fromkeys(("mad", "fma", "madc"), arithmetic.three),
    **dict.fromkeys(("min", "max"), arithmetic.extreme),
    **dict.fromkeys(arithmetic.UNARY, arithmetic.one),
    **dict.fromkeys(("and", "or", "xor", "shl", "shr"), arithmetic.logic),
    "copysign": arithmetic.copysign,
    "testp": arithmetic.testp,
    **dict.fromkeys(
        ("bfi", "bfe", "brev", "clz", "popc", "bfind", "prmt", "lop3", "shf", "sad", "dp4a", "dp2a"), integers.bits
    ),
    **dict.fromkeys(("setp", "set"), choose.setp),
    "selp": choose.selp,
    "slct": choose.slct,
    "mov": choose.mov,
    "cvt": choose.cvt,
    **dict.fromkeys(("ld", "ldu"), transfers.load),
    "st": transfers.store,
    "cvta": transfers.cvta,
    "isspacep": transfers.isspacep,
    "mapa": transfers.mapa,
    **dict.fromkeys(
        ("prefetch", "prefetchu", "nanosleep", "applypriority", "discard", "griddepcontrol"), transfers.ignored
    ),
    "shfl": warps.shuffle,
    "vote": warps.vote,
    "activemask": warps.activemask,
    "redux": warps.reduce,
    "match": warps.match,
    **dict.fromkeys(("atom", "red"), atomics.atomic),
    "cp": copies.copy_async,
    "ldmatrix": copies.load_matrix,
    "mma": matrix.multiply,
}


def control(instruction: Instruction) -> str:
    """How an instruction steers its lanes, "" if it does not.

    One of branch, exit, trap, block, warp, cluster arrive, cluster wait, fence.
    """
    name, parts = instruction.opcode[0], instruction.opcode
    if name in {"bra", "ret", "exit", "trap", "brkpt"}:
        return {"bra": "branch", "ret": "exit", "exit": "exit", "trap": "trap", "brkpt": "trap"}[name]
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


def build(decoder: Decoder, instruction: Instruction) -> Execute:
    """What an instruction that does not steer executes.

    Raises:
        EmulationFault: the opcode is not known.
    """
    builder = BUILDERS.get(instruction.opcode[0])
    if builder is None:
        raise unsupported(instruction)
    return builder(decoder, instruction)


__all__ = ["BUILDERS", "build", "control", "nothing"]
