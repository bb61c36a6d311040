"""Races in shared memory: within one barrier interval of a block (CUDA programming guide, memory model).

Accesses are only noted; when a block's interval ends, those to bytes that someone wrote are compared. Threads of one
warp are ordered by what synchronises them (bar.warp.sync, shfl.sync and the other .sync instructions). Strong accesses
(volatile, relaxed, acquire, release, atomic) race with weak ones only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gncodegen.targets.cuda.emulator.lanes import Active, Index, Mask
from gncodegen.targets.cuda.emulator.regions import Flat
from gncodegen.targets.cuda.emulator.scalars import Array

if TYPE_CHECKING:
    from gncodegen.targets.cuda.emulator.machine import Machine

_MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class Access:
    """One instruction's accesses: where each lane touches `nbytes`, when and how."""

    flat: Array
    nbytes: int
    lanes: Index
    time: int
    pc: int
    write: bool
    strong: bool


class Intervals:
    """The accesses of the current interval of every block.

    Args:
        granule: bytes told apart.
    """

    def __init__(self, granule: int) -> None:
        self._granule = granule
        self._accesses: list[Access] = []
        self._syncs: list[tuple[int, Active]] = []
        self._owner: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._bytes = 0

    def attach(self, nbytes: int) -> None:
        """Watch a region of so many bytes."""
        self._owner = np.zeros(-(-nbytes // self._granule // 16) * 16 + 16, np.int32)

    def touch(self, machine: Machine, flat: Flat, nbytes: int, active: Active, *, write: bool, strong: bool) -> None:
        """Note that each active lane touches `nbytes` from its flat index on."""
        small: Array = flat.astype(np.int32) if self._owner.size < 1 << 26 else flat
        self._accesses.append(Access(small, nbytes, active.index, machine.time, machine.pc, write, strong))
        self._bytes += small.nbytes
        if self._bytes > _MOST_BYTES:
            self._check(machine)
            self._drop_reads()

    def _drop_reads(self) -> None:
        """Under memory pressure forget reads that raced with nothing so far (a later write could have)."""
        self._accesses = [access for access in self._accesses if access.write]
        self._bytes = sum(access.flat.nbytes for access in self._accesses)

    def synchronised(self, machine: Machine, active: Active) -> None:
        """Note that the active lanes of each warp wait for each other now."""
        if self._accesses:
            self._syncs.append((machine.time, active))

    def close(self, machine: Machine, passed: Mask | None) -> None:
        """End the interval of every block (None) or of those flagged.

        Raises:
            EmulationFault: two of its threads raced.
        """
        self._check(machine)
        kept: list[Access] = []
        if passed is not None:
            for access in self._accesses:
                stays = ~passed[machine.block[access.lanes]]
                if stays.any():
                    kept.append(replace(access, flat=access.flat[stays], lanes=access.lanes[stays]))
        self._accesses, self._bytes = kept, sum(access.flat.nbytes for access in kept)
        self._syncs = self._syncs if kept else []
        machine.copies.touch(machine)

    def _granules(self, access: Access) -> Array:
        """The granules each lane touches: (lanes, granules of one access)."""
        first = access.flat // self._granule
        return first[:, None] + np.arange(max(access.nbytes // self._granule, 1), dtype=first.dtype)

    def _check(self, machine: Machine) -> None:
        writes = [access for access in self._accesses if access.write]
        if not writes:
            return
        owner = self._owner
        places = [self._granules(access) for access in writes]
        for access, place in zip(writes, places, strict=True):
            owner[place] = (access.lanes + 1)[:, None]
        contested: list[Array] = []
        for access in self._accesses:
            place = self._granules(access)
            found = owner[place]
            clash = (found != 0) & (found != (access.lanes + 1)[:, None])
            if clash.any():
                contested.append(place[clash])
        for place in places:
            owner[place] = 0
        if contested:
            self._compare(machine, np.unique(np.concatenate(contested)))

    def _compare(self, machine: Machine, contested: Array) -> None:
        """Look at every access to granules that two lanes touch and one writes."""
        columns: list[Array] = []
        for number, access in enumerate(self._accesses):
            place = self._granules(access)
            row, column = np.nonzero(np.isin(place, contested))
            lanes = access.lanes[row]
            same = np.ones_like(lanes)
            flags = (same * access.write, same * access.strong, same * number)
            columns.append(np.stack([place[row, column], lanes, machine.warp[lanes], same * access.time, *flags]))
        where, lane, warp, time, write, strong, number = np.concatenate(columns, axis=1)
        epoch = self._epochs(machine, warp, time)
        order = np.lexsort((epoch, warp, where))
        where, lane, warp, write, strong, number, epoch = (
            column[order] for column in (where, lane, warp, write, strong, number, epoch)
        )
        within = (where, warp, epoch)
        for keys, who in ((within, lane), ((where,), warp)):
            start = np.flatnonzero(np.any([np.diff(key, prepend=-1) != 0 for key in keys], axis=0))
            bad = _racing(start, who, write, strong)
            if bad.size:
                self._report(machine, slice(*bad[0]), where, lane, write, number, who)

    def _epochs(self, machine: Machine, warp: Array, time: Array) -> Array:
        """How often an access's warp had synchronised before it."""
        if not self._syncs:
            return np.zeros_like(time)
        keys = np.sort(
            np.concatenate([np.unique(machine.warp[active.index]) * (1 << 40) + at for at, active in self._syncs])
        )
        return np.searchsorted(keys, warp * (1 << 40) + time)

    def _report(
        self, machine: Machine, group: slice, where: Array, lane: Array, write: Array, number: Array, who: Array
    ) -> None:
        first = int(np.flatnonzero(write[group])[0]) + group.start
        others = np.flatnonzero(who[group] != who[first]) + group.start
        other = int(others[0])
        one, two = (self._accesses[int(number[i])] for i in (first, other))
        late, lane_late = (one, lane[first]) if one.time > two.time else (two, lane[other])
        early, lane_early = (two, lane[other]) if late is one else (one, lane[first])
        what = machine.regions["shared"].describe(int(where[first]) * self._granule)
        thread = int(machine.thread[int(lane_early)])
        did = "written" if early.write else "read"
        line = machine.module.source_line(early.pc)
        machine.fault_at(
            f"race: {what} is {'written' if late.write else 'read'} by this thread and {did} by thread {thread}"
            f" (line {line}, `{machine.module.steps[early.pc].instruction.text}`) with no barrier between",
            int(lane_late),
            late.pc,
        )


def _racing(start: Array, who: Array, write: Array, strong: Array) -> list[tuple[int, int]] | Array:
    """The groups (first, end) in which two different `who` touch, one writes, and not all are strong."""
    if not start.size:
        return np.zeros((0, 2), np.int64)
    differ = np.minimum.reduceat(who, start) != np.maximum.reduceat(who, start)
    written = np.maximum.reduceat(write, start) > 0
    weak = np.minimum.reduceat(strong, start) == 0
    ends = np.append(start[1:], who.size)
    return np.stack([start, ends], axis=1)[differ & written & weak]
