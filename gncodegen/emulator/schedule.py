"""Runs a machine: the lanes at the smallest instruction go first, so that branches meet again where they can."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.emulator.barriers import Barriers
from gncodegen.emulator.ptx.module import Step
from gncodegen.emulator.state.lanes import Active, union
from gncodegen.emulator.state.machine import Machine

MOST_FRUITLESS = 256


class Schedule:
    """The lanes' places in the program.

    Lanes that spin on a flag (a strong access, then a branch backwards) are parked until nobody else can run.

    Args:
        machine: the batch.
        budget: instructions after which a launch counts as hanging.
    """

    def __init__(self, machine: Machine, budget: int) -> None:
        self._machine, self._budget = machine, budget
        self._ready: dict[int, list[Active]] = {0: [Active(machine.size)]}
        self._parked: list[tuple[int, Active]] = []
        self._fruitless = 0
        self._end = len(machine.module.steps)
        self.barriers = Barriers(machine)

    def run(self) -> None:
        """Execute until every lane has exited.

        Raises:
            EmulationFault: a check failed, a barrier is never complete, or nothing makes progress.
        """
        with np.errstate(all="ignore"):
            while self._ready or self._release():
                pc = min(self._ready)
                active = union(self._ready.pop(pc))
                active.whole = active.count == self._machine.live
                self._advance(pc, active)
        self._machine.close(None)

    def _release(self) -> bool:
        """Let lanes go on that wait at a complete barrier, else those that spin."""
        machine = self._machine
        for pc, active in self.barriers.release():
            self._place(pc, active)
        if self._ready:
            return True
        if not self._parked:
            if self.barriers.waiting:
                self.barriers.deadlock()
            return False
        self._fruitless = 0 if machine.progress else self._fruitless + 1
        if self._fruitless > MOST_FRUITLESS:
            pc, active = self._parked[0]
            machine.pc = pc
            machine.fault("no progress: threads spin on a flag that nobody will set", active)
        machine.progress = False
        for pc, active in self._parked:
            self._place(pc, active)
        self._parked = []
        return True

    def _place(self, pc: int, active: Active) -> None:
        if active.count:
            self._ready.setdefault(pc, []).append(active)

    def _advance(self, pc: int, active: Active) -> None:
        """Execute from `pc` until the lanes part, wait, or meet others."""
        machine, steps = self._machine, self._machine.module.steps
        limit = min(self._ready) if self._ready else self._end
        while pc < limit:
            step = steps[pc]
            machine.pc = pc
            machine.time += 1
            lanes = active if step.guard < 0 else self._guarded(step, active)
            if step.control:
                following = self._control(step, pc, active, lanes)
                if following < 0:
                    return
                pc = following
                continue
            if lanes.count:
                step.execute(machine, lanes)
            pc += 1
        if pc >= self._end:
            machine.exit(active)
        else:
            self._place(pc, active)

    def _guarded(self, step: Step, active: Active) -> Active:
        values: Any = self._machine.values[step.guard]
        flags = ~values if step.negated else values
        if active.all:
            if flags.all():
                return active
        elif active.dense:
            flags = flags & active.mask
        lanes = active.where(flags)
        return active if lanes.count == active.count else lanes

    def _control(self, step: Step, pc: int, active: Active, lanes: Active) -> int:
        """Steer; the next instruction of `active`, or -1 if the lanes have been placed."""
        if not lanes.count:
            return pc + 1
        if step.control == "branch":
            return self._branch(step, pc, active, lanes)
        if step.control == "exit":
            self._machine.exit(lanes)
            return self._rest(pc + 1, active, lanes)
        if step.control == "trap":
            self._machine.fault("the kernel trapped", lanes)
        self._machine.spun[lanes.index] = False  # who reaches a barrier has left its loop around a flag
        if self.barriers.arrive(step, pc, lanes):
            return pc + 1
        return self._rest(pc + 1, active, lanes)

    def _rest(self, pc: int, active: Active, gone: Active) -> int:
        if gone.count < active.count:
            self._place(pc, active.where(~gone.mask))
        return -1

    def _branch(self, step: Step, pc: int, active: Active, taken: Active) -> int:
        machine = self._machine
        if step.target <= pc:
            if machine.time > self._budget:
                machine.fault(f"no progress: {self._budget} instructions and no end", taken)
            spinning = taken.where(machine.spun) if machine.spins else None
            if spinning is not None and spinning.count:
                machine.spun[spinning.index] = False
                self._parked.append((step.target, spinning))
                self._place(step.target, taken.where(~spinning.mask))
                return self._rest(pc + 1, active, taken)
        if taken.count == active.count and step.target < (min(self._ready) if self._ready else self._end):
            return step.target
        self._place(step.target, taken)
        return self._rest(pc + 1, active, taken)
