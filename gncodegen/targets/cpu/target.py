"""The CPU target as the runtime sees it: schedules in, addresses and a way to run them out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gncodegen.cache import files
from gncodegen.kernels.schedule import Machine, Schedule
from gncodegen.kernels.store import Source, write
from gncodegen.targets.cpu import host, line_tables
from gncodegen.targets.cpu.compile import compile_missing
from gncodegen.targets.cpu.objects import LinkedKernel, assembly, link
from gncodegen.targets.target import KernelReport


class CpuTarget:
    """All cores of this machine.

    Args:
        machine: what schedules are chosen for; None = this machine as it is.
    """

    def __init__(self, machine: Machine | None = None) -> None:
        self.machine = machine or host.machine()

    @property
    def tag(self) -> str:
        """Under what kernels are kept: CPU and versions."""
        return host.tag()

    def write(self, schedules: Iterable[Schedule]) -> list[Source]:
        """Renders the kernels that are not on disk yet."""
        return [write(schedule, host.tag()) for schedule in schedules]

    def ready(self, sources: Sequence[Source]) -> bool:
        """Whether all sources and object files are there, as they were written."""
        # A source that is not is no more what runs, and is written anew, which says so.
        whole = all(files.is_whole(source.path) for source in sources)
        return whole and all(files.read(source.beside(".o")) is not None for source in sources)

    def compile(self, sources: Sequence[Source]) -> int:
        """Compiles what has no object file yet; returns how many."""
        return compile_missing(source.path for source in sources)

    def link(self, sources: Sequence[Source]) -> list[LinkedKernel]:
        """Compiled kernels in memory, as long as they are held."""
        return link(source.path for source in sources)

    def show(self, source: Source, level: str) -> str:
        """A compiled kernel as "llvm" or "asm"."""
        return assembly(source) if level == "asm" else source.read(".ll").decode()

    def lines(self, sources: Sequence[Source]) -> list[str]:
        """The assembly with `.loc` directives: which line of the source each instruction comes from."""
        line_tables.compile_missing(source.path for source in sources)
        return [source.read(".s").decode() for source in sources]

    def report(self, source: Source, schedule: Schedule) -> KernelReport | None:
        """None: registers of a CPU are no choice of the schedule's."""
