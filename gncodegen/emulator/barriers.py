"""Barriers of warps, blocks and clusters, and fences (PTX ISA 9.7.13)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.isa.effects import fetch
from gncodegen.emulator.isa.warps import gathered
from gncodegen.emulator.ptx.module import Step
from gncodegen.emulator.ptx.scalars import Array
from gncodegen.emulator.state.lanes import ActiveLanes, Mask, union
from gncodegen.emulator.state.wave import Wave


@dataclass
class Wait:
    """Lanes that wait behind a barrier instruction: at barrier `name`, for `count` threads (0: the whole block)."""

    pc: int
    active: ActiveLanes
    name: str
    count: int


class Barriers:
    """Who waits where."""

    def __init__(self, wave: Wave) -> None:
        self._wave = wave
        self.waiting: list[Wait] = []
        self._arrived = np.zeros(wave.size, np.int64)  # a lane's cluster arrivals

    def arrive(self, step: Step, pc: int, lanes: ActiveLanes) -> bool:
        """Execute a barrier or a fence; whether its lanes go on at once."""
        wave, parts = self._wave, step.instruction.opcode
        if step.control == "fence":
            if not {"gl", "sys", "gpu", "cluster"}.isdisjoint(parts):
                wave.fence(lanes)
            return True
        if step.control == "warp":
            gathered(wave, fetch(wave.values, step.target, lanes), lanes, "bar.warp.sync")
            return True
        if step.control.startswith("cluster"):
            return self._cluster(step, pc, lanes)
        operands = step.instruction.operands
        name, count = operands[0] if operands else "0", int(operands[1], 0) if len(operands) > 1 else 0
        if lanes.all and count in {0, wave.threads}:
            wave.barrier(None, "block")
            return True
        self.waiting.append(Wait(pc, lanes, name, count))
        return False

    def _cluster(self, step: Step, pc: int, lanes: ActiveLanes) -> bool:
        if step.control == "cluster arrive":
            self._arrived[lanes.index] += 1
            return True
        if lanes.all and self._complete_clusters(np.ones(self._wave.blocks, np.bool_)).all():
            self._wave.barrier(None, "cluster")
            return True
        self.waiting.append(Wait(pc, lanes, "cluster", 0))
        return False

    def release(self) -> Iterator[tuple[int, ActiveLanes]]:
        """The lanes that may go on, with the instruction they go on at.

        Raises:
            EmulationFault: a barrier is divergent.
        """
        wave = self._wave
        for name in sorted({wait.name for wait in self.waiting}):
            here = [wait for wait in self.waiting if wait.name == name]
            blocks = self._complete(name, here)
            if not blocks.any():
                continue
            if name == "cluster":
                wave.barrier(blocks, "cluster")
            else:
                self._divergence(here, blocks)
                wave.barrier(blocks, "block")
            lanes = blocks[wave.block]
            for wait in here:
                yield wait.pc + 1, wait.active.where(lanes)
                wait.active = wait.active.where(~lanes)
        self.waiting = [wait for wait in self.waiting if wait.active.count]

    def _complete(self, name: str, here: list[Wait]) -> Mask:
        """The blocks whose barrier `name` has everyone it waits for."""
        wave = self._wave
        mask = union([wait.active for wait in here]).mask
        arrived = self._count(mask)
        if name == "cluster":
            return self._complete_clusters(arrived > 0)
        wanted = max(wait.count for wait in here)
        needed = np.full(wave.blocks, wanted) if wanted else self._count(wave.alive)
        return (arrived > 0) & (arrived >= needed)

    def _complete_clusters(self, some: Mask) -> Mask:
        """The flagged blocks whose cluster's running threads have all arrived as often as the furthest."""
        wave = self._wave
        cluster = wave.configuration.cluster
        most = self._arrived.reshape(-1, cluster * wave.threads).max(axis=1)
        behind = (self._arrived.reshape(most.size, -1) < most[:, None]) & wave.alive.reshape(most.size, -1)
        return np.repeat(~behind.any(axis=1), cluster) & some

    def _count(self, mask: Mask) -> Array:
        return mask.reshape(self._wave.blocks, -1).sum(axis=1)

    def _divergence(self, here: list[Wait], blocks: Mask) -> None:
        """A fault where a block's threads pass at different instructions, or some have exited before."""
        wave = self._wave
        if not wave.configuration.checks or any(wait.count for wait in here):
            return
        places: npt.NDArray[np.int64] = np.full(wave.size, -1)
        for wait in here:
            places[wait.active.index] = wait.pc
        rows = places.reshape(wave.blocks, -1)[blocks]
        odd = rows != rows.max(axis=1, keepdims=True)
        if wave.configuration.leaving:
            odd &= wave.alive.reshape(wave.blocks, -1)[blocks]
        if odd.any():
            row = int(np.flatnonzero(odd.any(axis=1))[0])
            block = int(np.flatnonzero(blocks)[row])
            pc = int(rows[row].max())
            absent = np.flatnonzero(rows[row] != pc)
            lane = block * wave.threads + int(np.flatnonzero(rows[row] == pc)[0])
            wave.fault_at(
                f"divergent barrier: {absent.size} of {wave.threads} threads do not execute it,"
                f" thread {int(absent[0])} first", lane, pc,
            )  # fmt: skip

    def deadlock(self) -> None:
        """Report the barrier that is never complete.

        Raises:
            EmulationFault: always.
        """
        wave, wait = self._wave, self.waiting[0]
        lane = int(wait.active.index[0])
        block = wave.block[lane]
        mine = sum(int((wave.block[one.active.index] == block).sum()) for one in self.waiting if one.name == wait.name)
        wave.fault_at(
            f"barrier deadlock: {mine} threads wait at barrier {wait.name}, the others never come", lane, wait.pc
        )
