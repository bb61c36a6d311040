"""Which way a normalization goes: panels in one block, spread over blocks that wait for each other, or in two launches.

The choice depends on how many panels there are, so another batch size may get another tree of sums; within one schedule
the bits of an observation do not depend on the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gncodegen.kernels.cuda.normalization_panel import Panel, ceiling, panels
from gncodegen.kernels.cuda.normalization_wide import wide_panel
from gncodegen.kernels.schedule import Machine

LAUNCH = 1500
"""Nanoseconds from one launch of a graph to the next."""

BANDWIDTH = 25
"""Bytes per nanosecond and multiprocessor."""

FIRST_WITH_CLUSTERS = 90
CLUSTER = 8
"""Most blocks of a cluster that every GPU with clusters allows."""

BYTES_IN_FLIGHT = 32 << 10
"""What a multiprocessor must have asked for to keep memory busy: bandwidth times latency."""


@dataclass(frozen=True)
class Tier:
    """A panel, and how its blocks work together.

    Args:
        kind: "resident", "cluster", "flags", "waves" or "split".
        panel: panels, shares and threads.
        wave: panels of one launch.
    """

    kind: str
    panel: Panel
    wave: int

    def of(self, observations: int) -> Tier:
        """The tier for another number of observations; what waits for each other, or shares a cache, is no larger."""
        if observations == self.panel.observations:
            return self
        panel = replace(self.panel, observations=observations)
        limited = self.kind in ("flags", "waves") and self.wave < panel.panels
        return Tier(self.kind, panel, self.wave if limited else panel.panels)

    @property
    def waves(self) -> Iterator[tuple[int, int]]:
        """(first panel, panels) of each launch."""
        for first in range(0, self.panel.panels, self.wave):
            yield first, min(self.wave, self.panel.panels - first)


def _score(panel: Panel, item: int, machine: Machine, grid: int) -> float:
    """How well launches of `grid` blocks use the machine, 1 = as fast as memory; a product of estimates."""
    width = panel.block_channels * item
    sectors = 1.0 if panel.flat or width >= 128 else 0.97 if width >= 64 else 0.9 if width >= 32 else 0.9 * width / 32
    access = 1.0 if panel.lanes * item == machine.vector_bytes else 0.9 if panel.lanes * item >= 8 else 0.8
    load = grid / machine.cores
    fill = load / ceiling(grid, machine.cores) if load < 16 else 1.0
    together = min(panel.blocks_per_processor, ceiling(grid, machine.cores))
    # While one block waits at its barriers, the others keep memory busy.
    overlap = (0.8, 0.9, 0.96, 1.0)[min(together, 4) - 1]
    flight = min(1.0, together * panel.threads * panel.steps * panel.lanes * item / BYTES_IN_FLIGHT)
    useful = (
        panel.rows * panel.channels / (panel.parts * panel.blocks * panel.panel_threads * panel.steps * panel.lanes)
    )
    sums = 1.0 if panel.direct else 0.97
    return sectors * access * fill * overlap * flight**0.5 * useful**0.25 * sums


def choose_tier(
    observations: int, rows: int, channels: int, groups: int, item: int, held: int, machine: Machine
) -> Tier:
    """The tier with the shortest estimate of time; where no panel fits a block, that of wide groups.

    Args:
        observations: of x under `reduced`; and
        rows: of each,
        channels: of a row,
        groups: of the channels.
        item: bytes of an element.
        held: registers per element, over all tensors a thread holds.
        machine: the GPU.
    """
    common = [1, *_numbers_of_parts(observations, rows, channels, item, machine)]
    best = _best(common, observations, rows, channels, groups, item, held, machine)
    if best is None:  # float64 gradients of wide rows hold more than others
        finer = sorted({ceiling(rows, share) for share in range(1, 33)} - set(common))
        best = _best(finer, observations, rows, channels, groups, item, held, machine)
    if best is None:
        panel = wide_panel(observations, rows, channels, groups, item, held, machine)
        return Tier("resident" if panel.parts == 1 else "split", panel, panel.panels)
    return best


def _best(
    numbers: list[int],
    observations: int,
    rows: int,
    channels: int,
    groups: int,
    item: int,
    held: int,
    machine: Machine,
) -> Tier | None:
    """The tier with the shortest estimate of time among those with so many blocks per panel, if there is one."""
    best: tuple[tuple[float, int], Tier] | None = None
    for parts in numbers:
        for panel in panels(observations, rows, channels, groups, item, held, machine, parts):
            score = _score(panel, item, machine, panel.grid)
            for tier in _tiers(panel, item, machine):
                if tier.wave < panel.panels:
                    score = _score(panel, item, machine, tier.wave * parts)
                # Of equal times the one with more blocks, up to the four that hide each other's waits.
                order = _time(tier, item, machine, score), -min(panel.blocks_per_processor, 4)
                if best is None or order < best[0]:
                    best = order, tier
    return best[1] if best else None


def shares(rows: int, channels: int, item: int, held: int, machine: Machine) -> Panel:
    """The best cut of rows into shares that need nothing of each other.

    Args:
        rows: of channels.
        channels: of a row.
        item: bytes of an element.
        held: registers per element, over all tensors a thread holds.
        machine: the GPU.
    """
    found = (
        panel
        for parts in (1, *_numbers_of_parts(1, rows, channels, item, machine))
        for panel in panels(1, rows, channels, channels, item, held, machine, parts)
        if panel.members == 1
    )
    return max(found, key=lambda panel: _score(panel, item, machine, panel.grid))


def _time(tier: Tier, item: int, machine: Machine, score: float) -> float:
    """Nanoseconds, about: launches and waits, then bytes at the rate the score allows."""
    panel, waves = tier.panel, ceiling(tier.panel.panels, tier.wave)
    size = panel.observations * panel.rows * panel.channels * item * (min(panel.held, 3) + 1)
    traffic = {"waves": 1.25, "split": 1.5}.get(tier.kind, 1.0)
    if tier.kind in ("cluster", "flags"):  # every block reads the partials of its panel's parts from L2
        size += panel.grid * panel.parts * (panel.groups // panel.blocks) * 12 // 2
    launches = {"resident": 1, "cluster": 1, "flags": 1 + waves}.get(tier.kind, 3 * waves)
    wait = {"cluster": 1500, "flags": 1000 * waves}.get(tier.kind, 0)
    return LAUNCH * launches + wait + traffic * size / (BANDWIDTH * machine.cores * score)


def _numbers_of_parts(observations: int, rows: int, channels: int, item: int, machine: Machine) -> list[int]:
    """Blocks per panel that are worth a try: few for clusters, what fills the machine, what makes shares small."""
    small = ceiling(rows * channels * item, 16 << 10)
    fill = {ceiling(machine.cores * times, max(1, panels)) for times in (1, 2, 4) for panels in (1, 2, 4, 8, 16)}
    sizes = {ceiling(small, 1 << k) for k in range(small.bit_length())}
    found = set(range(2, CLUSTER + 1)) | fill | sizes
    found |= {ceiling(rows, ceiling(rows, parts)) for parts in found if parts <= rows}  # no share is left empty
    found -= {1}
    return sorted(parts for parts in found if parts <= max(small, CLUSTER) and parts <= rows)


def _tiers(panel: Panel, item: int, machine: Machine) -> Iterator[Tier]:
    """Every tier that may use the panel."""
    if panel.parts == 1:
        yield Tier("resident", panel, panel.panels)
        return
    if panel.parts <= CLUSTER and int(machine.target[3:]) >= FIRST_WITH_CLUSTERS:
        yield Tier("cluster", panel, panel.panels)
    resident = machine.cores * panel.blocks_per_processor
    if panel.parts <= resident:
        yield Tier("flags", panel, min(panel.panels, resident // panel.parts))
    touched = panel.rows * panel.block_channels * item * min(panel.held, 2)
    if wave := machine.l2 // 2 // touched:
        yield Tier("waves", panel, min(panel.panels, wave))
    yield Tier("split", panel, panel.panels)
