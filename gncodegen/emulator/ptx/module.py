"""A PTX module, parsed and decoded once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from gncodegen.emulator.isa import table
from gncodegen.emulator.ptx import text
from gncodegen.emulator.ptx.decode import Decoder, Execute, Slot
from gncodegen.emulator.ptx.flatten import Flat
from gncodegen.emulator.ptx.scalars import DTYPE, Array, literal
from gncodegen.emulator.ptx.text import Instruction, Variable
from gncodegen.emulator.state.regions import CONSTANT
from gncodegen.errors import EmulationFault


@dataclass(frozen=True)
class Step:
    """A decoded instruction: its guard's slot (-1: none), and either what it executes or how it steers.

    `target`: a branch's target, or the slot of a warp barrier's mask.
    """

    instruction: Instruction
    guard: int
    negated: bool
    execute: Execute
    control: str
    target: int


class Module:
    """The one `.visible .entry` of a PTX text, ready to run.

    Attributes: `entry` name, `parameters`, `shared_bytes` (static), `local_bytes` (a thread), `steps`.

    Args:
        ptx: PTX 7 to 9 text.

    Raises:
        EmulationFault: the text has no entry, or an instruction that the emulator does not know.
    """

    def __init__(self, ptx: str) -> None:
        source = text.read(ptx)
        entry = next((function for function in source.functions.values() if function.entry), None)
        if entry is None:
            raise EmulationFault("the PTX text has no .entry")
        self.entry, self.parameters, self.files = entry.name, tuple(entry.parameters), source.files
        flat = Flat(source, entry)
        self._layout([*source.variables, *flat.variables])
        self.registers = flat.registers
        decoder = Decoder(flat.registers, [one.name for one in entry.parameters], self.symbols)
        self.steps = [self._decode(decoder, flat, instruction) for instruction in flat.code]
        self.slots: list[Slot] = decoder.slots
        self.register_types = decoder.types
        self.granule = {space: _granule(flat.code, space) for space in ("shared", "global")}

    def source_line(self, pc: int) -> int:
        """The line of the generated source that an instruction comes from, 0 if unknown."""
        return self.steps[pc].instruction.line

    def source_file(self, pc: int) -> str:
        """The generated source file that an instruction comes from, "" if unknown."""
        return self.files.get(self.steps[pc].instruction.file, "")

    def _decode(self, decoder: Decoder, flat: Flat, instruction: Instruction) -> Step:
        guard = decoder.source(instruction.guard, DTYPE["pred"]) if instruction.guard else -1
        try:
            control = table.control(instruction)
            execute = table.nothing if control else table.build(decoder, instruction)
            target = self._target(decoder, flat, instruction, control)
        except EmulationFault as fault:
            name = self.files.get(instruction.file, "")
            raise EmulationFault(
                fault.reason, kernel=self.entry, source=name, line=instruction.line, instruction=instruction.text
            ) from fault
        except (KeyError, IndexError, ValueError, StopIteration) as error:
            raise EmulationFault(
                f"the emulator does not know this instruction ({type(error).__name__}: {error})",
                kernel=self.entry, line=instruction.line, instruction=instruction.text,
            ) from error  # fmt: skip
        return Step(instruction, guard, instruction.negated, execute, control, target)

    def _target(self, decoder: Decoder, flat: Flat, instruction: Instruction, control: str) -> int:
        if control == "branch":
            return flat.labels[instruction.operands[0]]
        return decoder.source(instruction.operands[0], DTYPE["u32"]) if control == "warp" else -1

    def _layout(self, variables: list[Variable]) -> None:
        """Give every variable its place in its space."""
        self.symbols: dict[str, int] = {}
        sizes = {"shared": 0, "local": 0, "": 0}
        images: list[tuple[int, Array]] = []
        dynamic: list[Variable] = []
        for one in variables:
            space = one.space if one.space in sizes else ""
            if space == "shared" and one.elements == 0:
                dynamic.append(one)
                continue
            size = DTYPE[one.kind].itemsize
            start = _up(sizes[space], max(one.alignment, size))
            sizes[space] = start + size * one.elements
            self.symbols[one.name] = start + (0 if space else CONSTANT)
            if one.initial is not None:
                images.append((start, _image(one)))
        self.shared_bytes, self.local_bytes = sizes["shared"], sizes["local"]
        self.dynamic_start = _up(self.shared_bytes, max([16, *(one.alignment for one in dynamic)]))
        self.symbols |= {one.name: self.dynamic_start for one in dynamic}
        self.constants = np.zeros(sizes[""] + 16 & ~15, np.uint8)
        for start, image in images:
            self.constants[start : start + image.size] = image


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _image(variable: Variable) -> Array:
    """The bytes of a variable's initial value."""
    dtype: np.dtype[Any] = DTYPE[variable.kind]
    result = np.zeros(variable.elements, dtype)
    words = [word for word in re.split(r"[\s,{}]+", variable.initial or "") if word]
    try:
        result[: len(words)] = [literal(word, dtype) for word in words]
    except ValueError as error:
        raise EmulationFault(f"the initial value of {variable.name} is not made of numbers") from error
    return result.view(np.uint8)


def _granule(code: list[Instruction], space: str) -> int:
    """The smallest element, in bytes, that an instruction of the kernel touches in a space."""
    smallest = 16
    for one in code:
        name = one.opcode[0]
        other = {"shared": "global", "global": "shared"}[space]
        here = any(part.partition("::")[0] == other for part in one.opcode) is False or name == "cp"
        if name in {"ld", "st", "atom", "red"} and here and "param" not in one.opcode and "local" not in one.opcode:
            count = next((int(part[1:]) for part in one.opcode if part in {"v2", "v4", "v8"}), 1)
            smallest = min(smallest, count * DTYPE[one.opcode[-1]].itemsize)
        elif name == "cp" and len(one.operands) > 2:
            smallest = min(smallest, 4 if len(one.operands) > 3 else int(one.operands[2], 0))
    return smallest
