"""The CPU target as the runtime sees it: schedules in, addresses and a way to run them out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gncodegen.kernels.schedule import Machine, Schedule
from gncodegen.kernels.store import Source, write
from gncodegen.targets.cpu import host
from gncodegen.targets.cpu.compile import compile_missing
from gncodegen.targets.cpu.objects import assembly, link
from gncodegen.targets.target import KernelReport


class CpuTarget:
    """All cores of this machine.

    Args:
        precise: as Machine.precise.
    """

    name = "cpu"

    def __init__(self, precise: bool = False) -> None:
        self._precise = precise

    @property
    def machine(self) -> Machine:
        """What schedules are chosen for."""
        return replace(host.machine(), precise=self._precise)

    @property
    def tag(self) -> str:
        """Under what kernels are kept: CPU and versions."""
        return host.tag()

    def write(self, schedules: Iterable[Schedule]) -> list[Source]:
        """Renders the kernels that are not on disk yet."""
        return [write(schedule, host.tag()) for schedule in schedules]

    def compile(self, sources: Sequence[Source]) -> int:
        """Compiles what has no object file yet; returns how many."""
        return compile_missing(source.path for source in sources)

    def link(self, sources: Sequence[Source]) -> list[int]:
        """The addresses of compiled kernels."""
        return link([source.path for source in sources])

    def assembly(self, source: Source) -> str:
        """The host's assembly of a compiled kernel."""
        return assembly(source.path)

    def ptx(self, source: Source) -> str | None:
        """None: a CPU has none."""

    def sass(self, source: Source) -> str | None:
        """None: a CPU has none."""

    def report(self, source: Source, schedule: Schedule) -> KernelReport | None:
        """None: registers of a CPU are no choice of the schedule's."""
