"""Instructions by which the lanes of a warp exchange values (PTX ISA 9.7.9.6, 9.7.13)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.isa.effects import Effect, fetch, put
from gncodegen.emulator.ptx.operands import Decoder, unsupported
from gncodegen.emulator.ptx.scalars import DTYPE, Array
from gncodegen.emulator.ptx.text import Instruction
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.threads import NOBODY
from gncodegen.emulator.state.wave import Wave

_U32, _PRED = DTYPE["u32"], DTYPE["pred"]


def ballot(wave: Wave, flags: Array, active: ActiveLanes) -> npt.NDArray[np.uint32]:
    """For each active lane, the bits of its warp's active lanes whose flag is set."""
    words = np.zeros(wave.warps, np.uint32)
    np.bitwise_or.at(words, wave.warp[active.index][flags], np.uint32(1) << wave.lane[active.index][flags])
    return words[wave.warp[active.index]]


def gathered(wave: Wave, mask: Array, active: ActiveLanes, what: str) -> npt.NDArray[np.uint32]:
    """Each active lane's members: the lanes of its warp named in `mask` that run.

    Raises:
        EmulationFault: a lane named in the mask runs but does not execute this instruction, or an executing lane is not
            in its own mask.
    """
    wave.converge(active)
    if active.all and wave.full_warps and (mask == 0xFFFF_FFFF).all():
        return mask
    here = ballot(wave, np.ones(active.count, np.bool_), active)
    own = np.uint32(1) << wave.lane[active.index]
    if not (mask & own).all():
        lane = int(np.flatnonzero((mask & own) == 0)[0])
        wave.fault(f"{what} by a lane that its member mask {int(mask[lane]):#x} does not name", active, lane)
    awaited = wave.running() if wave.expected is NOBODY else wave.running() | wave.expected
    absent = mask & awaited[wave.warp[active.index]] & ~here
    if absent.any():
        lane = int(np.flatnonzero(absent)[0])
        names = [i for i in range(32) if int(absent[lane]) >> i & 1]
        wave.fault(f"divergent {what}: the mask names lanes {names}, which do not execute it", active, lane)
    return mask & here


def shuffle(decoder: Decoder, instruction: Instruction) -> Effect:
    """shfl.sync.bfly, down, up, idx with clamp and segment mask, and the in-range predicate."""
    if instruction.opcode[1] != "sync":
        raise unsupported(instruction)
    mode = instruction.opcode[2]
    first, _, second = instruction.operands[0].partition("|")
    target = decoder.destination(first, _U32)
    flag = decoder.destination(second, _PRED) if second else -1
    value, distance, control, members = (decoder.source(text, _U32) for text in instruction.operands[1:])

    def execute(wave: Wave, active: ActiveLanes) -> None:
        values = wave.values
        mask = fetch(values, members, active)
        present = gathered(wave, mask, active, "shuffle")
        source, valid = _origin(mode, wave.lane[active.index], *(fetch(values, i, active) for i in (distance, control)))
        unread = (present >> source.astype(np.uint32)) & np.uint32(1) == 0
        if unread.any():
            lane = int(np.flatnonzero(unread)[0])
            wave.fault(f"shuffle reads lane {int(source[lane])}, which does not execute it", active, lane)
        origin = active.index - wave.lane[active.index].astype(np.int64) + source
        data = values[value]
        put(values, target, active, data[origin].copy() if data.ndim else data)
        put(values, flag, active, valid)

    return execute


def _origin(mode: str, lane: Array, distance: Array, control: Array) -> tuple[Array, Array]:
    """The lane each lane reads, and whether that is in range (PTX ISA, shfl.sync)."""
    here, b, c = lane.astype(np.int64), (distance & np.uint32(31)).astype(np.int64), control.astype(np.int64)
    segment, clamp = (c >> 8) & 31, c & 31
    highest, lowest = (here & segment) | (clamp & ~segment), here & segment
    if mode == "up":
        source = here - b
        valid = source >= highest
    elif mode == "down":
        source = here + b
        valid = source <= highest
    elif mode == "bfly":
        source = here ^ b
        valid = source <= highest
    else:
        source = lowest | (b & ~segment)
        valid = source <= highest
    return np.where(valid, source, here), valid


def vote(decoder: Decoder, instruction: Instruction) -> Effect:
    """vote.sync.all, any, uni, ballot."""
    mode = instruction.opcode[2]
    text = instruction.operands[1]
    flag, members = decoder.source(text.removeprefix("!"), _PRED), decoder.source(instruction.operands[2], _U32)
    target = decoder.destination(instruction.operands[0], _U32 if mode == "ballot" else _PRED)

    def execute(wave: Wave, active: ActiveLanes) -> None:
        flags = fetch(wave.values, flag, active) != text.startswith("!")
        present = gathered(wave, fetch(wave.values, members, active), active, "vote")
        votes = ballot(wave, flags, active) & present
        results: dict[str, Array] = {
            "all": votes == present,
            "any": votes != 0,
            "uni": (votes == present) | (votes == 0),
            "ballot": votes,
        }
        put(wave.values, target, active, results[mode])

    return execute


def activemask(decoder: Decoder, instruction: Instruction) -> Effect:
    """activemask: the lanes of the warp that execute it together here."""
    target = decoder.destination(instruction.operands[0], _U32)

    def execute(wave: Wave, active: ActiveLanes) -> None:
        put(wave.values, target, active, ballot(wave, np.ones(active.count, np.bool_), active))

    return execute


_REDUCTIONS: dict[str, Any] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


def reduce(decoder: Decoder, instruction: Instruction) -> Effect:
    """redux.sync: one 32-bit reduction over the members of a mask; lanes of a warp may have different masks."""
    dtype = DTYPE[instruction.opcode[-1]]
    function = _REDUCTIONS[instruction.opcode[2]]
    target, value, members = instruction.operands
    out, source, named = decoder.destination(target, dtype), decoder.source(value, dtype), decoder.source(members, _U32)

    def execute(wave: Wave, active: ActiveLanes) -> None:
        mask = fetch(wave.values, named, active)
        gathered(wave, mask, active, "redux")
        data = fetch(wave.values, source, active)
        _, first, group = np.unique(
            wave.warp[active.index].astype(np.uint64) << np.uint64(32) | mask, return_index=True, return_inverse=True
        )
        total = data[first].copy()
        others = np.ones(active.count, np.bool_)
        others[first] = False
        function.at(total, group[others], data[others])
        put(wave.values, out, active, total[group])

    return execute


def match(decoder: Decoder, instruction: Instruction) -> Effect:
    """match.any.sync and match.all.sync."""
    dtype = DTYPE[instruction.opcode[-1]]
    every = instruction.opcode[1] == "all"
    first, _, second = instruction.operands[0].partition("|")
    target = decoder.destination(first, _U32)
    flag = decoder.destination(second, _PRED) if second else -1
    source, named = decoder.source(instruction.operands[1], dtype), decoder.source(instruction.operands[2], _U32)

    def execute(wave: Wave, active: ActiveLanes) -> None:
        present = gathered(wave, fetch(wave.values, named, active), active, "match")
        data = fetch(wave.values, source, active)
        same = np.zeros(active.count, np.uint32)
        for one in np.unique(data):
            hits = data == one
            same = np.where(hits, ballot(wave, hits, active) & present, same)
        full = same == present
        put(wave.values, target, active, np.where(full, same, 0) if every else same)
        put(wave.values, flag, active, full)

    return execute
