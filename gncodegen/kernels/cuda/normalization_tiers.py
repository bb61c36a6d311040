"""Which way a normalization goes: panels in one block, spread over blocks that wait for each other, or in two launches.

The cut into panels and shares, which is the tree of sums, is the one that suits any number of observations best: no bit
depends on how many there are, or on how many a program was compiled for. Where statistics are over the batch, blocks
are as many as the rows need. How blocks wait for each other, which changes no bit, is what suits the number best that
kernels are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gncodegen.kernels.cuda.normalization_cuts import packed, panels
from gncodegen.kernels.cuda.normalization_panel import Panel, ceiling
from gncodegen.kernels.cuda.normalization_wide import wide_panel
from gncodegen.kernels.schedule import Machine

View = tuple[int, int, int, int]

LAUNCH = 1500
"""Nanoseconds from one launch of a graph to the next."""

BANDWIDTH = 25
"""Bytes per nanosecond and multiprocessor."""

FIRST_WITH_CLUSTERS = 90
CLUSTER = 8
"""Most blocks of a cluster that every GPU with clusters allows."""

SIZES, BATCHES = (1, 8, 32, 128), (8, 32, 64, 128)
"""Numbers of observations that the cut of one must suit, or of a batch with common statistics."""

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

    def of(self, observations: int, rows: int, machine: Machine) -> Tier:
        """The tier for another number of observations, or of their rows where these are counted.

        What waits for each other, or shares a cache, is no larger.
        """
        panel = self.panel.of(observations, rows)
        if panel == self.panel:
            return self
        if panel.counted:
            return next((tier for tier in _tiers(panel, machine) if tier.kind == self.kind), _best(panel, machine)[1])
        limited = self.kind in ("flags", "waves") and self.wave < panel.panels
        return Tier(self.kind, panel, self.wave if limited else panel.panels)

    @property
    def waves(self) -> Iterator[tuple[int, int]]:
        """(first panel, panels) of each launch."""
        for first in range(0, self.panel.panels, self.wave):
            yield first, min(self.wave, self.panel.panels - first)


def _score(panel: Panel, machine: Machine, grid: int) -> float:
    """How well launches of `grid` blocks use the machine, 1 = as fast as memory; a product of estimates."""
    item, width = panel.item, panel.block_channels * panel.item
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


def choose_tier(view: View, batch: int, item: int, held: int, machine: Machine, counted: bool = False) -> Tier:
    """The tier with the shortest estimate of time; where no panel fits a block, that of wide groups.

    Args:
        view: (observations, rows, channels, groups) of x under `reduced`.
        batch: observations of the network, of which `view` is.
        item: bytes of an element.
        held: registers per element, over all tensors a thread holds.
        machine: the GPU.
        counted: whether statistics are over the batch, whose rows kernels count.
    """
    observations, rows, channels, groups = view
    each = max(1, (rows if counted else observations) // max(1, batch))
    sizes = [(1, each * n) for n in BATCHES] if counted else [(each * n, rows) for n in SIZES]
    given = (each if counted else rows, channels, groups, item, held, machine)

    def cuts(numbers: Iterable[int]) -> Panel | None:
        found = [panel for parts in numbers for panel in panels(*given, parts) if any(_tiers(panel, machine))]
        return _suited(found, sizes, lambda panel: _best(panel, machine)[0][0])

    common = {parts for n, _ in sizes for parts in _numbers_of_parts(n, rows, channels, item, machine)}
    best = cuts([0] if counted else [1, *sorted(common)])
    if best is None and not counted:  # float64 gradients of wide rows hold more than others
        best = cuts(sorted({ceiling(rows, share) for share in range(1, 33)} - common))
    if best is None:
        panel = wide_panel(*sizes[2], channels, groups, item, held, machine).of(observations, rows)
        return Tier("resident" if panel.parts == 1 else "split", panel, panel.panels)
    return _best(best.of(observations, rows), machine)[1]


def _suited(found: list[Panel], sizes: list[tuple[int, int]], time: Callable[[Panel], float]) -> Panel | None:
    """The panel whose time is nearest to the shortest there is for each of the sizes: the least of the worst ratios."""
    rows = [[time(panel.of(*size)) for size in sizes] for panel in found]
    least = [min(column) for column in zip(*rows, strict=True)]
    worst = [max(one / best for one, best in zip(row, least, strict=True)) for row in rows]
    return found[min(range(len(found)), key=worst.__getitem__)] if found else None


def _best(panel: Panel, machine: Machine) -> tuple[tuple[float, int], Tier]:
    """The tier of a panel with the shortest estimate of time, and that estimate."""
    found: list[tuple[tuple[float, int], Tier]] = []
    for each in packed(panel):
        score = _score(each, machine, each.grid)
        for tier in _tiers(each, machine):
            if tier.wave < each.panels:
                score = _score(each, machine, tier.wave * each.parts)
            # Of equal times the one with more blocks, up to the four that hide each other's waits.
            found.append(((_time(tier, machine, score), -min(each.blocks_per_processor, 4)), tier))
    return min(found, key=lambda one: one[0])


def shares(rows: int, batch: int, channels: int, item: int, held: int, machine: Machine) -> Panel:
    """The best cut of rows, which kernels count, into shares that need nothing of each other.

    Args:
        rows: of channels; and
        batch: the observations that have them.
        channels: of a row.
        item: bytes of an element.
        held: registers per element, over all tensors a thread holds.
        machine: the GPU.
    """
    each = max(1, rows // max(1, batch))
    found = list(panels(each, channels, channels, item, held, machine, 0))

    def time(panel: Panel) -> float:
        return _time(Tier("resident", panel, panel.panels), machine, _score(panel, machine, panel.grid))

    panel = _suited(found, [(1, each * n) for n in BATCHES], time)
    assert panel is not None, "a share of few rows fits a block"
    return panel.of(1, rows)


def _time(tier: Tier, machine: Machine, score: float) -> float:
    """Nanoseconds, about: launches and waits, then bytes at the rate the score allows."""
    panel, waves = tier.panel, ceiling(tier.panel.panels, tier.wave)
    size = panel.observations * panel.rows * panel.channels * panel.item * (min(panel.held, 3) + 1)
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


def _tiers(panel: Panel, machine: Machine) -> Iterator[Tier]:
    """Every tier that may use the panel."""
    if panel.parts == 1:
        yield Tier("resident", panel, panel.panels)
    if not panel.shared:
        return
    if panel.parts <= CLUSTER and int(machine.target[3:]) >= FIRST_WITH_CLUSTERS:
        yield Tier("cluster", panel, panel.panels)
    resident = machine.cores * panel.blocks_per_processor
    if panel.parts <= resident:
        yield Tier("flags", panel, min(panel.panels, resident // panel.parts))
    touched = panel.rows * panel.block_channels * panel.item * min(panel.held, 2)
    if wave := machine.l2 // 2 // touched:
        yield Tier("waves", panel, min(panel.panels, wave))
    yield Tier("split", panel, panel.panels)
