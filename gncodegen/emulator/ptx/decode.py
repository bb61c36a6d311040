"""Operands to slots of the register file, and the shapes an instruction's work can take.

A frame's values are one flat list: a slot holds the typed view of a register (one entry a lane) or a NumPy scalar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.emulator.ptx.scalars import DTYPE, Array, is_literal, literal
from gncodegen.emulator.ptx.text import Instruction, split
from gncodegen.errors import EmulationFault

if TYPE_CHECKING:
    from gncodegen.emulator.state.lanes import Active
    from gncodegen.emulator.state.machine import Machine

Execute = Callable[["Machine", "Active"], None]
Compute = Callable[..., Any]

_ADDRESS = re.compile(r"\[\s*([%\w$@.]+)\s*(?:\+\s*(-?\w+))?\s*\]")
SPECIAL = frozenset({
    "%laneid", "%warpid", "%nwarpid", "%smid", "%clock", "%clock64", "%globaltimer", "%gridid",
    "%dynamic_smem_size", "%total_smem_size", "%lanemask_eq", "%lanemask_lt", "%lanemask_le", "%lanemask_gt",
    "%lanemask_ge", "%cluster_ctarank", "%cluster_nctarank", "%is_explicit_cluster", "%nsmid",
    *(f"%{name}.{axis}" for name in ("tid", "ntid", "ctaid", "nctaid", "clusterid", "nclusterid", "cluster_ctaid",
                                     "cluster_nctaid") for axis in "xyz"),
})  # fmt: skip
CARRY = "%carry"


@dataclass(frozen=True)
class Slot:
    """What one entry of a frame's values is: a register's view, a special register, a parameter or a constant."""

    kind: str
    name: str
    dtype: np.dtype[Any]
    offset: int = 0
    value: Any = None


class Decoder:
    """Hands out slots; the same operand at the same type gets the same slot.

    Args:
        registers: name → PTX type.
        parameters: the kernel's parameters' names.
        symbols: variable name → address as an int.
    """

    def __init__(self, registers: dict[str, str], parameters: Sequence[str], symbols: dict[str, int]) -> None:
        self.slots: list[Slot] = []
        self.types = {name: _storage(kind) for name, kind in registers.items()}
        self.types[CARRY] = np.dtype(np.bool_)
        self._parameters = set(parameters)
        self._symbols = symbols
        self._numbers: dict[tuple[str, str, str, int], int] = {}

    def source(self, text: str, dtype: np.dtype[Any]) -> int:
        """The slot that reads an operand at a type; of a wider register, its low part.

        Raises:
            EmulationFault: the operand is not known.
        """
        if text in self.types:
            return self._register(text, dtype)
        if is_literal(text):
            value = literal(text, dtype)
            return self._slot(Slot("constant", f"{text}", dtype, 0, value))
        if text in SPECIAL:
            return self._slot(Slot("special", text, dtype))
        if text in self._symbols:
            return self._slot(Slot("constant", text, dtype, 0, dtype.type(self._symbols[text])))
        if text == "WARP_SZ":
            return self._slot(Slot("constant", text, dtype, 0, dtype.type(32)))
        raise EmulationFault(f"operand {text} is not known to the emulator")

    def destination(self, text: str, dtype: np.dtype[Any]) -> int:
        """The slot that writes a register; a wider one is filled by zero or sign extension; -1 for `_`.

        Raises:
            EmulationFault: the operand is no register.
        """
        if text == "_":
            return -1
        if text not in self.types:
            raise EmulationFault(f"operand {text} is not a register")
        stored = self.types[text]
        wider = stored.itemsize > dtype.itemsize and dtype.kind in "ui"
        return self._register(text, np.dtype(f"{dtype.kind}{stored.itemsize}") if wider else dtype)

    def parameter(self, name: str, offset: int, dtype: np.dtype[Any]) -> int:
        """The slot of a kernel parameter, or of a call's parameter at an offset."""
        if name in self._parameters:
            return self._slot(Slot("parameter", name, dtype, offset))
        spelled = f"{name}+{offset}"
        self.types.setdefault(spelled, np.dtype(f"u{dtype.itemsize}"))
        return self._register(spelled, dtype)

    def address(self, text: str) -> tuple[int, int]:
        """The slot of an address's base, as uint64, and its offset in bytes.

        Raises:
            EmulationFault: the text is no address.
        """
        name, offset = self.place(text)
        if name in self.types and self.types[name].itemsize < 8:
            return self.source(name, np.dtype(f"u{self.types[name].itemsize}")), offset
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
        stored = self.types[name]
        if dtype.itemsize > stored.itemsize or (dtype.kind == "b") != (stored.kind == "b"):
            raise EmulationFault(f"register {name} of {8 * stored.itemsize} bits is used as {dtype}")
        return self._slot(Slot("register", name, dtype))

    def _slot(self, slot: Slot) -> int:
        key = (slot.kind, slot.name, slot.dtype.str, slot.offset)
        if key not in self._numbers:
            self._numbers[key] = len(self.slots)
            self.slots.append(slot)
        return self._numbers[key]


def _storage(kind: str) -> np.dtype[Any]:
    dtype = DTYPE[kind]
    return dtype if kind in {"f32", "f64"} else np.dtype(np.bool_) if kind == "pred" else np.dtype(f"u{dtype.itemsize}")


def vector(text: str) -> list[str]:
    """The registers of `{a, b}`, or the one register."""
    return split(text[1:-1]) if text.startswith("{") else [text]


def fetch(values: list[Any], slot: int, active: Active) -> Array:
    """A slot's values on the active lanes, one entry each; not to be written to."""
    value = values[slot]
    if value.ndim == 0:
        return np.full(active.count, value)
    return value if active.all else value[active.index]


def put(values: list[Any], slot: int, active: Active, result: Any) -> None:
    """Write one entry for each active lane to a register."""
    if slot < 0:
        return
    if active.all:
        values[slot][...] = result
    else:
        values[slot][active.index] = result


def pure(function: Compute, sources: Sequence[int], destination: int) -> Execute:
    """An instruction that computes one register from operands, lane by lane."""
    if destination < 0:
        return nothing
    if isinstance(function, np.ufunc):
        return _elementwise(function, sources, destination)

    def execute(machine: Machine, active: Active) -> None:
        values = machine.values
        if active.whole:
            values[destination][...] = function(*[values[i] for i in sources])
        else:
            _partial(values, active, function, sources, destination)

    return execute


def _elementwise(function: np.ufunc, sources: Sequence[int], destination: int) -> Execute:
    if len(sources) == 2:
        left, right = sources

        def binary(machine: Machine, active: Active) -> None:
            values = machine.values
            if active.whole:
                function(values[left], values[right], out=values[destination], casting="unsafe")
            else:
                _partial(values, active, function, sources, destination)

        return binary

    def execute(machine: Machine, active: Active) -> None:
        values = machine.values
        if active.whole:
            function(*[values[i] for i in sources], out=values[destination], casting="unsafe")
        else:
            _partial(values, active, function, sources, destination)

    return execute


def _partial(values: list[Any], active: Active, function: Compute, sources: Sequence[int], destination: int) -> None:
    if active.dense:
        result = function(*[values[i] for i in sources])
        np.copyto(values[destination], result, where=active.mask, casting="unsafe")
    else:
        index = active.index
        taken = [value[index] if value.ndim else value for value in (values[i] for i in sources)]
        values[destination][index] = function(*taken)


def several(function: Compute, sources: Sequence[int], destinations: Sequence[int]) -> Execute:
    """An instruction that computes several registers; `function` returns one array for each."""

    def execute(machine: Machine, active: Active) -> None:
        values = machine.values
        index = active.index
        taken = [value[index] if value.ndim else value for value in (values[i] for i in sources)]
        for destination, result in zip(destinations, function(*taken), strict=True):
            if destination >= 0:
                values[destination][index] = result

    return execute


def nothing(machine: Machine, active: Active) -> None:
    """An instruction without an effect here."""


def unsupported(instruction: Instruction) -> EmulationFault:
    """The fault for an instruction or a modifier that the emulator does not know."""
    return EmulationFault("the emulator does not know this instruction", instruction=instruction.text)
