"""A wave: the blocks that run at once, with their registers, their memory and the checks that watch them."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.emulator.ptx.operands import Operand
from gncodegen.emulator.state.configuration import LaunchConfiguration
from gncodegen.emulator.state.copies import AsyncCopies
from gncodegen.emulator.state.lanes import ActiveLanes, Mask
from gncodegen.emulator.state.observer import Observer, Offsets, Scope
from gncodegen.emulator.state.regions import ConstantRegion, GlobalRegion, LocalRegion, SharedRegion, StateSpaces
from gncodegen.emulator.state.registers import RegisterFile
from gncodegen.emulator.state.threads import Threads


class Wave(Threads):
    """All that instructions read and change while blocks [first, first + blocks) of a launch run.

    Attributes: `values` (by operand number), `registers`, `spaces`, `copies` in flight; `progress`, whether since
    spinning lanes last ran memory changed, a barrier passed or a lane exited.

    Args:
        configuration: the launch.
        first: number of the first block.
        blocks: how many.
    """

    def __init__(self, configuration: LaunchConfiguration, first: int, blocks: int) -> None:
        module, checks = configuration.module, configuration.checks
        super().__init__(module, first, blocks, configuration.block)
        self.configuration = configuration
        self.progress = True
        self.spins = configuration.cooperative or configuration.cluster > 1 or module.locks
        self.spun: Mask = np.zeros(self.size, np.bool_)  # a strong access since the last branch backwards
        self.copies = AsyncCopies(self.size)
        self.spaces = StateSpaces([
            GlobalRegion(configuration.memory, checks),
            SharedRegion(blocks, configuration.shared_bytes, configuration.cluster, checks),
            LocalRegion(self.size, module.layout.local_bytes),
            ConstantRegion(module.layout.constants),
        ])  # fmt: skip
        self._observers: list[Observer] = []
        self.registers = RegisterFile(module.registers, self.size)
        self.values = [self._value(operand) for operand in module.operands]

    def watch(self, space: str, observer: Observer) -> None:
        """Tell an observer of the accesses to a state space, and of all that orders threads."""
        self.spaces[space].observers.append(observer)
        self._observers.append(observer)

    def _value(self, operand: Operand) -> Any:
        if operand.kind == "constant":
            return operand.value
        if operand.kind == "special":
            return np.asarray(self.configuration.special(operand.name, self)).astype(operand.dtype)
        if operand.kind == "parameter":
            return self.configuration.argument(operand)
        return self.registers.view(operand.name, operand.dtype)

    def exit(self, active: ActiveLanes) -> None:
        """The lanes end."""
        super().exit(active)
        self.progress = True

    def aligned(self, active: ActiveLanes, what: str) -> None:
        """The lanes of each warp meet at an `.aligned` instruction.

        Raises:
            EmulationFault: some lanes of a warp do not execute it.
        """
        self.converge(active)
        if active.all and self.full_warps:
            return
        counts = np.bincount(self.warp[active.index], minlength=self.warps)
        partial = (counts != 0) & (counts != 32)
        if partial.any():
            lane = int(np.flatnonzero(partial[self.warp[active.index]])[0])
            missing = 32 - int(counts[self.warp[active.index[lane]]])
            self.fault(f"divergent {what}: {missing} lanes of the warp do not execute it", active, lane)

    def converge(self, active: ActiveLanes) -> None:
        """The active lanes of each warp wait for each other here."""
        for one in self._observers:
            one.converge(self, active)

    def barrier(self, passed: Mask | None, scope: Scope) -> None:
        """Every block (None) or the flagged ones passed a barrier, or have ended.

        Raises:
            EmulationFault: two threads raced in the interval that ends.
        """
        self.progress = True
        for one in self._observers:
            one.barrier(self, passed, scope)
        self.copies.note(self)

    def fence(self, active: ActiveLanes) -> None:
        """The lanes executed a fence of cluster, device or system scope."""
        for one in self._observers:
            one.fence(self, active)

    def strong_load(self, active: ActiveLanes, address: Offsets, acquires: bool) -> None:
        """A strong load is done: what its flag's releases published becomes known."""
        if self.spins:
            self.spun[active.index] = True
        for one in self._observers:
            one.strong_load(self, active, address, acquires)

    def strong_store(self, active: ActiveLanes, address: Offsets, releases: bool, *, joins: bool = False) -> None:
        """A strong store begins: what the lane's block did so far goes with the flag (`joins`: on top of its own)."""
        for one in self._observers:
            one.strong_store(self, active, address, releases, joins=joins)
