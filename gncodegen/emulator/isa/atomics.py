"""atom and red: read-modify-write of one location, lanes in ascending order (PTX ISA 9.7.13)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.emulator.isa.access import addresses, read_bytes, write_bytes
from gncodegen.emulator.isa.arithmetic import HALVES, narrow, widen
from gncodegen.emulator.isa.effects import Compute, Effect, fetch, put, together
from gncodegen.emulator.ptx.operands import Decoder, unsupported, vector
from gncodegen.emulator.ptx.scalars import DTYPE, Array, element, type_of
from gncodegen.emulator.ptx.spaces import WINDOW_BITS, space_of
from gncodegen.emulator.ptx.text import Instruction
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.observer import Offsets
from gncodegen.emulator.state.wave import Wave


def _increment(old: Any, limit: Any) -> Any:
    return np.where(old >= limit, old.dtype.type(0), old + old.dtype.type(1))


def _decrement(old: Any, limit: Any) -> Any:
    return np.where((old == 0) | (old > limit), limit, old - old.dtype.type(1))


OPERATIONS: dict[str, Compute] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "inc": _increment,
    "dec": _decrement,
    "exch": lambda old, new: new,
    "cas": lambda old, compare, new: np.where(old == compare, new, old),
}


def atomic(decoder: Decoder, instruction: Instruction) -> Effect:
    """Atom and red on integers, floats, half types and their pairs, in global, shared and generic space.

    A vector of them is as many atomic operations, one after the other.
    """
    parts, operands = instruction.opcode, list(instruction.operands)
    name = next((part for part in parts[1:] if part in OPERATIONS), "")
    kind = type_of(parts)
    if not name or kind == "b128":
        raise unsupported(instruction)
    targets = vector(operands.pop(0)) if parts[0] == "atom" else []
    # A cache policy may stand behind the values.
    sources = [vector(text) for text in operands[1 : 3 if name == "cas" else 2]]
    found: list[Effect] = []
    for i in range(len(sources[0])):
        target = decoder.destination(targets[i], DTYPE[kind]) if targets else -1
        base, offset = decoder.address(operands[0])
        one = [decoder.source(texts[i], DTYPE[kind]) for texts in sources]
        place = base, offset + i * DTYPE[kind].itemsize
        found.append(_of_one(instruction, _function(instruction, name, kind), target, place, one))
    return together(found)


def _function(instruction: Instruction, name: str, kind: str) -> Compute:
    """What an operation does with the bits of its type."""
    if kind not in HALVES or name in {"exch", "cas"}:
        return OPERATIONS[name]
    if name not in {"add", "min", "max"}:
        raise unsupported(instruction)

    def compute(old: Array, given: Array) -> Array:
        halves = (widen(np.ascontiguousarray(word).view(np.uint16), kind) for word in (old, given))
        return narrow(OPERATIONS[name](*halves), kind).view(DTYPE[kind])

    return compute


def _of_one(
    instruction: Instruction, function: Compute, target: int, place: tuple[int, int], sources: list[int]
) -> Effect:
    parts, space, dtype = instruction.opcode, space_of(instruction), DTYPE[type_of(instruction.opcode)]
    acquires = not {"acquire", "acq_rel"}.isdisjoint(parts)
    releases = not {"release", "acq_rel"}.isdisjoint(parts)
    nbytes = dtype.itemsize
    kind = element(nbytes)

    def execute(wave: Wave, active: ActiveLanes) -> None:
        address = addresses(wave.values, *place, active)
        given = [fetch(wave.values, source, active) for source in sources]
        wave.strong_store(active, address, releases, joins=True)
        before = read_bytes(wave, space, address, active, nbytes, strong=True).view(dtype).copy()
        after = _turns(function, _locations(wave, space, address, active, nbytes), before, given)
        write_bytes(wave, space, address, active, nbytes, np.ascontiguousarray(after).view(kind), strong=True)
        if target >= 0:
            put(wave.values, target, active, before)
        wave.strong_load(active, address, acquires)

    return execute


def _locations(wave: Wave, space: str, address: Offsets, active: ActiveLanes, nbytes: int) -> Offsets:
    """A number for each lane's location: a shared address is another one in every block."""
    if space == "global":
        return address
    found = np.empty(active.count, np.int64)
    for number, (_, offsets, _, chosen) in enumerate(wave.spaces.resolve(wave, space, address, active, nbytes)):
        found[chosen] = offsets + (number << WINDOW_BITS)
    return found


def _turns(function: Compute, location: Offsets, before: Array, given: list[Array]) -> Array:
    """Apply lane after lane; `before` becomes what each lane found; the last value of a location for all its lanes."""
    _, place = np.unique(location, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    turn = np.arange(order.size) - np.repeat(starts, np.diff(starts, append=order.size))
    after = before.copy()
    latest = before[order[starts]].copy()
    for step in range(int(turn.max()) + 1):
        lanes = order[turn == step]
        before[lanes] = latest[place[lanes]]
        latest[place[lanes]] = function(before[lanes], *[value[lanes] for value in given])
    after[:] = latest[place]
    return after
