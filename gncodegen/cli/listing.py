"""The list of kernels, as commands print it."""

from __future__ import annotations

from gncodegen.compiled import Compiled
from gncodegen.targets.target import KernelReport


def kernel_table(compiled: Compiled) -> str:
    """One line per kernel: name, the layers it computes, its file; and the folder they lie in.

    On a GPU also the registers of a thread, bytes spilled, bytes of shared memory of a block, and how many blocks of
    how many threads one multiprocessor holds.
    """
    kernels = compiled.kernels.values()
    reports = [kernel.report for kernel in kernels]
    titles, cells = ("Kernel", "Layers"), [(k.name, _some(k.layers)) for k in kernels]
    if any(reports):
        titles += ("Registers", "Spills", "Shared", "Blocks × threads")
        cells = [(*cell, *_figures(report)) for cell, report in zip(cells, reports, strict=True)]
    rows = [(*titles, "File"), *((*cell, k.path.name) for cell, k in zip(cells, kernels, strict=True))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(titles))]
    lines = ["  ".join((*(f"{c:<{w}}" for c, w in zip(row, widths, strict=False)), row[-1])) for row in rows]
    folders = sorted({str(kernel.path.parent) for kernel in kernels})
    return "\n".join([*lines, *(f"in {folder}" for folder in folders)])


def _some(layers: tuple[str, ...], most: int = 3) -> str:
    """The layers, the first few of them where they are many."""
    return ", ".join(layers[:most]) + (f" and {len(layers) - most} more" if len(layers) > most else "")


def _figures(report: KernelReport | None) -> tuple[str, ...]:
    if report is None:
        return ("", "", "", "")
    figures = (report.registers, report.spills, report.shared, f"{report.blocks} × {report.threads}")
    return tuple(map(str, figures))
