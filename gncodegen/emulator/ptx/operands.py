"""Operands by number: the registers, special registers, parameters and constants that a kernel's instructions name.

A running kernel keeps one flat list of values; an operand's number is its place there. The value is the typed view of a
register, with one entry a lane, or a NumPy scalar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gncodegen.emulator.ptx.scalars import DTYPE, is_literal, literal
from gncodegen.emulator.ptx.text import Instruction, split
from gncodegen.errors import EmulationFault

Effect = Callable[[Any, Any], None]
"""What an instruction does to a wave, for the lanes that execute it."""

_ADDRESS = re.compile(r"\[\s*([%\w$@.]+)\s*(?:\+\s*(-?\w+))?\s*\]")
SPECIAL = frozenset({
    "%laneid", "%warpid", "%nwarpid", "%smid", "%clock", "%clock64", "%globaltimer", "%gridid",
    "%dynamic_smem_size", "%total_smem_size", "%lanemask_eq", "%lanemask_lt", "%lanemask_le", "%lanemask_gt",
    "%lanemask_ge", "%cluster_ctarank", "%cluster_nctarank", "%is_explicit_cluster", "%nsmid",
    "%envreg1", "%envreg2",
    *(f"%{name}.{axis}" for name in ("tid", "ntid", "ctaid", "nctaid", "clusterid", "nclusterid", "cluster_ctaid",
                                     "cluster_nctaid") for axis in "xyz"),
})  # fmt: skip
CARRY = "%carry"


class Operand(NamedTuple):
    """One operand at a type: kind "register", "special", "parameter" (with an offset in bytes) or "constant"."""

    kind: str
    name: str
    dtype: np.dtype[Any]
    offset: int = 0
    value: Any = None


_PARAMETERS = 1 << 60
"""From here on kernel parameters have addresses."""


class Decoder:
    """Numbers operands; the same operand at the same type gets the same number.

    Attributes: `operands`; `parameters`, the kernel's, and `addressed`, those of 8 bytes; `named`, how often the code
    names each register.

    Args:
        registers: name → PTX type.
        parameters: the kernel's parameters' names.
        symbols: variable name → address as an int.
    """

    def __init__(self, registers: dict[str, str], parameters: Sequence[str], symbols: dict[str, int]) -> None:
        self.operands: list[Operand] = []
        self.registers = {name: _storage(kind) for name, kind in registers.items()}
        self.registers[CARRY] = np.dtype(np.bool_)
        self.parameters = tuple(parameters)
        self._symbols = symbols
        self.named: Mapping[str, int] = {}
        self.addressed: Sequence[str] = ()
        self._sources: dict[tuple[str, np.dtype[Any]], int] = {}
        self._destinations: dict[tuple[str, np.dtype[Any]], int] = {}
        self._numbers: dict[tuple[str, str, np.dtype[Any], int], int] = {}

    def unread(self, text: str) -> bool:
        """Whether the code names a register but once: what is written there, nobody reads."""
        return self.named.get(text, 2) == 1

    def source(self, text: str, dtype: np.dtype[Any]) -> int:
        """The number of what an operand's text reads at a type; of a wider register, its low part.

        Raises:
            EmulationFault: the operand is not known.
        """
        number = self._sources.get((text, dtype))
        if number is None:
            number = self._sources[text, dtype] = self._source(text, dtype)
        return number

    def _source(self, text: str, dtype: np.dtype[Any]) -> int:
        if text in self.registers:
            return self._register(text, dtype)
        if text in SPECIAL:
            return self._number("special", text, dtype)
        return self._number("constant", text, dtype, value=self._constant(text, dtype))

    def _constant(self, text: str, dtype: np.dtype[Any]) -> Any:
        if is_literal(text):
            return literal(text, dtype)
        if text in self._symbols:
            return dtype.type(self._symbols[text])
        if text in self.parameters:
            return dtype.type(self.place_of(text))
        if text == "WARP_SZ":
            return dtype.type(32)
        raise EmulationFault(f"operand {text} is not known to the emulator")

    def place_of(self, parameter: str) -> int:
        """The address of a kernel parameter: a number that no memory has."""
        return _PARAMETERS + 16 * self.parameters.index(parameter)

    def destination(self, text: str, dtype: np.dtype[Any]) -> int:
        """The number of the register to write; a wider one is filled by zero or sign extension; -1 for `_`.

        Raises:
            EmulationFault: the operand is no register.
        """
        number = self._destinations.get((text, dtype))
        if number is None:
            number = self._destinations[text, dtype] = self._destination(text, dtype)
        return number

    def _destination(self, text: str, dtype: np.dtype[Any]) -> int:
        if text == "_":
            return -1
        if text not in self.registers:
            raise EmulationFault(f"operand {text} is not a register")
        stored = self.registers[text]
        wider = stored.itemsize > dtype.itemsize and dtype.kind in "ui"
        return self._register(text, np.dtype(f"{dtype.kind}{stored.itemsize}") if wider else dtype)

    def parameter(self, name: str, offset: int, dtype: np.dtype[Any]) -> int:
        """The number of a kernel parameter, or of a call's parameter at an offset."""
        if name in self.parameters:
            return self._number("parameter", name, dtype, offset)
        spelled = f"{name}+{offset}"
        self.registers.setdefault(spelled, np.dtype(f"u{dtype.itemsize}"))
        return self._register(spelled, dtype)

    def address(self, text: str) -> tuple[int, int]:
        """The number of an address's base, as uint64, and its offset in bytes.

        Raises:
            EmulationFault: the text is no address.
        """
        name, offset = self.place(text)
        if name in self.registers and self.registers[name].itemsize < 8:
            return self.source(name, np.dtype(f"u{self.registers[name].itemsize}")), offset
        return self.source(name, DTYPE["u64"]), offset

    def place(self, text: str) -> tuple[str, int]:
        """The name and the offset in an operand `[name+offset]`.

        Raises:
            EmulationFault: the text is no address.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise EmulationFault(f"operand {text} is no address")
        return match.group(1), int(match.group(2) or "0", 0)

    def _register(self, name: str, dtype: np.dtype[Any]) -> int:
        stored = self.registers[name]
        if dtype.itemsize > stored.itemsize or (dtype.kind == "b") != (stored.kind == "b"):
            raise EmulationFault(f"register {name} of {8 * stored.itemsize} bits is used as {dtype}")
        return self._number("register", name, dtype)

    def _number(self, kind: str, name: str, dtype: np.dtype[Any], offset: int = 0, value: Any = None) -> int:
        key = (kind, name, dtype, offset)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.operands)
            self.operands.append(Operand(kind, name, dtype, offset, value))
        return number


def _storage(kind: str) -> np.dtype[Any]:
    dtype = DTYPE[kind]
    return dtype if kind in {"f32", "f64"} else np.dtype(np.bool_) if kind == "pred" else np.dtype(f"u{dtype.itemsize}")


def vector(text: str) -> list[str]:
    """The registers of `{a, b}`, or the one register."""
    return split(text[1:-1]) if text.startswith("{") else [text]


def nothing(wave: Any, active: Any) -> None:
    """An instruction without an effect here."""


def unsupported(instruction: Instruction) -> EmulationFault:
    """The fault for an instruction or a modifier that the emulator does not know."""
    return EmulationFault("the emulator does not know this instruction", instruction=instruction.text)


Builder = Callable[[Decoder, Instruction], Effect]
"""Decodes the instructions of one opcode."""
