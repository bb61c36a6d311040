"""Loads, stores and address conversions (PTX ISA 9.7.9)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.emulator.isa.access import addresses, read_bytes, write_bytes
from gncodegen.emulator.isa.effects import Effect, fetch, pure, put, together
from gncodegen.emulator.ptx.operands import Decoder, nothing, unsupported, vector
from gncodegen.emulator.ptx.scalars import DTYPE, Array, element
from gncodegen.emulator.ptx.spaces import LOCAL, RANK_BITS, SHARED, WINDOW_BITS, space_of
from gncodegen.emulator.ptx.text import Instruction
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.wave import Wave

_STRONG = {"volatile", "relaxed", "acquire", "release", "mmio"}


def _lanes(instruction: Instruction) -> tuple[int, np.dtype[Any]]:
    count = next((int(part[1:]) for part in instruction.opcode[1:] if part in {"v2", "v4", "v8"}), 1)
    return count, DTYPE[instruction.opcode[-1]]


def load(decoder: Decoder, instruction: Instruction) -> Effect:
    """Ld of 1 to 4 values, at most 16 bytes; cache operators and hints change nothing."""
    space = space_of(instruction)
    count, dtype = _lanes(instruction)
    targets = [decoder.destination(text, dtype) for text in vector(instruction.operands[0])]
    if space == "param":
        name, offset = decoder.place(instruction.operands[1])
        if name.startswith("%") and name in decoder.registers:
            return _chosen_parameter(decoder, instruction, name, targets, dtype)
        passed = [decoder.parameter(name, offset + i * dtype.itemsize, dtype) for i in range(count)]
        return together([pure(np.asarray, [one], target) for one, target in zip(passed, targets, strict=True)])
    base, offset = decoder.address(instruction.operands[1])
    nbytes = count * dtype.itemsize
    strong = not _STRONG.isdisjoint(instruction.opcode)
    acquires = "acquire" in instruction.opcode
    if nbytes not in {1, 2, 4, 8, 16}:
        raise unsupported(instruction)

    # A compiler may widen a load beyond what is used: only alignment and bounds hold for the rest.
    used = [i for i, text in enumerate(vector(instruction.operands[0])) if not decoder.unread(text)]
    if 0 < len(used) < count and not strong:

        def execute_some(wave: Wave, active: ActiveLanes) -> None:
            address = addresses(wave.values, base, offset, active)
            wave.spaces.resolve(wave, space, address, active, nbytes)
            for i in used:
                data = read_bytes(wave, space, address + i * dtype.itemsize, active, dtype.itemsize)
                put(wave.values, targets[i], active, data.view(dtype))

        return execute_some

    def execute(wave: Wave, active: ActiveLanes) -> None:
        address = addresses(wave.values, base, offset, active)
        data = read_bytes(wave, space, address, active, nbytes, strong=strong).view(dtype)
        if strong:
            wave.strong_load(active, address, acquires)
        if count == 1:
            put(wave.values, targets[0], active, data)
            return
        rows = data.reshape(-1, count)
        for i, target in enumerate(targets):
            put(wave.values, target, active, rows[:, i])

    return execute


def _chosen_parameter(
    decoder: Decoder, instruction: Instruction, base: str, targets: list[int], dtype: np.dtype[Any]
) -> Effect:
    """Ld.param of the address of a kernel parameter, which lanes chose among those of 8 bytes."""
    if len(targets) != 1 or dtype.itemsize != 8:
        raise unsupported(instruction)
    address = decoder.source(base, DTYPE["u64"])
    numbers = {decoder.place_of(name): decoder.parameter(name, 0, dtype) for name in decoder.addressed}

    def execute(wave: Wave, active: ActiveLanes) -> None:
        chosen = np.broadcast_to(fetch(wave.values, address, active), (active.count,))
        data, found = np.zeros(active.count, dtype), np.zeros(active.count, np.bool_)
        for place, number in numbers.items():
            here = chosen == place
            data[here], found[here] = wave.values[number], True
        if not found.all():
            wave.fault("a parameter is read at an address that is none's", active, int(np.argmin(found)))
        put(wave.values, targets[0], active, data)

    return execute


def store(decoder: Decoder, instruction: Instruction) -> Effect:
    """St of 1 to 4 values, at most 16 bytes."""
    space = space_of(instruction)
    count, dtype = _lanes(instruction)
    sources = [decoder.source(text, dtype) for text in vector(instruction.operands[1])]
    if space == "param":
        name, offset = decoder.place(instruction.operands[0])
        passed = [decoder.parameter(name, offset + i * dtype.itemsize, dtype) for i in range(count)]
        return together([pure(np.asarray, [source], one) for source, one in zip(sources, passed, strict=True)])
    base, offset = decoder.address(instruction.operands[0])
    nbytes = count * dtype.itemsize
    strong = not _STRONG.isdisjoint(instruction.opcode)
    releases = "release" in instruction.opcode
    if nbytes not in {1, 2, 4, 8, 16}:
        raise unsupported(instruction)

    def execute(wave: Wave, active: ActiveLanes) -> None:
        address = addresses(wave.values, base, offset, active)
        if count == 1:
            data = np.ascontiguousarray(fetch(wave.values, sources[0], active))
        else:
            data = np.stack([fetch(wave.values, source, active) for source in sources], axis=-1).reshape(-1)
        if strong:
            wave.strong_store(active, address, releases)
        write_bytes(wave, space, address, active, nbytes, data.view(element(nbytes)), strong=strong)

    return execute


_BASES = {"shared": SHARED, "local": LOCAL}


def cvta(decoder: Decoder, instruction: Instruction) -> Effect:
    """Cvta and cvta.to between generic addresses and a space's."""
    dtype = DTYPE[instruction.opcode[-1]]
    window = _BASES.get(space_of(instruction), 0)
    value, extra = decoder.address(f"[{instruction.operands[1]}]")
    shift = dtype.type(window if dtype.itemsize == 8 else 0)
    target = decoder.destination(instruction.operands[0], dtype)
    amount = dtype.type(extra)
    if "to" in instruction.opcode:
        return pure(lambda value: value - shift + amount, [value], target)
    return pure(lambda value: value + shift + amount, [value], target)


def isspacep(decoder: Decoder, instruction: Instruction) -> Effect:
    """isspacep: whether a generic address lies in a space."""
    window = _BASES.get(space_of(instruction), 0) >> WINDOW_BITS
    source, target = instruction.operands[1], decoder.destination(instruction.operands[0], DTYPE["pred"])
    address = decoder.source(source, DTYPE["u64"])
    return pure(lambda value: (value >> np.uint64(WINDOW_BITS)) == window, [address], target)


def mapa(decoder: Decoder, instruction: Instruction) -> Effect:
    """mapa.shared::cluster: the address of the same shared variable in another block of the cluster."""
    dtype = DTYPE[instruction.opcode[-1]]
    target, source, rank = instruction.operands
    sources = [decoder.source(source, dtype), decoder.source(rank, DTYPE["u32"])]

    def compute(address: Array, block: Array) -> Array:
        return address + ((np.asarray(block).astype(dtype) + dtype.type(1)) << dtype.type(RANK_BITS))

    return pure(compute, sources, decoder.destination(target, dtype))


def ignored(decoder: Decoder, instruction: Instruction) -> Effect:
    """Hints: prefetch, nanosleep, discard and the like."""
    return nothing
