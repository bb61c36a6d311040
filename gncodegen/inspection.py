"""What a compiled network shows of itself: kernels at every level, and the memory plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from gncodegen.cache import files
from gncodegen.kernels.explanation import explanation
from gncodegen.kernels.program import Program
from gncodegen.kernels.schedule import Schedule
from gncodegen.kernels.store import Source
from gncodegen.lowering import Lowered
from gncodegen.override_check import Override
from gncodegen.tables import Table, any_of, near, scaled
from gncodegen.targets.registry import row_of
from gncodegen.targets.target import KernelReport, Target


@dataclass(frozen=True, repr=False)
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
        override: what is known of it where a user edited it.
    """

    name: str
    schedule: Schedule
    layers: tuple[str, ...]
    bytes: int
    flops: int
    file: Source
    target: Target
    override: Override | None = None

    @property
    def path(self) -> Path:
        """The generated source file."""
        return self.file.path

    @property
    def source(self) -> str:
        """The generated Python source: as it was rendered, whatever lies in its file."""
        if (content := files.read(self.file.path)) is not None:
            return content.decode()
        from gncodegen.kernels.render import render  # noqa: PLC0415  a warm start renders nothing

        return render(self.schedule)

    @property
    def explanation(self) -> str:
        """What it computes, what one tile of it does, and all numbers of its schedule, in words."""
        return explanation(self.schedule)

    @property
    def llvm(self) -> str:
        """The optimised LLVM IR."""
        return self.target.show(self.file, "llvm")

    @property
    def asm(self) -> str:
        """The assembly of this machine, or of a CUDA architecture."""
        return self.target.show(self.file, "asm")

    @property
    def lines(self) -> str:
        """The assembly in which `.loc` directives say the line of the source that an instruction comes from."""
        return self.target.lines([self.file])[0]

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

    def __repr__(self) -> str:
        return (
            f"CompiledKernel({self.name!r} of {' + '.join(self.layers) or 'no layer'}: {self.schedule.template}, "
            f"{self.schedule.dtype}, {scaled(self.bytes, 'B')}, {scaled(self.flops, 'FLOP')}; "
            f"{self.override or f'source: {self.path}'})"
        )

    def _repr_html_(self) -> str:
        return (
            f"<p>{escape(repr(self))}</p><details><summary>source</summary><pre>{escape(self.source)}</pre></details>"
        )

    def _shown(self, level: str) -> str | None:
        levels = row_of(self.target.machine.target).levels
        return self.target.show(self.file, level) if level in levels else None


class Kernels(dict[str, CompiledKernel]):
    """Name → kernel; shows itself as a table, and says which names there are where one is missing."""

    def __missing__(self, name: str) -> CompiledKernel:
        raise KeyError(f"there is no kernel {name!r}; write {any_of(near(name, self))}")

    def __repr__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table.html

    @property
    def table(self) -> Table:
        """One row per kernel: name, layers, bytes and operations of a call.

        On a GPU also the registers of a thread, bytes spilled, bytes of shared memory of a block, and how many blocks
        of how many threads one multiprocessor holds.
        """
        header = ("Kernel", "Layers", "Bytes", "Operations")
        rows = [
            (
                f"{k.name} (edited)" if k.override else k.name,
                _some(k.layers),
                scaled(k.bytes, "B"),
                scaled(k.flops, "FLOP"),
            )
            for k in self.values()
        ]
        reports = [kernel.report for kernel in self.values()]
        if any(reports):
            header += ("Registers", "Spills", "Shared", "Occupancy")
            rows = [(*row, *_figures(report)) for row, report in zip(rows, reports, strict=True)]
        return Table(header, tuple(rows), frozenset(range(2, len(header))))


def _some(layers: tuple[str, ...], most: int = 3) -> str:
    """The layers, the first few of them where they are many."""
    return ", ".join(layers[:most]) + (f" and {len(layers) - most} more" if len(layers) > most else "")


def _figures(report: KernelReport | None) -> tuple[str, ...]:
    if report is None:
        return ("", "", "", "")
    figures = (report.registers, report.spills, report.shared, f"{report.blocks} × {report.threads}")
    return tuple(map(str, figures))


def kernels_of(functions: Iterable[Lowered], target: Target) -> Kernels:
    """Name → kernel, of some functions; a kernel that several of them use stands there once."""
    found = Kernels()
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
                shown, schedule, program.layers_of(name), call.bytes, call.flops, file, target,
                lowered.overrides.get(name),
            )  # fmt: skip
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


@dataclass(frozen=True, repr=False)
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
        return f"{self.table}\npeak {self.peak_bytes:,} bytes"

    def __repr__(self) -> str:
        return f"MemoryPlan({len(self.blocks)} blocks, peak {self.peak_bytes:,} bytes)"

    def _repr_html_(self) -> str:
        return f"{self.table.html}<p>peak {self.peak_bytes:,} bytes</p>"

    @property
    def table(self) -> Table:
        """One row per block, in order of offset."""
        rows = [
            (
                f"{block.offset:,}",
                f"{block.bytes:,}",
                f"{block.first}–{block.last}",
                f"{'×'.join(map(str, block.shape))} {block.dtype}",
            )
            for block in self.blocks
        ]
        return Table(("Offset", "Bytes", "Calls", "Shape"), tuple(rows), frozenset({0, 1, 2}))
