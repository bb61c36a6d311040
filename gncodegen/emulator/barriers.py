"""Barriers of warps, blocks and clusters, and fences (PTX ISA 9.7.13)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.isa.warps import gathered
from gncodegen.emulator.ptx.decode import fetch
from gncodegen.emulator.ptx.module import Step
from gncodegen.emulator.ptx.scalars import Array
from gncodegen.emulator.state.lanes import Active, Mask, union
from gncodegen.emulator.state.machine import Machine


@dataclass
class Wait:
    """Lanes that wait behind a barrier instruction: at barrier `name`, for `count` threads (0: the whole block)."""

    pc: int
    active: Active
    name: str
    count: int


class Barriers:
    """Who waits where."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.waiting: list[Wait] = []
        self._arrived = np.zeros(machine.size, np.int64)  # a lane's cluster arrivals

    def arrive(self, step: Step, pc: int, lanes: Active) -> bool:
        """Execute a barrier or a fence; whether its lanes go on at once."""
        machine, parts = self._machine, step.instruction.opcode
        if step.control == "fence":
            if machine.order is not None and not {"gl", "sys", "gpu", "cluster"}.isdisjoint(parts):
                machine.order.fence(machine, lanes)
            return True
        if step.control == "warp":
            gathered(machine, fetch(machine.values, step.target, lanes), lanes, "bar.warp.sync")
            return True
        if step.control.startswith("cluster"):
            return self._cluster(step, pc, lanes)
        operands = step.instruction.operands
        name, count = operands[0] if operands else "0", int(operands[1], 0) if len(operands) > 1 else 0
        if lanes.all and count in {0, machine.threads}:
            self._pass(None)
            return True
        self.waiting.append(Wait(pc, lanes, name, count))
        return False

    def _cluster(self, step: Step, pc: int, lanes: Active) -> bool:
        if step.control == "cluster arrive":
            self._arrived[lanes.index] += 1
            return True
        if lanes.all and self._complete_clusters(np.ones(self._machine.blocks, np.bool_)).all():
            self._pass_cluster(None)
            return True
        self.waiting.append(Wait(pc, lanes, "cluster", 0))
        return False

    def release(self) -> Iterator[tuple[int, Active]]:
        """The lanes that may go on, with the instruction they go on at.

        Raises:
            EmulationFault: a barrier is divergent.
        """
        machine = self._machine
        for name in sorted({wait.name for wait in self.waiting}):
            here = [wait for wait in self.waiting if wait.name == name]
            blocks = self._complete(name, here)
            if not blocks.any():
                continue
            if name == "cluster":
                self._pass_cluster(blocks)
            else:
                self._divergence(here, blocks)
                self._pass(blocks)
            lanes = blocks[machine.block]
            for wait in here:
                yield wait.pc + 1, wait.active.where(lanes)
                wait.active = wait.active.where(~lanes)
        self.waiting = [wait for wait in self.waiting if wait.active.count]

    def _complete(self, name: str, here: list[Wait]) -> Mask:
        """The blocks whose barrier `name` has everyone it waits for."""
        machine = self._machine
        mask = union([wait.active for wait in here]).mask
        arrived = self._count(mask)
        if name == "cluster":
            return self._complete_clusters(arrived > 0)
        wanted = max(wait.count for wait in here)
        needed = np.full(machine.blocks, wanted) if wanted else self._count(machine.alive)
        return (arrived > 0) & (arrived >= needed)

    def _complete_clusters(self, some: Mask) -> Mask:
        """The flagged blocks whose cluster's running threads have all arrived as often as the furthest."""
        machine = self._machine
        cluster = machine.launch.cluster
        most = self._arrived.reshape(-1, cluster * machine.threads).max(axis=1)
        behind = (self._arrived.reshape(most.size, -1) < most[:, None]) & machine.alive.reshape(most.size, -1)
        return np.repeat(~behind.any(axis=1), cluster) & some

    def _count(self, mask: Mask) -> Array:
        return mask.reshape(self._machine.blocks, -1).sum(axis=1)

    def _divergence(self, here: list[Wait], blocks: Mask) -> None:
        """A fault where a block's threads pass at different instructions, or some have exited before."""
        machine = self._machine
        if not machine.launch.checks or any(wait.count for wait in here):
            return
        places: npt.NDArray[np.int64] = np.full(machine.size, -1)
        for wait in here:
            places[wait.active.index] = wait.pc
        rows = places.reshape(machine.blocks, -1)[blocks]
        odd = rows != rows[:, :1]
        if odd.any():
            row = int(np.flatnonzero(odd.any(axis=1))[0])
            block = int(np.flatnonzero(blocks)[row])
            pc = int(rows[row].max())
            absent = np.flatnonzero(rows[row] != pc)
            lane = block * machine.threads + int(np.flatnonzero(rows[row] == pc)[0])
            machine.fault_at(
                f"divergent barrier: {absent.size} of {machine.threads} threads do not execute it,"
                f" thread {int(absent[0])} first", lane, pc,
            )  # fmt: skip

    def deadlock(self) -> None:
        """Report the barrier that is never complete.

        Raises:
            EmulationFault: always.
        """
        machine, wait = self._machine, self.waiting[0]
        lane = int(wait.active.index[0])
        block = machine.block[lane]
        mine = sum(
            int((machine.block[one.active.index] == block).sum()) for one in self.waiting if one.name == wait.name
        )
        machine.fault_at(
            f"barrier deadlock: {mine} threads wait at barrier {wait.name}, the others never come", lane, wait.pc
        )

    def _pass(self, blocks: Mask | None) -> None:
        machine = self._machine
        machine.progress = True
        machine.close(blocks)
        if machine.order is not None:
            machine.order.barrier(machine, blocks)

    def _pass_cluster(self, blocks: Mask | None) -> None:
        machine = self._machine
        machine.progress = True
        machine.close(blocks)
        if machine.order is not None:
            machine.order.cluster(machine, blocks)
