"""Comparison and selection (PTX ISA 9.7.6, 9.7.7)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gncodegen.emulator.isa.arithmetic import HALVES, widen
from gncodegen.emulator.isa.effects import Compute, Effect, pure, several
from gncodegen.emulator.ptx.operands import Decoder, unsupported
from gncodegen.emulator.ptx.scalars import DTYPE, Array
from gncodegen.emulator.ptx.text import Instruction

_PRED, _U32 = DTYPE["pred"], DTYPE["u32"]
_ORDERED: dict[str, Compute] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
}
_UNORDERED = {"equ": "eq", "neu": "ne", "ltu": "lt", "leu": "le", "gtu": "gt", "geu": "ge"}
_BOOLEAN: dict[str, Compute] = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


@cache
def comparison(name: str, floating: bool) -> Compute:
    """The function of a PTX comparison: ordered forms are false on NaN, u-forms true."""
    if name == "num":
        return lambda a, b: ~(np.isnan(a) | np.isnan(b))
    if name == "nan":
        return lambda a, b: np.isnan(a) | np.isnan(b)
    if name in _UNORDERED:
        plain = _ORDERED[_UNORDERED[name]]
        return lambda a, b: plain(a, b) | np.isnan(a) | np.isnan(b)
    if name == "ne" and floating:
        return lambda a, b: (a < b) | (a > b)
    return _ORDERED[name]


def _predicate(decoder: Decoder, text: str) -> tuple[int, bool]:
    return decoder.source(text.removeprefix("!"), _PRED), text.startswith("!")


def setp(decoder: Decoder, instruction: Instruction) -> Effect:
    """Setp and set, with a combining predicate and a second, complementary destination."""
    name, parts, operands = instruction.opcode[0], instruction.opcode, instruction.operands
    kind = parts[-1]
    if kind in HALVES:
        return _of_halves(decoder, instruction)
    compare = comparison(parts[1], kind.startswith("f"))
    boolean = next((_BOOLEAN[part] for part in parts[2:] if part in _BOOLEAN), None)
    sources = [decoder.source(text, DTYPE[kind]) for text in operands[1:3]]
    invert = False
    if boolean is not None:
        extra, invert = _predicate(decoder, operands[3])
        sources.append(extra)

    def compute(a: Array, b: Array, third: Array | None = None) -> Array:
        result = compare(a, b)
        return result if boolean is None else boolean(result, ~np.asarray(third) if invert else third)

    if name == "set":
        return _set(decoder, instruction, compute, sources)
    first, _, second = operands[0].partition("|")
    if not second and boolean is None:
        return pure(compare, sources, decoder.destination(first, _PRED))

    def both(*given: Any) -> tuple[Array, Array]:
        plain = np.logical_not(compare(given[0], given[1]))
        opposite = plain if boolean is None else boolean(plain, ~np.asarray(given[2]) if invert else given[2])
        return compute(*given), opposite

    targets = [decoder.destination(text, _PRED) for text in (first, second or "_")]
    return several(both, sources, targets) if second else pure(compute, sources, targets[0])


_ONE = {"f16": 0x3C00, "bf16": 0x3F80}


def _of_halves(decoder: Decoder, instruction: Instruction) -> Effect:
    """Setp and set of f16, bf16 and their pairs, of which setp's two destinations get one half each."""
    name, parts, operands = instruction.opcode[0], instruction.opcode, instruction.operands
    kind, compare = parts[-1], comparison(parts[1], floating=True)
    boolean = next((_BOOLEAN[part] for part in parts[2:] if part in _BOOLEAN), None)
    extra, invert = _predicate(decoder, operands[3]) if boolean is not None else (-1, False)
    sources = [*(decoder.source(text, DTYPE[kind]) for text in operands[1:3]), *([extra] if extra >= 0 else [])]

    def halves(a: Array, b: Array, third: Array | None = None) -> Array:
        """One column for a number, two for a pair."""
        words = np.broadcast_arrays(np.atleast_1d(a), np.atleast_1d(b))
        found = compare(*(widen(np.ascontiguousarray(word)[:, None].view(np.uint16), kind) for word in words))
        if boolean is None or third is None:
            return found
        return boolean(found, np.atleast_1d(~np.asarray(third) if invert else third)[:, None])

    if name == "setp":
        first, _, second = operands[0].partition("|")
        targets = [decoder.destination(text, _PRED) for text in (first, second or "_")]

        def both(*given: Any) -> tuple[Array, Array]:
            found = halves(*given)
            return found[:, 0], found[:, 1] if kind.endswith("x2") else ~halves(*given)[:, 0]

        return several(both, sources, targets)
    result = parts[-2]
    if kind.endswith("x2") and result != kind:
        raise unsupported(instruction)
    true = _ONE.get(result.removesuffix("x2"), -1)
    dtype = np.dtype(np.uint16) if result in HALVES else DTYPE[result]

    def compute(*given: Any) -> Array:
        return np.where(halves(*given), np.array(true).astype(dtype), dtype.type(0)).view(DTYPE[result])[:, 0]

    return pure(compute, sources, decoder.destination(operands[0], DTYPE[result]))


def _set(decoder: Decoder, instruction: Instruction, compute: Compute, sources: list[int]) -> Effect:
    result = DTYPE[instruction.opcode[-2]]
    true = result.type(1) if result.kind == "f" else np.array(-1).astype(result)
    target = decoder.destination(instruction.operands[0], result)
    return pure(lambda *given: np.where(compute(*given), true, result.type(0)), sources, target)


def selp(decoder: Decoder, instruction: Instruction) -> Effect:
    """Selp d, a, b, p: p ? a : b."""
    dtype = DTYPE[instruction.opcode[-1]]
    target, a, b, p = instruction.operands
    flag, invert = _predicate(decoder, p)
    sources = [flag, *(decoder.source(text, dtype) for text in ((b, a) if invert else (a, b)))]
    return pure(np.where, sources, decoder.destination(target, dtype))


def slct(decoder: Decoder, instruction: Instruction) -> Effect:
    """Slct d, a, b, c: c >= 0 ? a : b."""
    dtype = DTYPE[instruction.opcode[-2]]
    target, a, b, c = instruction.operands
    sources = [decoder.source(c, DTYPE[instruction.opcode[-1]]), *(decoder.source(text, dtype) for text in (a, b))]
    return pure(lambda c, a, b: np.where(c >= 0, a, b), sources, decoder.destination(target, dtype))
