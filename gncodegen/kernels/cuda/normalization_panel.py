"""How threads share a panel: the rows of one observation in a block of channels of whole groups.

A thread reads LANES channels side by side and meets the same channels in each of its steps, so that scale, offset and
sums of channels stay in registers. Where C is no multiple of a 16-byte access, a panel is the whole observation as one
run of elements, in wide rows of lcm(C, lanes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import gcd, lcm

from gncodegen.kernels.schedule import Constant, Machine

WARP = 32
QUARTER_REGISTERS = 16 << 10
"""32-bit registers of a quarter of a multiprocessor."""

MOST_THREADS = 1024
MOST_DATA = 64
"""Registers of one thread that hold elements, where a block has a panel to itself."""

MOST_SHARED_DATA = 48
"""The same where blocks share panels, since joining their sums takes registers too."""

MANY_GUARDS = 8
OTHER_REGISTERS = 32
HELD_REGISTERS = 16
"""Registers of one thread besides, and more for each tensor: addresses, scale, offset, statistics."""

TABLE_BYTES = 12 << 10
"""Shared memory of one table of sums."""

SHARED_BYTES = 48 << 10
"""Static shared memory of a block."""


def ceiling(a: int, b: int) -> int:
    """A / b, rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class Panel:
    """One panel of the observations into panels, shares of panels and threads.

    Args:
        observations, rows, channels, groups: of x under `reduced`.
        lanes: elements of one access.
        flat: whether wide rows run over the ends of rows.
        block_channels: channels of a panel.
        row_step: wide rows that the threads of a panel read at a time.
        parts: blocks that share one panel.
        members: panels that one block does, each with its own threads.
        held: registers per element, over all tensors a thread holds.
        resident_threads: threads that a multiprocessor holds at once.
    """

    observations: int
    rows: int
    channels: int
    groups: int
    lanes: int
    flat: bool
    block_channels: int
    row_step: int
    parts: int
    members: int
    held: int
    resident_threads: int

    @property
    def group_channels(self) -> int:
        """Channels of a group."""
        return self.channels // self.groups

    @property
    def blocks(self) -> int:
        """Channel blocks of an observation."""
        return self.channels // self.block_channels

    @property
    def panels(self) -> int:
        """Panels in all."""
        return self.observations * self.blocks

    @property
    def grid(self) -> int:
        """Blocks of threads."""
        return ceiling(self.panels * self.parts, self.members)

    @property
    def width(self) -> int:
        """Elements of a wide row of a panel."""
        return lcm(self.channels, self.lanes) if self.flat else self.block_channels

    @property
    def stride(self) -> int:
        """Elements from one wide row to the next."""
        return self.width if self.flat else self.channels

    @property
    def columns(self) -> int:
        """Threads side by side."""
        return self.width // self.lanes

    @property
    def active(self) -> int:
        """Threads of a panel with work."""
        return self.columns * self.row_step

    @property
    def panel_threads(self) -> int:
        """Threads of a panel."""
        return ceiling(self.active, WARP) * WARP

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.panel_threads * self.members

    @property
    def wide_rows(self) -> int:
        """Wide rows of a panel."""
        return ceiling(self.rows * self.channels, self.stride)

    @property
    def share_rows(self) -> int:
        """Wide rows of one block's share; the last may have fewer."""
        return ceiling(self.wide_rows, self.parts)

    @property
    def share(self) -> int:
        """Elements from one share to the next."""
        return self.share_rows * self.stride

    @property
    def last_share(self) -> int:
        """Elements from the last share's begin to the observation's end."""
        return self.rows * self.channels - (self.parts - 1) * self.share

    @property
    def steps(self) -> int:
        """Accesses of one thread."""
        return ceiling(self.share_rows, self.row_step)

    @property
    def guarded(self) -> int:
        """How many of them, the last ones, may lie outside."""
        if self.active < self.panel_threads:
            return self.steps
        return self.steps - self.last_share // (self.stride * self.row_step)

    @property
    def data(self) -> int:
        """Registers of one thread that hold elements."""
        return self.steps * self.lanes * self.held

    @property
    def mixed(self) -> bool:
        """Whether a thread's lanes may begin or end inside a group."""
        return self.flat or (self.group_channels % self.lanes > 0 and self.lanes % self.group_channels > 0)

    @property
    def values(self) -> int:
        """Sums of one thread: one where its lanes share a group, else one per group or, where they mix, per lane."""
        return self.lanes if self.mixed else max(1, self.lanes // self.group_channels)

    @property
    def group_columns(self) -> int:
        """Threads side by side that share a group."""
        return max(1, self.group_channels // self.lanes)

    @property
    def row_distances(self) -> tuple[int, ...]:
        """Shuffle distances between threads of a warp with equal channels."""
        return tuple(d for d in (16, 8, 4, 2, 1) if d % self.columns == 0)

    @property
    def column_distances(self) -> tuple[int, ...]:
        """Shuffle distances between threads of a warp in one row and one group."""
        if self.mixed:
            return ()
        return tuple(d for d in (16, 8, 4, 2, 1) if self.group_columns % (2 * d) == 0)

    @property
    def table_rows(self) -> int:
        """Sums per column that the warps leave."""
        return self.panel_threads // WARP if self.row_distances else self.row_step

    @property
    def joined(self) -> int:
        """Columns that the shuffles join."""
        return 1 << len(self.column_distances)

    @property
    def table_columns(self) -> int:
        """Sums of one row that the warps leave."""
        return self.columns // self.joined * self.values

    @property
    def table_group(self) -> int:
        """Sums of one row and one group, side by side; for mixed lanes those of one narrow row."""
        return self.group_channels if self.mixed else self.group_columns // self.joined

    @property
    def direct(self) -> bool:
        """Whether every thread adds up the table itself: few entries, in whole accesses."""
        together = max(self.table_group, self.values)
        whole = together & (together - 1) == 0 and self.table_columns % together == 0
        return not self.mixed and whole and self.table_rows * self.table_group <= 16

    @property
    def direct_channels(self) -> bool:
        """Whether every thread adds up its channels' sums itself, and shuffles reach the whole group."""
        return self.direct and self.table_group == 1 and self.table_rows * self.lanes <= 64

    @property
    def registers(self) -> int:
        """Registers of one thread, about: guards are branches, over which the assembler keeps more alive."""
        guards = self.guarded * self.lanes * self.held + (64 if self.guarded > MANY_GUARDS else 0)
        gathered, waits = 32 if self.mixed else 0, 8 if self.parts > 1 else 0
        other = OTHER_REGISTERS + HELD_REGISTERS * self.held
        return ceiling(self.data + other + guards + gathered + waits, 8) * 8

    @property
    def blocks_per_processor(self) -> int:
        """Blocks of a multiprocessor that registers and threads allow: each of its four quarters holds whole warps."""
        # Fewer than four where a thread needs about 96 or more, a third of them data: memory stays busy by the bytes
        # that threads have asked for at once, and x read once saves more than further blocks would bring.
        warps = QUARTER_REGISTERS // (WARP * self.registers) * 4
        return max(1, min(16, warps // (self.threads // WARP), self.resident_threads // self.threads))

    @property
    def wide(self) -> bool:
        """Whether the templates are those of wide groups."""
        return False

    def fits(self, item: int) -> bool:
        """Whether registers and shared memory suffice."""
        table = self.members * self.table_rows * max(self.table_columns, self.width) * max(4, item)
        # 32-bit indices count within a share.
        narrow = (self.steps + 1) * self.row_step * self.stride < 1 << 32
        warps = ceiling(self.threads, 4 * WARP)
        registers = warps * WARP * self.registers <= QUARTER_REGISTERS
        most = MOST_DATA if self.parts == 1 else MOST_SHARED_DATA
        whole = self.threads <= MOST_THREADS and registers and self.data <= most
        sums = max(self._forward_sums, self._gradient_sums) * max(4, item)
        return whole and table <= TABLE_BYTES and sums <= SHARED_BYTES and narrow and self.last_share > 0

    @property
    def _forward_sums(self) -> int:
        """Values in shared memory: three tables, their totals, and the partials of groups joined."""
        groups = self.groups // self.blocks
        return 3 * self.members * (self.table_rows * self.table_columns + groups) + 3 * groups + 3

    @property
    def _gradient_sums(self) -> int:
        """The same for gradients: two tables, sums of channels, totals, and the sums of groups joined."""
        groups = self.groups // self.blocks
        return 2 * self.members * (self.table_rows * self.width + self.block_channels + groups) + 2 * groups

    def shape(self) -> dict[str, Constant]:
        """The constants of the problem."""
        return {
            "rows": self.rows,
            "channels": self.channels,
            "groups": self.groups,
            "group_channels": self.group_channels,
            "group_count": float(self.rows * self.group_channels),
            "share_count": float(self.share // self.channels * self.group_channels),
            "last_count": float(self.last_share // self.channels * self.group_channels),
        }

    def tiles(self) -> dict[str, Constant]:
        """The constants of the blocking."""
        return {
            "threads": self.threads,
            "blocks_per_processor": self.blocks_per_processor,
            "lanes": self.lanes,
            "values": self.values,
            "columns": self.columns,
            "panel_threads": self.panel_threads,
            "active": self.active,
            "steps": self.steps,
            "guarded": self.guarded,
            "members": self.members,
            "parts": self.parts,
            "blocks": self.blocks,
            "block_channels": self.block_channels,
            "block_groups": self.block_channels // self.group_channels,
            "observation": self.rows * self.channels,
            "stride": self.stride,
            "step": self.stride * self.row_step,
            "share": self.share,
            "last_share": self.last_share,
            "width": self.width,
            "row_distances": self.row_distances,
            "column_distances": self.column_distances,
            "table_rows": self.table_rows,
            "table_columns": self.table_columns,
            "table_group": self.table_group,
            "flat": self.flat,
            "mixed": self.mixed,
            "joined": self.joined,
            "together": max(self.table_group, self.values),
            "table": self.table_rows * self.table_columns,
            "through_memory": self.mixed or self.table_rows * self.table_group > 1,
            "sum_rows": self.table_rows * (self.width // self.channels if self.flat else 1),
            "sum_pitch": self.channels if self.flat else self.table_columns,
            "direct": self.direct,
            "direct_channels": self.direct_channels,
        }


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
    observations: int, rows: int, channels: int, groups: int, item: int, held: int, machine: Machine, parts: int
) -> Iterator[Panel]:
    """Every way to panel the observations that fits, each panel over `parts` blocks."""
    for lanes, flat in _accesses(rows, channels, item, machine):
        unit = channels if flat else lcm(channels // groups, lanes)
        for times in range(1, channels // unit + 1):
            if channels % (unit * times) == 0:
                width = unit * times
                first = Panel(
                    observations, rows, channels, groups, lanes, flat, width, 1, parts, 1, held, machine.threads
                )
                yield from _threads(first, item)


def _threads(first: Panel, item: int) -> Iterator[Panel]:
    """The numbers of threads of a panel that fit, one for each number of steps, and of panels where they are small."""
    columns = first.columns
    unit = WARP // columns if WARP % columns == 0 else 1
    found: set[int] = set()
    for steps in range(1, MOST_DATA // (first.lanes * first.held) + 1):
        row_step = ceiling(ceiling(first.share_rows, steps), unit) * unit
        panel = replace(first, row_step=row_step)
        if row_step in found or not panel.fits(item):
            continue
        found.add(row_step)
        yield panel
        for members in (2, 4, 8) if first.parts == 1 else ():
            more = replace(panel, members=members)
            if panel.panels % members == 0 and more.threads <= 256 and more.fits(item):
                yield more
