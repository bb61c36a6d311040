"""atom and red: read-modify-write of one location, lanes in ascending order (PTX ISA 9.7.13)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.emulator.isa.access import addresses, read_bytes, write_bytes
from gncodegen.emulator.isa.effects import Compute, Effect, fetch, put
from gncodegen.emulator.ptx.operands import Decoder, unsupported
from gncodegen.emulator.ptx.scalars import DTYPE, Array, element
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
    """Atom and red on 32- and 64-bit integers and floats, in global, shared and generic space."""
    parts, operands = instruction.opcode, list(instruction.operands)
    name = next((part for part in parts[1:] if part in OPERATIONS), "")
    if not name or DTYPE[parts[-1]].itemsize < 4 or parts[-1] in {"f16x2", "bf16x2"} or "vec" in parts:
        raise unsupported(instruction)
    dtype, function, space = DTYPE[parts[-1]], OPERATIONS[name], space_of(instruction)
    target = decoder.destination(operands.pop(0), dtype) if parts[0] == "atom" else -1
    base, offset = decoder.address(operands[0])
    sources = [decoder.source(text, dtype) for text in operands[1:]]
    acquires = not {"acquire", "acq_rel"}.isdisjoint(parts)
    releases = not {"release", "acq_rel"}.isdisjoint(parts)
    nbytes = dtype.itemsize
    kind = element(nbytes)

    def execute(wave: Wave, active: ActiveLanes) -> None:
        address = addresses(wave.values, base, offset, active)
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
