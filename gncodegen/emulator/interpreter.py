"""Runs a wave: the lanes at the smallest instruction go first, so that branches meet again where they can."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.barriers import Barriers
from gncodegen.emulator.isa.effects import fetch
from gncodegen.emulator.isa.packs import Pack
from gncodegen.emulator.isa.warps import ballot
from gncodegen.emulator.ptx.module import Step
from gncodegen.emulator.state.lanes import ActiveLanes, union
from gncodegen.emulator.state.threads import NOBODY
from gncodegen.emulator.state.wave import Wave

MOST_FRUITLESS = 256


class Interpreter:
    """The lanes' places in the program.

    Lanes that spin on a flag (a strong access, then a branch backwards) are parked until nobody else can run. Lanes at
    an instruction of the warp are held until the others come that it names, wherever a compiler put their branch.

    Args:
        wave: the blocks that run.
        packs: for each instruction the pack that begins there, if one does.
        budget: instructions after which a launch counts as hanging.
    """

    def __init__(self, wave: Wave, packs: Sequence[Pack | None], budget: int) -> None:
        self._wave, self._budget = wave, budget
        self._ready: dict[int, list[ActiveLanes]] = {0: [ActiveLanes(wave.size)]}
        self._parked: list[tuple[int, ActiveLanes]] = []
        self._held: dict[int, tuple[list[ActiveLanes], npt.NDArray[np.uint32]]] = {}
        self._fruitless = 0
        self._resumed = -1  # an instruction of the warp that its lanes execute, whoever else may come
        self._packs = [pack if pack is not None and pack.fits(wave) else None for pack in packs]
        self._end = len(wave.module.steps)
        self.barriers = Barriers(wave)

    def run(self) -> None:
        """Execute until every lane has exited.

        Raises:
            EmulationFault: a check failed, a barrier is never complete, or nothing makes progress.
        """
        with np.errstate(all="ignore"):
            while self._ready or self._resume() or self._release():
                pc = min(self._ready)
                active = union(self._ready.pop(pc))
                active.whole = active.count == self._wave.live
                self._advance(pc, active)
        self._wave.barrier(None, "exit")

    def _resume(self) -> bool:
        """Let held lanes go on, since nobody else can come: those at the first instruction that has all it names."""
        if not self._held:
            return False
        places = sorted(self._held)
        whole = (pc for pc in places if self._complete(pc, union(self._held[pc][0])).all())
        self._resumed = next(whole, places[0])
        lanes, expected = self._held[self._resumed]
        self._held[self._resumed] = [], expected
        self._place(self._resumed, union(lanes))
        return True

    def _gathered(self, pc: int, active: ActiveLanes) -> ActiveLanes | None:
        """The lanes at an instruction of the warp that go on; None where all wait for others that may still come."""
        wave = self._wave
        lanes, expected = self._held.pop(pc, ([], np.zeros(wave.warps, np.uint32)))
        active = union([*lanes, active])
        # Who ran when the first lanes came, and does not come, is missed; also if it has exited since.
        expected = expected | wave.running()
        if pc != self._resumed:
            elsewhere = np.zeros(wave.warps, np.bool_)
            for other in chain(*self._ready.values(), *(lanes for lanes, _ in self._held.values())):
                elsewhere[wave.warp[other.index]] = True
            waits = np.zeros(wave.size, np.bool_)
            waits[active.index] = elsewhere[wave.warp[active.index]] & ~self._complete(pc, active)
            if waits.any():
                self._held[pc] = [active.where(waits)], expected
                active = active.where(~waits)
        self._resumed = -1
        if not active.count:
            return None
        wave.expected = NOBODY if wave.configuration.leaving else expected
        active.whole = active.count == wave.live
        return active

    def _complete(self, pc: int, active: ActiveLanes) -> npt.NDArray[np.bool_]:
        """For each active lane, whether all are here that an instruction of the warp names and that still run."""
        wave, members = self._wave, self._wave.module.steps[pc].target
        named = fetch(wave.values, members, active) if members >= 0 else np.uint32(0xFFFF_FFFF)
        here = ballot(wave, np.ones(active.count, np.bool_), active)
        return named & wave.running()[wave.warp[active.index]] & ~here == 0

    def _release(self) -> bool:
        """Let lanes go on that wait at a complete barrier, else those that spin."""
        wave = self._wave
        for pc, active in self.barriers.release():
            self._place(pc, active)
        if self._ready:
            return True
        if not self._parked:
            if self.barriers.waiting:
                self.barriers.deadlock()
            return False
        self._fruitless = 0 if wave.progress else self._fruitless + 1
        if self._fruitless > MOST_FRUITLESS:
            pc, active = self._parked[0]
            wave.pc = pc
            wave.fault("no progress: threads spin on a flag that nobody will set", active)
        wave.progress = False
        for pc, active in self._parked:
            self._place(pc, active)
        self._parked = []
        return True

    def _place(self, pc: int, active: ActiveLanes) -> None:
        if active.count:
            self._ready.setdefault(pc, []).append(active)

    def _advance(self, pc: int, active: ActiveLanes) -> None:
        """Execute from `pc` until the lanes part, wait, or meet others."""
        wave, steps = self._wave, self._wave.module.steps
        limit = min(self._ready) if self._ready else self._end
        while pc < limit:
            wave.pc = pc
            pack = self._packs[pc]
            if pack is not None and active.whole:
                pack.execute(wave)
                wave.time += pack.count
                pc += pack.count
                continue
            step = steps[pc]
            wave.time += 1
            if step.gathers and (self._held or (self._ready and not active.whole)):
                gathered = self._gathered(pc, active)
                if gathered is None:
                    return
                active = gathered
            lanes = active if step.guard < 0 else self._guarded(step, active)
            if step.control:
                following = self._control(step, pc, active, lanes)
                wave.expected = NOBODY
                if following < 0:
                    return
                pc = following
                continue
            if lanes.count:
                step.execute(wave, lanes)
            wave.expected = NOBODY
            pc += 1
        if pc >= self._end:
            wave.exit(active)
        else:
            self._place(pc, active)

    def _guarded(self, step: Step, active: ActiveLanes) -> ActiveLanes:
        values: Any = self._wave.values[step.guard]
        flags = ~values if step.negated else values
        if active.all:
            if flags.all():
                return active
        elif active.dense:
            flags = flags & active.mask
        lanes = active.where(flags)
        return active if lanes.count == active.count else lanes

    def _control(self, step: Step, pc: int, active: ActiveLanes, lanes: ActiveLanes) -> int:
        """Steer; the next instruction of `active`, or -1 if the lanes have been placed."""
        if not lanes.count:
            return pc + 1
        if step.control == "branch":
            return self._branch(step, pc, active, lanes)
        if step.control == "exit":
            self._wave.exit(lanes)
            return self._rest(pc + 1, active, lanes)
        if step.control == "trap":
            self._wave.fault("the kernel trapped", lanes)
        self._wave.spun[lanes.index] = False  # who reaches a barrier has left its loop around a flag
        if self.barriers.arrive(step, pc, lanes):
            return pc + 1
        return self._rest(pc + 1, active, lanes)

    def _rest(self, pc: int, active: ActiveLanes, gone: ActiveLanes) -> int:
        if gone.count < active.count:
            self._place(pc, active.where(~gone.mask))
        return -1

    def _branch(self, step: Step, pc: int, active: ActiveLanes, taken: ActiveLanes) -> int:
        wave = self._wave
        if step.target <= pc:
            if wave.time > self._budget:
                wave.fault(f"no progress: {self._budget} instructions and no end", taken)
            spinning = taken.where(wave.spun) if wave.spins else None
            if spinning is not None and spinning.count:
                wave.spun[spinning.index] = False
                self._parked.append((step.target, spinning))
                self._place(step.target, taken.where(~spinning.mask))
                return self._rest(pc + 1, active, taken)
        if taken.count == active.count and step.target < (min(self._ready) if self._ready else self._end):
            return step.target
        self._place(step.target, taken)
        return self._rest(pc + 1, active, taken)
