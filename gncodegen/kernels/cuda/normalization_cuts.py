"""Every cut of observations into panels that fits a block: what a plan of a normalization chooses from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import gcd, lcm

from gncodegen.kernels.cuda.normalization_panel import MOST_DATA, WARP, Panel, ceiling
from gncodegen.kernels.schedule import Machine

COUNTED_THREADS, COUNTED_STEPS = (32, 64, 96, 128, 192, 256, 384, 512), (1, 2, 3, 4, 6, 8, 10, 12)
"""Threads of a block, and accesses of a thread, where rows are counted at run time."""


def _accesses(rows: int, channels: int, item: int, machine: Machine) -> Iterator[tuple[int, bool]]:
    """(lanes, flat), the widest access first; observations begin at multiples of rows · channels."""
    widest = machine.vector_bytes // item
    lanes = gcd(channels, widest)
    if lanes < widest:
        flat = gcd(rows * channels, widest)
        if flat > lanes:
            yield flat, True
    yield lanes, False


def panels(
    rows: int, channels: int, groups: int, item: int, held: int, machine: Machine, parts: int
) -> Iterator[Panel]:
    """Every way to panel an observation that fits, each panel over `parts` blocks; 0 = as many as its rows need."""
    for lanes, flat in _accesses(rows, channels, item, machine):
        unit = channels if flat else lcm(channels // groups, lanes)
        for times in range(1, channels // unit + 1):
            if channels % (unit * times) == 0:
                width = unit * times
                first = Panel(
                    1, rows, channels, groups, lanes, flat, width, 1, parts or 1, 1, item, held, machine.threads
                )
                yield from _threads(first) if parts else _counted(first)


def _threads(first: Panel) -> Iterator[Panel]:
    """The numbers of threads of a panel that fit, one for each number of steps."""
    unit = _row_unit(first)
    found: set[int] = set()
    for steps in range(1, MOST_DATA // (first.lanes * first.held) + 1):
        row_step = ceiling(ceiling(first.share_rows, steps), unit) * unit
        panel = replace(first, row_step=row_step)
        if row_step not in found and panel.fits:
            found.add(row_step)
            yield panel


def _counted(first: Panel) -> Iterator[Panel]:
    """The numbers of threads and of steps that fit, where rows are counted at run time."""
    unit = _row_unit(first)
    row_steps = {max(1, threads // first.columns // unit) * unit for threads in COUNTED_THREADS}
    for row_step in sorted(row_steps):
        for steps in COUNTED_STEPS:
            panel = replace(first, row_step=row_step, counted=steps).of(1, first.rows)
            if panel.fits:
                yield panel


def _row_unit(panel: Panel) -> int:
    """Rows that the threads of a warp have."""
    return WARP // panel.columns if WARP % panel.columns == 0 else 1


def packed(panel: Panel) -> Iterator[Panel]:
    """The panel, and where panels are small, several of them to a block."""
    yield panel
    for members in () if panel.shared else (2, 4, 8):
        more = replace(panel, members=members)
        if panel.panels % members == 0 and more.threads <= 256 and more.fits:
            yield more
