"""Integer arithmetic and bit instructions (PTX ISA 9.7.1, 9.7.8)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.emulator.isa.effects import Effect, pure, several
from gncodegen.emulator.ptx.operands import CARRY, Decoder, unsupported
from gncodegen.emulator.ptx.scalars import DTYPE, UNSIGNED, WIDE, Array
from gncodegen.emulator.ptx.text import Instruction

_U32, _U64, _PRED = DTYPE["u32"], DTYPE["u64"], DTYPE["pred"]
_ZERO: Array = np.zeros(1, np.uint32)


def high_product(a: Array, b: Array) -> Array:
    """The upper half of the full product, same type."""
    dtype = np.result_type(a, b)
    if dtype.itemsize < 8:
        wide = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")
        return (np.multiply(a, b, dtype=wide) >> wide.type(8 * dtype.itemsize)).astype(dtype)
    mask, half = np.uint64(0xFFFF_FFFF), np.uint64(32)
    x, y = np.asarray(a).view(np.uint64), np.asarray(b).view(np.uint64)
    low, high = x & mask, x >> half
    other_low, other_high = y & mask, y >> half
    middle = high * other_low + ((low * other_low) >> half)
    carry = (middle & mask) + low * other_high
    result = high * other_high + (middle >> half) + (carry >> half)
    if dtype.kind == "i":
        result = result - np.where(np.asarray(a) < 0, y, np.uint64(0)) - np.where(np.asarray(b) < 0, x, np.uint64(0))
    return result.view(dtype)


def quotient(a: Array, b: Array) -> Array:
    """A / b toward zero; all ones for b = 0 (what the hardware gives)."""
    dtype = np.result_type(a, b)
    safe = np.where(np.asarray(b) == 0, dtype.type(1), b)
    result = np.floor_divide(a, safe)
    if dtype.kind == "i":
        exact = result * safe == a
        result = result + ((~exact) & ((np.asarray(a) < 0) != (safe < 0))).astype(dtype)
    return np.where(np.asarray(b) == 0, np.array(-1).astype(dtype), result)


def remainder(a: Array, b: Array) -> Array:
    """What `quotient` leaves, with the sign of a."""
    return (a - quotient(a, b) * b).astype(np.result_type(a, b))


def shift_left(value: Array, amount: Array) -> Array:
    """Value << amount; 0 from the width on."""
    bits = 8 * value.dtype.itemsize
    result = np.left_shift(value, np.minimum(amount, bits - 1).astype(value.dtype))
    return np.where(np.asarray(amount) >= bits, value.dtype.type(0), result)


def shift_right(value: Array, amount: Array) -> Array:
    """Value >> amount; 0, or the sign, from the width on."""
    bits = 8 * value.dtype.itemsize
    result = np.right_shift(value, np.minimum(amount, bits - 1).astype(value.dtype))
    return result if value.dtype.kind == "i" else np.where(np.asarray(amount) >= bits, value.dtype.type(0), result)


def bit_field_insert(field: Array, value: Array, start: Array, length: Array) -> Array:
    """`value` with `length` bits from `start` on replaced by the low bits of `field`."""
    mask = _field_mask(start, length, value.dtype)
    return (value & ~mask) | (shift_left(field + value.dtype.type(0) * value, _byte(start)) & mask)


def bit_field_extract(value: Array, start: Array, length: Array) -> Array:
    """`length` bits of value from `start` on; extended by the field's top bit for signed types."""
    dtype = value.dtype
    unsigned, bits = UNSIGNED[dtype.itemsize], 8 * dtype.itemsize
    low, size = _byte(start), _byte(length)
    field = shift_right(value.view(unsigned), low) & _field_mask(_ZERO, size, unsigned)
    if dtype.kind == "u":
        return field
    top = np.minimum(low.astype(np.int64) + size - 1, bits - 1).astype(np.uint32)
    negative = (shift_right(value.view(unsigned), top) & unsigned.type(1)) != 0
    extended = field | ~_field_mask(_ZERO, size, unsigned)
    beyond = low.astype(np.int64) + size > bits
    available = _field_mask(_ZERO, np.maximum(bits - low.astype(np.int64), 0).astype(np.uint32), unsigned)
    extended = np.where(beyond, extended | ~available, extended)
    return np.where(negative & (size > 0), extended, field).view(dtype)


def _byte(value: Array) -> Array:
    return np.asarray(value).astype(np.uint32) & np.uint32(255)


def _field_mask(start: Array, length: Array, dtype: np.dtype[Any]) -> Array:
    one = np.ones(np.broadcast(start, length).shape, dtype)
    return shift_left(shift_left(one, _byte(length)) - dtype.type(1), _byte(start))


def reverse(value: Array) -> Array:
    """The bits in reverse order."""
    result = value.byteswap()
    for shift, mask in ((4, 0x0F0F0F0F0F0F0F0F), (2, 0x3333333333333333), (1, 0x5555555555555555)):
        kept, amount = value.dtype.type(mask & (2 ** (8 * value.dtype.itemsize) - 1)), value.dtype.type(shift)
        result = ((result >> amount) & kept) | ((result & kept) << amount)
    return result


def leading_zeros(value: Array) -> Array:
    """The count of zero bits above the highest one."""
    bits, rest = 8 * value.dtype.itemsize, value.copy()
    count = np.full(value.shape, bits, np.uint32)
    for _ in range(bits):
        count -= rest != 0
        rest = rest >> rest.dtype.type(1)
    return count


def ones(value: Array) -> Array:
    """The count of one bits."""
    octets = np.ascontiguousarray(value).view(np.uint8).reshape(*value.shape, value.dtype.itemsize)
    return np.unpackbits(octets, axis=-1).sum(axis=-1, dtype=np.uint32)


def highest(value: Array) -> Array:
    """The place of the highest bit that differs from the sign; all ones where there is none."""
    magnitude = np.where(value < 0, ~value, value).view(UNSIGNED[value.dtype.itemsize])
    return np.uint32(8 * value.dtype.itemsize - 1) - leading_zeros(magnitude)


def permute(low: Array, high: Array, selector: Array) -> Array:
    """Four bytes chosen from eight, each by a nibble of the selector; bit 3 replicates the sign."""
    joined = np.asarray(low).astype(np.uint64) | (np.asarray(high).astype(np.uint64) << np.uint64(32))
    result = np.zeros(np.broadcast(joined, selector).shape, np.uint64)
    for place in range(4):
        nibble = (np.asarray(selector).astype(np.uint64) >> np.uint64(4 * place)) & np.uint64(15)
        byte = (joined >> ((nibble & np.uint64(7)) * np.uint64(8))) & np.uint64(255)
        sign = np.where(byte & np.uint64(128), np.uint64(255), np.uint64(0))
        result |= np.where(nibble & np.uint64(8), sign, byte) << np.uint64(8 * place)
    return result.astype(np.uint32)


def _three(function: Any, decoder: Decoder, instruction: Instruction, kinds: tuple[str, ...], result: str) -> Effect:
    sources = [decoder.source(text, DTYPE[kind]) for text, kind in zip(instruction.operands[1:], kinds, strict=True)]
    return pure(function, sources, decoder.destination(instruction.operands[0], DTYPE[result]))


def bits(decoder: Decoder, instruction: Instruction) -> Effect:
    """bfi, bfe, brev, clz, popc, bfind, prmt, lop3, shf, sad, dp4a, dp2a."""
    name, kind = instruction.opcode[0], instruction.opcode[-1]
    if name == "prmt" and kind != "b32":
        raise unsupported(instruction)
    if name == "dp2a":
        low, signs = instruction.opcode[1] == "lo", (instruction.opcode[2][0], instruction.opcode[3][0])
        return _three(
            lambda a, b, c: _dot_halves(a, b, c, signs, low), decoder, instruction, ("b32", "b32", kind), kind
        )
    if name == "lop3":
        table = int(instruction.operands[4], 0)
        sources = [decoder.source(text, _U32) for text in instruction.operands[1:4]]
        return pure(
            lambda a, b, c: _lookup(a, b, c, table), sources, decoder.destination(instruction.operands[0], _U32)
        )
    if name == "shf":
        left, clamp = instruction.opcode[1] == "l", instruction.opcode[2] == "clamp"
        return _three(lambda a, b, c: _funnel(a, b, c, left, clamp), decoder, instruction, ("u32",) * 3, "u32")
    if name == "bfind":
        shift = "shiftamt" in instruction.opcode
        wide = np.uint32(8 * DTYPE[kind].itemsize - 1)
        found = (lambda a: np.where(highest(a) > 64, highest(a), wide - highest(a))) if shift else highest
        return _three(found, decoder, instruction, (kind,), "u32")
    function, kinds, result = {
        "bfi": (bit_field_insert, (kind, kind, "u32", "u32"), kind),
        "bfe": (bit_field_extract, (kind, "u32", "u32"), kind),
        "brev": (reverse, (kind,), kind),
        "clz": (leading_zeros, (kind,), "u32"),
        "popc": (ones, (kind,), "u32"),
        "prmt": (permute, ("u32", "u32", "u32"), "u32"),
        "sad": (lambda a, b, c: np.maximum(a, b) - np.minimum(a, b) + c, (kind,) * 3, kind),
        "dp4a": (_dot, ("b32", "b32", kind), kind),
    }[name]
    if name == "dp4a":
        signs = instruction.opcode[1][0], instruction.opcode[2][0]
        return _three(lambda a, b, c: _dot(a, b, c, signs), decoder, instruction, kinds, result)
    return _three(function, decoder, instruction, kinds, result)


def _lookup(a: Array, b: Array, c: Array, table: int) -> Array:
    result = np.zeros(np.broadcast(a, b, c).shape, np.uint32)
    for place in range(8):
        if table >> place & 1:
            result |= (a if place & 4 else ~a) & (b if place & 2 else ~b) & (c if place & 1 else ~c)
    return result


def _funnel(low: Array, high: Array, amount: Array, left: bool, clamp: bool) -> Array:
    joined = (np.asarray(high).astype(np.uint64) << np.uint64(32)) | np.asarray(low)
    count = np.minimum(amount, 32) if clamp else np.asarray(amount) & np.uint32(31)
    places = np.asarray(count).astype(np.uint64)
    if left:
        return ((joined << places) >> np.uint64(32)).astype(np.uint32)
    return (joined >> places).astype(np.uint32)


def _dot(a: Array, b: Array, c: Array, signs: tuple[str, str] = ("u", "u")) -> Array:
    shape = np.broadcast(a, b, c).shape
    parts = [
        np.ascontiguousarray(np.broadcast_to(value, shape)).view(np.int8 if sign == "s" else np.uint8).astype(np.int64)
        for value, sign in zip((a, b), signs, strict=True)
    ]
    return ((parts[0] * parts[1]).reshape(*shape, 4).sum(axis=-1) + c).astype(c.dtype)


def _dot_halves(a: Array, b: Array, c: Array, signs: tuple[str, str], low: bool) -> Array:
    """The two 16-bit halves of a times the low or the high two bytes of b."""
    shape = np.broadcast(a, b, c).shape
    halves = np.ascontiguousarray(np.broadcast_to(a, shape)).view(np.int16 if signs[0] == "s" else np.uint16)
    octets = np.ascontiguousarray(np.broadcast_to(b, shape)).view(np.int8 if signs[1] == "s" else np.uint8)
    octets = octets.reshape(*shape, 4)
    chosen = octets[..., :2] if low else octets[..., 2:]
    products = halves.reshape(*shape, 2).astype(np.int64) * chosen
    return (products.sum(axis=-1) + c).astype(c.dtype)


def carrying(decoder: Decoder, instruction: Instruction) -> Effect:
    """add.cc, addc, sub.cc, subc, mad.cc and madc: sums of 32 or 64 bits through the carry flag."""
    name, parts = instruction.opcode[0], instruction.opcode
    dtype = np.dtype(f"u{DTYPE[parts[-1]].itemsize}")
    signed = DTYPE[parts[-1]]
    uses, sets = name.endswith("c"), "cc" in parts
    subtracts = name.startswith("sub")
    operands = [decoder.source(text, signed) for text in instruction.operands[1:]]
    carry = decoder.source(CARRY, _PRED)

    def compute(*given: Any) -> tuple[Array, Array]:
        *terms, flag = given
        if name.startswith("mad"):
            product = high_product(terms[0], terms[1]) if "hi" in parts else terms[0] * terms[1]
            terms = [product, terms[2]]
        a, b = (np.asarray(term).astype(dtype) for term in terms)
        extra = np.asarray(flag).astype(dtype) if uses else dtype.type(0)
        if subtracts:
            total = a - b - extra
            return total, (a < b) | ((a == b) & (extra != 0))
        total = a + b + extra
        return total, (total < a) | ((total == a) & (extra != 0) & (b != 0))

    targets = [decoder.destination(instruction.operands[0], dtype), carry if sets else -1]
    return several(compute, [*operands, carry], targets)


def wide(kind: str) -> str:
    """The PTX type of a `wide` product."""
    return WIDE[kind]
