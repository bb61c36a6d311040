"""Groups too wide for the registers of one block: a block takes some rows of one group and strides over its channels.

It reads its elements again for each of its passes; they mostly lie in L2 then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

from gncodegen.kernels.cuda.normalization_panel import WARP, Panel, ceiling
from gncodegen.kernels.schedule import Constant, Machine
from gncodegen.process.forks import kept

MOST_WIDE_THREADS = 512
MOST_ACCESSES = 32
"""Accesses of one thread to one tensor: what it adds up one after the other, before the tree over threads."""

FEWEST_ACCESSES = 4
"""Below this it does not pay to share a group among blocks, since that takes two more launches."""


@dataclass(frozen=True)
class WidePanel(Panel):
    """One group of one observation, whose PARTS shares of rows are done without registers or tables to hold them."""

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return min(MOST_WIDE_THREADS, ceiling(self.columns, WARP) * WARP)

    @kept
    def blocks_per_processor(self) -> int:
        """Blocks of a multiprocessor: 64 registers for each of 1024 threads, or 128 for a gradient in float64."""
        return min(16, (1024 if self.held < 4 else 512) // self.threads)

    @property
    def wide(self) -> bool:
        """Whether the templates are those of wide groups."""
        return True

    def tiles(self) -> dict[str, Constant]:
        """The constants of the blocking."""
        return {
            "threads": self.threads,
            "blocks_per_processor": self.blocks_per_processor,
            "lanes": self.lanes,
            "step": self.threads * self.lanes,
            "warps": self.threads // WARP,
            "blocks": self.blocks,
            "block_channels": self.block_channels,
            "block_groups": 1,
            **self.cut,
        }


def wide_panel(
    observations: int, rows: int, channels: int, groups: int, item: int, held: int, machine: Machine
) -> WidePanel:
    """The panel of wide groups; it exists for every shape.

    Args:
        observations: of x under `reduced`; and
        rows: of each,
        channels: of a row,
        groups: of the channels.
        item: bytes of an element.
        held: registers per element, over all tensors a thread meets.
        machine: the GPU.
    """
    group_channels = channels // groups
    lanes = gcd(group_channels, machine.vector_bytes // max(4, item))  # eight halves would be eight float32 registers
    panel = WidePanel(
        observations, rows, channels, groups, lanes, False, group_channels, 1, 1, 1, item, held, machine.threads
    )
    accesses = ceiling(panel.columns, panel.threads)
    most = max(1, MOST_ACCESSES // accesses)
    if rows * accesses > FEWEST_ACCESSES and panel.panels < machine.cores:
        most = min(most, max(1, rows * panel.panels // machine.cores))
    share = ceiling(rows, ceiling(rows, most))
    return replace(panel, parts=ceiling(rows, share))
