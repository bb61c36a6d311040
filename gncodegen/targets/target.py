"""What the compiler asks of a target: the machine, kernels compiled, and their compiled forms to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gncodegen.kernels.schedule import Machine, Schedule
from gncodegen.kernels.store import Source


@dataclass(frozen=True)
class KernelReport:
    """What the assembler says of a CUDA kernel, and what follows for a multiprocessor.

    Args:
        registers: 32-bit registers of one thread.
        spills: bytes stored to and loaded from local memory for want of registers.
        stack: bytes of local memory of one thread.
        shared: bytes of shared memory of one block, static and dynamic.
        threads: of one block.
        blocks: blocks resident on one multiprocessor at once.
    """

    registers: int
    spills: int
    stack: int
    shared: int
    threads: int
    blocks: int

    def __str__(self) -> str:
        spilled = f", {self.spills} bytes spilled" if self.spills else ""
        return (
            f"{self.registers} registers{spilled}, {self.shared} bytes shared, {self.blocks} × {self.threads} threads"
        )


class Target(Protocol):
    """One kind of machine that kernels are compiled for."""

    @property
    def machine(self) -> Machine:
        """What schedules are chosen for."""
        ...

    @property
    def tag(self) -> str:
        """Under what kernels are kept."""
        ...

    def write(self, schedules: Iterable[Schedule]) -> list[Source]:
        """Renders the kernels that are not on disk yet."""
        ...

    def ready(self, sources: Sequence[Source]) -> bool:
        """Whether all sources, and compiled forms that a run needs, are there, as they were written."""
        ...

    def compile(self, sources: Sequence[Source]) -> int:
        """Compiles what was not compiled yet; returns how many."""
        ...

    def show(self, source: Source, level: str) -> str:
        """A compiled kernel at one of the levels of the target's row below "source"."""
        ...

    def lines(self, sources: Sequence[Source]) -> list[str]:
        """The assembly, or PTX, of each with `.loc` directives that say the line of the source."""
        ...

    def report(self, source: Source, schedule: Schedule) -> KernelReport | None:
        """What the assembler says of a compiled kernel; None on the CPU."""
        ...
