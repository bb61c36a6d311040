"""Loads, stores and address conversions (PTX ISA 9.7.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.emulator.ptx.decode import (
    Decoder,
    Execute,
    fetch,
    nothing,
    pure,
    put,
    unsupported,
    vector,
)
from gncodegen.emulator.ptx.scalars import DTYPE, UNSIGNED, Array
from gncodegen.emulator.ptx.text import Instruction
from gncodegen.emulator.state.memory import kinds
from gncodegen.emulator.state.regions import LOCAL, RANK_BITS, SHARED, Flat, resolve

if TYPE_CHECKING:
    from gncodegen.emulator.state.lanes import Active
    from gncodegen.emulator.state.machine import Machine

SPACES = {"global": "global", "shared": "shared", "local": "local", "const": "", "param": "param"}
_ALL = {size: kind.type(2 ** (8 * size) - 1) for size, kind in UNSIGNED.items()}
STRONG = {"volatile", "relaxed", "acquire", "release", "mmio"}


def space_of(instruction: Instruction) -> str:
    """The state space an instruction names, "" for generic."""
    named = (part.partition("::")[0] for part in instruction.opcode)
    return next((SPACES[part] for part in named if part in SPACES), "")


def addresses(values: list[Any], slot: int, offset: int, active: Active) -> Flat:
    """Each active lane's address as int64."""
    base = fetch(values, slot, active)
    wide: Flat = base.view(np.int64) if base.dtype.itemsize == 8 else base.astype(np.int64)
    return wide + offset if offset else wide


def read_bytes(
    machine: Machine, space: str, address: Flat, active: Active, nbytes: int, *, strong: bool = False
) -> Array:
    """`nbytes` (1, 2, 4, 8 or 16) from each lane's address, as one element a lane, with every check."""
    kind = kinds(nbytes)
    shift = nbytes.bit_length() - 1
    result = None
    for region, flat, lanes, chosen in resolve(machine, space, address, active, nbytes):
        place = flat >> shift
        if region.ready is not None:
            ready = np.take(region.ready.view(kind), place).view(np.uint64 if nbytes > 8 else kind)
            if np.bitwise_and.reduce(ready) != _ALL[ready.dtype.itemsize]:
                _uninitialised(machine, region.ready, flat, nbytes, lanes, region)
        data = np.take(region.data.view(kind), place)
        if region.log is not None:
            region.log.touch(machine, flat, nbytes, lanes, write=False, strong=strong)
        if lanes is active:
            return data
        result = np.empty(active.count, kind) if result is None else result
        result[chosen] = data
    assert result is not None
    return result


def _uninitialised(machine: Machine, ready: Array, flat: Flat, nbytes: int, active: Active, region: Any) -> None:
    flags = ready[flat[:, None] + np.arange(nbytes)] == 0
    lane, byte = (int(found[0]) for found in np.nonzero(flags))
    what = region.describe(int(flat[lane]) + byte)
    machine.fault(f"{region.name} memory is read before it is written: {what}", active, lane)


def write_bytes(
    machine: Machine, space: str, address: Flat, active: Active, nbytes: int, data: Array, *, strong: bool = False
) -> None:
    """Store one element of `nbytes` at each lane's address, with every check."""
    kind = kinds(nbytes)
    shift = nbytes.bit_length() - 1
    machine.progress |= not strong
    for region, flat, lanes, chosen in resolve(machine, space, address, active, nbytes):
        place = flat >> shift
        if strong and not machine.progress:
            machine.progress = bool((region.data.view(kind)[place] != data[chosen]).any())
        region.data.view(kind)[place] = data[chosen]
        if region.ready is not None:
            region.ready.view(kind)[place] = np.full(nbytes, 0xFF, np.uint8).view(kind)[0]
        if region.log is not None:
            region.log.touch(machine, flat, nbytes, lanes, write=True, strong=strong)


def _lanes(instruction: Instruction) -> tuple[int, np.dtype[Any]]:
    count = next((int(part[1:]) for part in instruction.opcode[1:] if part in {"v2", "v4", "v8"}), 1)
    return count, DTYPE[instruction.opcode[-1]]


def load(decoder: Decoder, instruction: Instruction) -> Execute:
    """Ld of 1 to 4 values, at most 16 bytes; cache operators and hints change nothing."""
    space = space_of(instruction)
    count, dtype = _lanes(instruction)
    targets = [decoder.destination(text, dtype) for text in vector(instruction.operands[0])]
    if space == "param":
        name, offset = decoder.place(instruction.operands[1])
        slots = [decoder.parameter(name, offset + i * dtype.itemsize, dtype) for i in range(count)]
        return _together([pure(np.asarray, [slot], target) for slot, target in zip(slots, targets, strict=True)])
    slot, offset = decoder.address(instruction.operands[1])
    nbytes = count * dtype.itemsize
    strong = not STRONG.isdisjoint(instruction.opcode)
    acquires = "acquire" in instruction.opcode
    if nbytes not in {1, 2, 4, 8, 16}:
        raise unsupported(instruction)

    def execute(machine: Machine, active: Active) -> None:
        address = addresses(machine.values, slot, offset, active)
        data = read_bytes(machine, space, address, active, nbytes, strong=strong).view(dtype)
        if strong:
            machine.observe(active, address, acquires)
        if count == 1:
            put(machine.values, targets[0], active, data)
            return
        rows = data.reshape(-1, count)
        for i, target in enumerate(targets):
            put(machine.values, target, active, rows[:, i])

    return execute


def store(decoder: Decoder, instruction: Instruction) -> Execute:
    """St of 1 to 4 values, at most 16 bytes."""
    space = space_of(instruction)
    count, dtype = _lanes(instruction)
    sources = [decoder.source(text, dtype) for text in vector(instruction.operands[1])]
    if space == "param":
        name, offset = decoder.place(instruction.operands[0])
        slots = [decoder.parameter(name, offset + i * dtype.itemsize, dtype) for i in range(count)]
        return _together([pure(np.asarray, [source], slot) for source, slot in zip(sources, slots, strict=True)])
    slot, offset = decoder.address(instruction.operands[0])
    nbytes = count * dtype.itemsize
    strong = not STRONG.isdisjoint(instruction.opcode)
    releases = "release" in instruction.opcode
    if nbytes not in {1, 2, 4, 8, 16}:
        raise unsupported(instruction)

    def execute(machine: Machine, active: Active) -> None:
        address = addresses(machine.values, slot, offset, active)
        if count == 1:
            data = np.ascontiguousarray(fetch(machine.values, sources[0], active))
        else:
            data = np.stack([fetch(machine.values, source, active) for source in sources], axis=-1).reshape(-1)
        if strong:
            machine.publish(active, address, releases)
        write_bytes(machine, space, address, active, nbytes, data.view(kinds(nbytes)), strong=strong)

    return execute


def _together(steps: list[Execute]) -> Execute:
    if len(steps) == 1:
        return steps[0]

    def execute(machine: Machine, active: Active) -> None:
        for step in steps:
            step(machine, active)

    return execute


_BASES = {"shared": SHARED, "local": LOCAL}


def cvta(decoder: Decoder, instruction: Instruction) -> Execute:
    """Cvta and cvta.to between generic addresses and a space's."""
    dtype = DTYPE[instruction.opcode[-1]]
    base = _BASES.get(space_of(instruction), 0)
    slot, extra = decoder.address(f"[{instruction.operands[1]}]")
    shift = dtype.type(base if dtype.itemsize == 8 else 0)
    target = decoder.destination(instruction.operands[0], dtype)
    amount = dtype.type(extra)
    if "to" in instruction.opcode:
        return pure(lambda value: value - shift + amount, [slot], target)
    return pure(lambda value: value + shift + amount, [slot], target)


def isspacep(decoder: Decoder, instruction: Instruction) -> Execute:
    """isspacep: whether a generic address lies in a space."""
    base = _BASES.get(space_of(instruction), 0) >> 56
    target = decoder.destination(instruction.operands[0], DTYPE["pred"])
    return pure(
        lambda value: (value >> np.uint64(56)) == base, [decoder.source(instruction.operands[1], DTYPE["u64"])], target
    )


def mapa(decoder: Decoder, instruction: Instruction) -> Execute:
    """mapa.shared::cluster: the address of the same shared variable in another block of the cluster."""
    dtype = DTYPE[instruction.opcode[-1]]
    target, source, rank = instruction.operands
    slots = [decoder.source(source, dtype), decoder.source(rank, DTYPE["u32"])]

    def compute(address: Array, block: Array) -> Array:
        return address + ((np.asarray(block).astype(dtype) + dtype.type(1)) << dtype.type(RANK_BITS))

    return pure(compute, slots, decoder.destination(target, dtype))


def ignored(decoder: Decoder, instruction: Instruction) -> Execute:
    """Hints: prefetch, nanosleep, discard and the like."""
    return nothing
