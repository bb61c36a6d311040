"""A PTX module, parsed and decoded once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from gncodegen.emulator.ptx import text
from gncodegen.emulator.ptx.control import control, gathers, members
from gncodegen.emulator.ptx.device_runtime import LIBRARY
from gncodegen.emulator.ptx.inline import InlinedKernel
from gncodegen.emulator.ptx.layout import Layout
from gncodegen.emulator.ptx.operands import Builder, Decoder, Effect, nothing, unsupported
from gncodegen.emulator.ptx.registers import RegisterLayout
from gncodegen.emulator.ptx.scalars import DTYPE, type_of
from gncodegen.emulator.ptx.text import Instruction
from gncodegen.errors import EmulationFault


class Step(NamedTuple):
    """A decoded instruction: its guard's operand (-1: none), and either what it executes or how it steers.

    `gathers`: whether lanes wait for others of their warp. `target`: a branch's target, or the operand of the mask that
    names those others (-1: all).
    """

    instruction: Instruction
    guard: int
    negated: bool
    execute: Effect
    control: str
    target: int
    gathers: bool


class Module:
    """One `.entry` of a PTX text, decoded.

    Attributes: `entry` (name), `parameters`, `layout` (of its variables), `steps`, `labelled` (the steps that branches
    lead to), `operands`, `registers` (their layout), `granule` (the smallest bytes accessed, by space), `meets`
    (whether all blocks of a launch wait for each other, which must be cooperative then) and `locks` (whether threads
    may wait for what one of them gives free).

    Args:
        ptx: PTX 7 to 9 text.
        builders: what each opcode executes: name → function of a decoder and an instruction.
        entry: the kernel's name; the first of the text by default.

    Raises:
        EmulationFault: the text has no such entry, or instructions that the builders do not know; it lists them.
    """

    def __init__(self, ptx: str, builders: Mapping[str, Builder], entry: str = "") -> None:
        file = text.read(ptx)
        file.functions = text.read(LIBRARY).functions | file.functions
        function = _entry(file, entry)
        self.entry, self.parameters, self.files = function.name, tuple(function.parameters), file.files
        self._builders = builders
        kernel = InlinedKernel(file, function)
        self.layout = Layout([*file.variables, *kernel.variables])
        decoder = Decoder(kernel.registers, [one.name for one in function.parameters], self.layout.symbols)
        decoder.named = _named(kernel)
        decoder.addressed = [one.name for one in function.parameters if one.kind.endswith("64")]
        self.steps = self._steps(decoder, kernel)
        self.labelled = frozenset(kernel.labels.values())
        self.operands, self.registers = decoder.operands, RegisterLayout(decoder.registers)
        self.granule = _granules(kernel.code)
        self.locks = any("cas" in one.opcode for one in kernel.code)
        self.meets = any(operand.name == "%envreg1" for operand in decoder.operands)

    def source_line(self, pc: int) -> int:
        """The line of the generated source that an instruction comes from, 0 if unknown."""
        return self.steps[pc].instruction.line

    def source_file(self, pc: int) -> str:
        """The generated source file that an instruction comes from, "" if unknown."""
        return self.files.get(self.steps[pc].instruction.file, "")

    def _steps(self, decoder: Decoder, kernel: InlinedKernel) -> list[Step]:
        steps: list[Step] = []
        faults: dict[str, EmulationFault] = {}
        for instruction in kernel.code:
            try:
                steps.append(self._decode(decoder, kernel, instruction))
            except EmulationFault as fault:
                faults.setdefault(".".join(instruction.opcode), fault)
        if len(faults) > 1:
            first = next(iter(faults.values()))
            raise EmulationFault(
                f"the emulator does not know these instructions: {', '.join(faults)}",
                kernel=self.entry, source=first.source, line=first.line, instruction=first.instruction,
            ) from first  # fmt: skip
        for fault in faults.values():
            raise fault
        return steps

    def _decode(self, decoder: Decoder, kernel: InlinedKernel, instruction: Instruction) -> Step:
        guard = decoder.source(instruction.guard, DTYPE["pred"]) if instruction.guard else -1
        try:
            steering = control(instruction)
            execute = nothing if steering else self._build(decoder, instruction)
            target = _target(decoder, kernel, instruction, steering)
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
        return Step(instruction, guard, instruction.negated, execute, steering, target, gathers(instruction))

    def _build(self, decoder: Decoder, instruction: Instruction) -> Effect:
        builder = self._builders.get(instruction.opcode[0])
        if builder is None:
            raise unsupported(instruction)
        return builder(decoder, instruction)


def _entry(file: text.PtxFile, name: str) -> text.Function:
    entries = {function.name: function for function in file.functions.values() if function.entry}
    if name and name not in entries:
        raise EmulationFault(f"the PTX text has no .entry {name}; it has {', '.join(entries) or 'none'}")
    if not entries:
        raise EmulationFault("the PTX text has no .entry")
    return entries[name] if name else next(iter(entries.values()))


def _target(decoder: Decoder, kernel: InlinedKernel, instruction: Instruction, steering: str) -> int:
    if steering == "branch":
        return kernel.labels[instruction.operands[0]]
    named = members(instruction) if gathers(instruction) else ""
    return decoder.source(named, DTYPE["u32"]) if named else -1


def _named(kernel: InlinedKernel) -> Counter[str]:
    """How often the code names each register."""
    texts = (text for one in kernel.code for text in (*one.operands, one.guard))
    return Counter(name for text in texts for name in re.findall(r"%[\w.$@]+", text))


def _granules(code: list[Instruction]) -> dict[str, int]:
    """For shared and global memory the bytes of the smallest access: what the checks for races tell apart."""
    smallest = {"shared": 16, "global": 16}
    accesses = {(one.opcode, len(one.operands) > 3, one.operands[2:3]) for one in code if one.opcode[0] in _ACCESSES}
    for opcode, filled, size in accesses:
        nbytes = _access_bytes(opcode, filled, size)
        for space in smallest if nbytes else ():
            if opcode[0] == "cp" or all(part.partition("::")[0] != _OTHER[space] for part in opcode):
                smallest[space] = min(smallest[space], nbytes)
    return smallest


_ACCESSES = {"ld", "st", "atom", "red", "cp"}
_OTHER = {"shared": "global", "global": "shared"}


def _access_bytes(opcode: tuple[str, ...], filled: bool, size: tuple[str, ...]) -> int:
    """Bytes of an access to shared or global memory; 0: of none."""
    if opcode[0] == "cp":
        return 0 if not size else 4 if filled else int(size[0], 0)
    if "param" in opcode or "local" in opcode:
        return 0
    together = {"v2", "v4", "v8"} if opcode[0] in {"ld", "st"} else set[str]()  # atomics are one by one
    count = next((int(part[1:]) for part in opcode if part in together), 1)
    return count * DTYPE[type_of(opcode)].itemsize
