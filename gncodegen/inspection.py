"""What a compiled network shows of itself: kernels at every level, and the memory plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gncodegen.cache import files
from gncodegen.kernels.program import Program
from gncodegen.kernels.render import render
from gncodegen.kernels.schedule import Schedule
from gncodegen.kernels.store import Source
from gncodegen.lowering import Lowered
from gncodegen.targets.registry import row_of
from gncodegen.targets.target import KernelReport, Target


@dataclass(frozen=True)
class CompiledKernel:
    """One generated kernel, readable at every level.

    Args:
        name: made of op and number.
        schedule: what it was generated from.
        layers: names of the layers it computes.
        bytes: tensor-sized bytes one call reads and writes, by design.
        flops: floating-point operations of one call.
        file: the generated source and its compiled forms.
        target: what it was compiled for.
    """

    name: str
    schedule: Schedule
    layers: tuple[str, ...]
    bytes: int
    flops: int
    file: Source
    target: Target

    @property
    def path(self) -> Path:
        """The generated source file."""
        return self.file.path

    @property
    def source(self) -> str:
        """The generated Python source: as it was rendered, whatever lies in its file."""
        content = files.read(self.file.path)
        return render(self.schedule) if content is None else content.decode()

    @property
    def llvm(self) -> str:
        """The optimised LLVM IR."""
        return self.target.show(self.file, "llvm")

    @property
    def asm(self) -> str:
        """The assembly of this machine, or of a CUDA architecture."""
        return self.target.show(self.file, "asm")

    @property
    def ptx(self) -> str | None:
        """The PTX; None on the CPU."""
        return self._shown("ptx")

    @property
    def sass(self) -> str | None:
        """The SASS, a CUDA architecture's machine code; None on the CPU."""
        return self._shown("sass")

    @property
    def report(self) -> KernelReport | None:
        """Registers, spills, shared memory and occupancy; None on the CPU."""
        return self.target.report(self.file, self.schedule)

    @property
    def registers(self) -> int | None:
        """Registers of one thread; None on the CPU."""
        return self.report.registers if self.report else None

    def _shown(self, level: str) -> str | None:
        levels = row_of(self.target.machine.target).levels
        return self.target.show(self.file, level) if level in levels else None


def kernels_of(functions: Iterable[Lowered], target: Target) -> dict[str, CompiledKernel]:
    """Name → kernel, of some functions; a kernel that several of them use stands there once."""
    found: dict[str, CompiledKernel] = {}
    files: set[Path] = set()
    for lowered in functions:
        program = lowered.program
        for name, schedule in program.kernels.items():
            file = lowered.sources[name]
            if file.path in files:
                continue
            files.add(file.path)
            call = next(call for call in program.calls if call.kernel == name)
            shown = f"{program.function}.{name}" if name in found else name
            found[shown] = CompiledKernel(
                shown, schedule, program.layers_of(name), call.bytes, call.flops, file, target
            )
    return found


@dataclass(frozen=True)
class MemoryBlock:
    """One planned buffer: where it lies in the arena, and the first and last call that use it."""

    shape: tuple[int, ...]
    dtype: str
    offset: int
    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """The arena of a function: its blocks in order of offset, and its size in bytes."""

    blocks: tuple[MemoryBlock, ...]
    peak_bytes: int

    @staticmethod
    def of(program: Program) -> MemoryPlan:
        """The plan in a Program."""
        blocks: list[MemoryBlock] = []
        for index, (first, last) in program.lifetimes().items():
            buffer = program.buffers[index]
            blocks.append(MemoryBlock(buffer.shape, buffer.dtype, buffer.offset, buffer.bytes, first, last))
        return MemoryPlan(tuple(sorted(blocks, key=lambda block: block.offset)), program.arena_bytes)

    def __str__(self) -> str:
        lines = [f"{'offset':>12} {'bytes':>12} {'calls':>9}  shape"]
        for block in self.blocks:
            calls, extents = f"{block.first}–{block.last}", "×".join(map(str, block.shape))
            lines.append(f"{block.offset:>12} {block.bytes:>12} {calls:>9}  {extents} {block.dtype}")
        return "\n".join([*lines, f"peak {self.peak_bytes:,} bytes"])
