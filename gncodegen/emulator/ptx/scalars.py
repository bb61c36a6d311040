"""PTX's scalar types as NumPy's, and literals read at a type (PTX ISA 5.2, 4.5)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_INTEGERS = {
    f"{kind}{8 * size}": np.dtype(f"{letter}{size}")
    for kind, letter in (("u", "u"), ("s", "i"), ("b", "u"))
    for size in (1, 2, 4, 8)
}
# Half types and pairs are handled as bits; the instruction that computes with them converts.
_AS_BITS = {"f16": "b16", "bf16": "b16", "f16x2": "b32", "bf16x2": "b32", "tf32": "b32", "f32x2": "b64",
            "u16x2": "b32", "s16x2": "b32"}  # fmt: skip
DTYPE: dict[str, np.dtype[Any]] = {
    "pred": np.dtype(np.bool_),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "b128": np.dtype(np.complex128),
    **_INTEGERS,
    **{name: _INTEGERS[bits] for name, bits in _AS_BITS.items()},
}

UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
WIDE = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}


def literal(text: str, dtype: np.dtype[Any]) -> Any:
    """The NumPy scalar that a PTX literal denotes at `dtype`; an integer wraps.

    Raises:
        ValueError: the text is no literal.
    """
    if text[:2] in {"0f", "0F"} and len(text) == 10:
        value: Any = np.float32(struct.unpack(">f", bytes.fromhex(text[2:]))[0])
        return value.view(dtype) if dtype.itemsize == 4 else value.astype(dtype)
    if text[:2] in {"0d", "0D"} and len(text) == 18:
        value = np.float64(struct.unpack(">d", bytes.fromhex(text[2:]))[0])
        return value.view(dtype) if dtype.itemsize == 8 else value.astype(dtype)
    if dtype.kind == "f":
        return dtype.type(float(text))
    number = int(text.removesuffix("U"), 0)
    if dtype.kind == "b":
        return np.bool_(number != 0)
    bits = UNSIGNED[dtype.itemsize].type(number & ((1 << 8 * dtype.itemsize) - 1))
    return bits.view(dtype)


def type_of(opcode: Sequence[str]) -> str:
    """The type an opcode names; where it names several, the last."""
    return next(part for part in reversed(opcode) if part in DTYPE)


def element(nbytes: int) -> Any:
    """The NumPy type of `nbytes` bytes moved as one element (1, 2, 4, 8, 16)."""
    return np.complex128 if nbytes == 16 else f"u{nbytes}"


def is_literal(text: str) -> bool:
    """Whether an operand is a number."""
    return text[0].isdigit() or (text[0] == "-" and text[1:2].isdigit())
