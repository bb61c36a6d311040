"""Functions that a GPU's driver provides: PTX has declarations of them alone (CUDA C++ Programming Guide, B.23)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from gncodegen.emulator.isa.access import read_bytes
from gncodegen.emulator.isa.effects import Effect, fetch, put
from gncodegen.emulator.ptx.operands import Decoder
from gncodegen.emulator.ptx.scalars import DTYPE
from gncodegen.emulator.ptx.text import Instruction
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.wave import Wave
from gncodegen.errors import EmulationFault

_LONGEST = 1 << 16
_CONVERSION = re.compile(r"%([-+ #0]*)(\*|\d*)(?:\.(\*|\d*))?(hh|h|ll|l|j|z|t|)([a-zA-Z%])")
_WIDE = {"l", "ll", "j", "z", "t"}


def call(decoder: Decoder, instruction: Instruction) -> Effect:
    """A call of a function that the PTX text only declares.

    Raises:
        EmulationFault: it is none of the known ones.
    """
    known: dict[str, tuple[Callable[..., int], str]] = {"vprintf": (_printed, "uu"), "__assertfail": (_failed, "uuwuu")}
    name, operands = instruction.opcode[1], instruction.operands
    if name not in known:
        raise EmulationFault(f"the called function {name} is not defined in this PTX text")
    function, kinds = known[name]
    returned, passed = operands[: len(operands) - len(kinds)], operands[len(operands) - len(kinds) :]
    types = [DTYPE["u32" if kind == "w" else "u64"] for kind in kinds]
    sources = [decoder.parameter(text, 0, dtype) for text, dtype in zip(passed, types, strict=True)]
    target = decoder.parameter(returned[0], 0, DTYPE["u32"]) if returned else -1

    def execute(wave: Wave, active: ActiveLanes) -> None:
        columns = [fetch(wave.values, source, active) for source in sources]
        status = np.zeros(active.count, np.uint32)
        for place, lane in enumerate(active.index):
            one = _Lane(wave, ActiveLanes(active.size, index=np.array([lane])))
            status[place] = function(one, *(int(column[place]) for column in columns))
        put(wave.values, target, active, status)

    return execute


class _Lane:
    """The memory of one lane, by generic addresses."""

    def __init__(self, wave: Wave, active: ActiveLanes) -> None:
        self.wave, self.active = wave, active

    def value(self, address: int, dtype: np.dtype[Any]) -> Any:
        found = read_bytes(self.wave, "", np.array([address]), self.active, dtype.itemsize)
        return found.view(dtype)[0]

    def text(self, address: int) -> str:
        """A string that ends with a zero."""
        octets = bytearray()
        while len(octets) < _LONGEST and (octet := int(self.value(address + len(octets), DTYPE["u8"]))):
            octets.append(octet)
        return octets.decode(errors="replace")


def _printed(lane: _Lane, form: int, values: int) -> int:
    """vprintf: C's formats of values that lie one behind the other, each at a multiple of its size."""
    count, at = 0, values

    def taken(dtype: np.dtype[Any]) -> Any:
        nonlocal at, count
        at = -(-at // dtype.itemsize) * dtype.itemsize
        found = lane.value(at, dtype).item()
        at, count = at + dtype.itemsize, count + 1
        return found

    def formatted(match: re.Match[str]) -> str:
        flags, width, precision, size, kind = match.groups()
        if kind == "%":
            return "%"
        width, precision = (str(taken(DTYPE["s32"])) if part == "*" else part for part in (width, precision))
        shape = f"%{flags}{width}" + ("" if precision is None else f".{precision}")
        if kind in "eEfFgG":
            return f"{shape}{kind}" % taken(DTYPE["f64"])
        if kind in "sp":
            address = taken(DTYPE["u64"])
            return f"{shape}s" % (lane.text(address) if kind == "s" else f"{address:#x}")
        if kind not in "diuoxXc":
            lane.wave.fault(f"printf does not know %{kind}", lane.active)
        bits = 64 if size in _WIDE else 32
        number = taken(DTYPE[f"{'s' if kind in 'di' else 'u'}{bits}"])
        return f"{shape}{'d' if kind in 'diu' else kind}" % (number & 0xFF if kind == "c" else number)

    print(_CONVERSION.sub(formatted, lane.text(form)), end="")
    return count


def _failed(lane: _Lane, message: int, file: int, line: int, function: int, size: int) -> int:
    """assert: a fault that says what CUDA's says."""
    said, where, within = (lane.text(address) for address in (message, file, function))
    lane.wave.fault(f"{where}:{line}: {within}: assertion `{said}` failed", lane.active)
