"""atom and red: read-modify-write of one location, lanes in ascending order (PTX ISA 9.7.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.emulator.isa.transfers import addresses, read_bytes, space_of, write_bytes
from gncodegen.emulator.ptx.decode import Compute, Decoder, Execute, fetch, put, unsupported
from gncodegen.emulator.ptx.scalars import DTYPE, Array
from gncodegen.emulator.ptx.text import Instruction
from gncodegen.emulator.state.memory import kinds

if TYPE_CHECKING:
    from gncodegen.emulator.state.lanes import Active
    from gncodegen.emulator.state.machine import Machine


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


def atomic(decoder: Decoder, instruction: Instruction) -> Execute:
    """Atom and red on 32- and 64-bit integers and floats, in global, shared and generic space."""
    parts, operands = instruction.opcode, list(instruction.operands)
    name = next((part for part in parts[1:] if part in OPERATIONS), "")
    if not name or DTYPE[parts[-1]].itemsize < 4 or parts[-1] in {"f16x2", "bf16x2"} or "vec" in parts:
        raise unsupported(instruction)
    dtype, function, space = DTYPE[parts[-1]], OPERATIONS[name], space_of(instruction)
    target = decoder.destination(operands.pop(0), dtype) if parts[0] == "atom" else -1
    slot, offset = decoder.address(operands[0])
    sources = [decoder.source(text, dtype) for text in operands[1:]]
    acquires = not {"acquire", "acq_rel"}.isdisjoint(parts)
    releases = not {"release", "acq_rel"}.isdisjoint(parts)
    nbytes = dtype.itemsize
    kind = kinds(nbytes)

    def execute(machine: Machine, active: Active) -> None:
        address = addresses(machine.values, slot, offset, active)
        given = [fetch(machine.values, source, active) for source in sources]
        machine.publish(active, address, releases, joins=True)
        before = read_bytes(machine, space, address, active, nbytes, strong=True).view(dtype).copy()
        after = _turns(function, address, before, given)
        write_bytes(machine, space, address, active, nbytes, np.ascontiguousarray(after).view(kind), strong=True)
        if target >= 0:
            put(machine.values, target, active, before)
        machine.observe(active, address, acquires)

    return execute


def _turns(function: Compute, address: Array, before: Array, given: list[Array]) -> Array:
    """Apply lane after lane; `before` becomes what each lane found; the last value of a location for all its lanes."""
    _, place = np.unique(address, return_inverse=True)
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
