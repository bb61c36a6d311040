"""Which builder decodes which opcode."""

from __future__ import annotations

from gncodegen.emulator.isa import (
    arithmetic,
    async_copies,
    atomics,
    calls,
    comparison,
    conversion,
    integers,
    matrix,
    packed,
    transfers,
    warps,
)
from gncodegen.emulator.ptx.operands import Builder

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
    **dict.fromkeys(("setp", "set"), comparison.setp),
    "selp": comparison.selp,
    "slct": comparison.slct,
    "mov": conversion.mov,
    "cvt": conversion.cvt,
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
    "cp": async_copies.copy_async,
    "ldmatrix": async_copies.load_matrix,
    "mma": matrix.multiply,
    **dict.fromkeys(packed.VIDEO, packed.video),
    "call": calls.call,
}
