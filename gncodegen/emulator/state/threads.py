"""The threads of a wave: their numbers, which of them still run, where they are, and the faults they raise."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.ptx.module import Module
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.errors import EmulationFault

NOBODY = np.zeros(1, np.uint32)


class Threads:
    """Blocks [first, first + blocks) of a launch, all their threads in lock step.

    Lane ℓ is thread ℓ % threads of block first + ℓ // threads.

    Attributes: by lane `block` (counted from the wave's first), `thread`, `lane` (within its warp), `warp` and `alive`;
    `expected`, by warp the bits of lanes that must execute the instruction at work, exited or not (or NOBODY);
    `pc`, the instruction at work, and `time`, how many the launch has executed.

    Args:
        module: the kernel.
        first: number of the first block in the launch.
        blocks: how many.
        threads: of a block.
    """

    def __init__(self, module: Module, first: int, blocks: int, threads: int) -> None:
        self.module, self.first, self.blocks, self.threads = module, first, blocks, threads
        self.size = blocks * threads
        lanes = np.arange(self.size)
        self.block: npt.NDArray[np.int64] = lanes // threads
        self.thread: npt.NDArray[np.int64] = lanes % threads
        self.lane = (self.thread % 32).astype(np.uint32)
        per_block = -(-threads // 32)
        self.warp = self.block * per_block + self.thread // 32
        self.warps, self.full_warps = blocks * per_block, threads % 32 == 0
        self.expected: npt.NDArray[np.uint32] = NOBODY
        self.alive = np.ones(self.size, np.bool_)
        self.live = self.size
        self.pc = self.time = 0
        self._running: npt.NDArray[np.uint32] | None = None

    def running(self) -> npt.NDArray[np.uint32]:
        """For each warp, the bits of its lanes that have not exited."""
        if self._running is None:
            self._running = np.zeros(self.warps, np.uint32)
            np.bitwise_or.at(self._running, self.warp[self.alive], np.uint32(1) << self.lane[self.alive])
        return self._running

    def exit(self, active: ActiveLanes) -> None:
        """The lanes end."""
        self.alive[active.index] = False
        self.live -= active.count
        self._running = None

    def fault(self, reason: str, active: ActiveLanes | None = None, position: int = 0) -> NoReturn:
        """Raise the fault of the active lane at a position, at the current instruction.

        Raises:
            EmulationFault: always.
        """
        lane = int(active.index[position]) if active is not None and active.count else -1
        self.fault_at(reason, lane, self.pc)

    def fault_at(self, reason: str, lane: int, pc: int) -> NoReturn:
        """Raise the fault of one lane (-1: none) at an instruction.

        Raises:
            EmulationFault: always.
        """
        raise EmulationFault(
            reason,
            kernel=self.module.entry,
            source=self.module.source_file(pc),
            line=self.module.source_line(pc),
            block=self.first + int(self.block[lane]) if lane >= 0 else -1,
            thread=int(self.thread[lane]) if lane >= 0 else -1,
            instruction=self.module.steps[pc].instruction.text,
        )
