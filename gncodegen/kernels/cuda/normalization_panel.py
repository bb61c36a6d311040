"""How threads share a panel: the rows of one observation in a block of channels of whole groups.

A thread reads LANES channels side by side and meets the same channels in each of its steps, so that scale, offset and
sums of channels stay in registers. Where C is no multiple of a 16-byte access, a panel is the whole observation as one
run of elements, in wide rows of lcm(C, lanes).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lcm

from gncodegen.kernels.schedule import Constant
from gncodegen.process.forks import kept

WARP = 32
QUARTER_REGISTERS = 16 << 10
"""32-bit registers of a quarter of a multiprocessor."""

MOST_THREADS = 1024
MOST_DATA = 64
"""Registers of one thread that hold elements, where a block has a panel to itself."""

MOST_SHARED_DATA = 48
"""The same where blocks share panels, since joining their sums takes registers too."""

MANY_GUARDS = 8
COUNTED_GUARDS = 16
COUNTED_ENTRIES = 24
MANY_ENTRIES = 32
"""Registers of a thread where kernels read how many rows there are: guards; many entries of tables, or mixed lanes."""

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
        item: bytes of an element.
        held: registers per element, over all tensors a thread holds.
        resident_threads: threads that a multiprocessor holds at once.
        counted: accesses of one thread, where kernels read how many rows there are: blocks are as many as that takes.
            0 = rows are constant, and threads have as many accesses as PARTS blocks take.
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
    item: int
    held: int
    resident_threads: int
    counted: int = 0

    def of(self, observations: int, rows: int) -> Panel:
        """The panel for other numbers; rows may differ only where they are counted."""
        panel = replace(self, observations=observations, rows=rows)
        return replace(panel, parts=max(1, ceiling(panel.wide_rows, self.share_rows))) if self.counted else panel

    @property
    def shared(self) -> bool:
        """Whether blocks may share a panel."""
        return self.parts > 1 or self.counted > 0

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

    @kept
    def width(self) -> int:
        """Elements of a wide row of a panel."""
        return lcm(self.channels, self.lanes) if self.flat else self.block_channels

    @property
    def stride(self) -> int:
        """Elements from one wide row to the next."""
        return self.width if self.flat else self.channels

    @kept
    def columns(self) -> int:
        """Threads side by side."""
        return self.width // self.lanes

    @property
    def active(self) -> int:
        """Threads of a panel with work."""
        return self.columns * self.row_step

    @kept
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

    @kept
    def share_rows(self) -> int:
        """Wide rows of one block's share; the last may have fewer."""
        return self.counted * self.row_step or ceiling(self.wide_rows, self.parts)

    @property
    def share(self) -> int:
        """Elements from one share to the next."""
        return self.share_rows * self.stride

    @property
    def last_share(self) -> int:
        """Elements from the last share's begin to the observation's end."""
        return self.rows * self.channels - (self.parts - 1) * self.share

    @kept
    def steps(self) -> int:
        """Accesses of one thread."""
        return ceiling(self.share_rows, self.row_step)

    @property
    def guarded(self) -> int:
        """How many of them, the last ones, may lie outside."""
        if self.counted or self.active < self.panel_threads:
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
    def entries(self) -> int:
        """Entries of a table that a thread reads at once, if it adds them up itself."""
        return self.table_rows * max(self.table_group, self.values)

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

    @kept
    def registers(self) -> int:
        """Registers of one thread, about: guards are branches, over which the assembler keeps more alive."""
        guards = self.guarded * self.lanes * self.held + (64 if self.guarded > MANY_GUARDS else 0)
        if self.counted and self.item < 8:  # all alike: the assembler keeps no more alive over them
            many = self.mixed or (self.direct and self.entries > MANY_ENTRIES)
            guards = COUNTED_GUARDS + (COUNTED_ENTRIES if many else 0)
        gathered, waits = 32 if self.mixed else 0, 8 if self.shared else 0
        other = OTHER_REGISTERS + HELD_REGISTERS * self.held
        return ceiling(self.data + other + guards + gathered + waits, 8) * 8

    @kept
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

    @property
    def fits(self) -> bool:
        """Whether registers and shared memory suffice."""
        table = self.members * self.table_rows * max(self.table_columns, self.width) * max(4, self.item)
        # 32-bit indices count within a share.
        narrow = (self.steps + 1) * self.row_step * self.stride < 1 << 32
        warps = ceiling(self.threads, 4 * WARP)
        registers = warps * WARP * self.registers <= QUARTER_REGISTERS
        most = MOST_SHARED_DATA if self.shared else MOST_DATA
        whole = self.threads <= MOST_THREADS and registers and self.data <= most
        sums = max(self._forward_sums, self._gradient_sums) * max(4, self.item)
        return whole and table <= TABLE_BYTES and sums <= SHARED_BYTES and narrow and self.last_share > 0

    @property
    def _forward_sums(self) -> int:
        """Values in shared memory: three tables, their totals, and the partials of groups joined."""
        groups = self.groups // self.blocks
        return 3 * self.members * (self.table_rows * self.table_columns + groups) + 3 * groups + 6

    @property
    def _gradient_sums(self) -> int:
        """The same for gradients: two tables, sums of channels, totals, and the sums of groups joined."""
        groups = self.groups // self.blocks
        return 2 * self.members * (self.table_rows * self.width + self.block_channels + groups) + 2 * groups

    def shape(self) -> dict[str, Constant]:
        """The constants of the problem."""
        shape: dict[str, Constant] = {
            "channels": self.channels,
            "groups": self.groups,
            "group_channels": self.group_channels,
            "share_count": float(self.share // self.channels * self.group_channels),
        }
        if self.counted:
            return shape
        return {
            "rows": self.rows,
            **shape,
            "group_count": float(self.rows * self.group_channels),
            "last_count": float(self.last_share // self.channels * self.group_channels),
        }

    @property
    def cut(self) -> dict[str, Constant]:
        """The constants of the cut into shares."""
        cut: dict[str, Constant] = {"share": self.share, "counted": self.counted > 0}
        if self.counted:
            return cut | {"observation": 0}
        constant = {"parts": self.parts, "spread": self.parts > 1, "last_share": self.last_share}
        return cut | constant | {"observation": self.rows * self.channels}

    @property
    def numbers(self) -> dict[str, int]:
        """What kernels read at run time."""
        if self.counted:
            return {"parts": self.parts, "last_share": self.last_share, "rows": self.rows}
        return {"panels": self.panels} if self.members > 1 else {}

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
            "blocks": self.blocks,
            "block_channels": self.block_channels,
            "block_groups": self.block_channels // self.group_channels,
            "stride": self.stride,
            "step": self.stride * self.row_step,
            **self.cut,
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
