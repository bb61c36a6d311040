"""A correlation, which is what convolution and its input gradient have in common, and how it is cut into tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod

from gncodegen.kernels.cpu.register_tiles import even_parts, filled, fits, step_cycles, vector_counts
from gncodegen.kernels.schedule import ENOUGH_TILES, ITEM_SIZE, Machine
from gncodegen.kernels.window_axis import Axes, Axis

BAND_BYTES = 128 << 10
"""Most of the input that a tile keeps at hand, in L2 and on its stack, beside what it writes."""

HEAVY_BAND_SHARE = 0.5
"""Share of L2 for it beside heavy weights."""

FILTER_SHARE = 0.5
"""Share of L2 up to which weights stay there from one band to the next; those of more bytes are heavy."""

SHORT_RUN = 9
"""Up to so many neighbouring products LLVM unrolls the loop over them, and needs registers besides the accumulators."""

SHORT_RUN_SHARE = 2
"""Most accumulators then: one part in so many of the registers (of 16, 7 or 8 are up to 1.4 times as fast as 14)."""

STREAM_BYTES = 8
"""Bytes per cycle that a core reads from the cache behind L2."""

LONGEST_SUM = 512
"""Products that an accumulator sums in one go; longer sums are sums of such sums, for accuracy."""

TAIL = 2.0
"""Tiles in whose time cores are idle at the end of a launch: half a tile for each of four cores."""

SMALL_WORK = 1 << 20
"""Floating-point operations that one tile may do without being split."""


@dataclass(frozen=True)
class Correlation:
    """What the kernel computes: windows of `source`, times packed weights.

    Args:
        batch: observations.
        axes: depth, rows and columns.
        channels: channels that one output reads.
        filters: outputs per group and position.
        groups: independent groups.
        dtype: element type.
    """

    batch: int
    axes: Axes
    channels: int
    filters: int
    groups: int
    dtype: str

    @property
    def depth(self) -> Axis:
        """The first axis."""
        return self.axes[0]

    @property
    def rows(self) -> Axis:
        """The second axis."""
        return self.axes[1]

    @property
    def columns(self) -> Axis:
        """The last axis."""
        return self.axes[2]

    @property
    def images(self) -> int:
        """Images that tiles are cut from: an observation has one per position of the depth axis."""
        return self.batch * self.depth.positions

    @property
    def pixel(self) -> int:
        """Values of one input pixel."""
        return self.channels * self.groups

    @property
    def phases(self) -> int:
        """Interleaved correlations."""
        return prod(axis.step for axis in self.axes)

    @property
    def contiguous(self) -> bool:
        """Whether a window's row of pixels is one run of values."""
        return self.groups == 1 and (self.columns.dilation == 1 or max(self.columns.taps) <= 1)

    @property
    def run(self) -> int:
        """Neighbouring values of the input that one output reads."""
        return self.channels * (max(self.columns.taps) if self.contiguous else 1)

    @property
    def products(self) -> int:
        """Products of one output, at most."""
        return prod(max(axis.taps) for axis in self.axes) * self.channels

    @property
    def weight_bytes(self) -> int:
        """Size of all filters."""
        taps = prod(sum(axis.taps) for axis in self.axes)
        return taps * self.channels * self.filters * self.groups * ITEM_SIZE[self.dtype]

    @property
    def flops(self) -> int:
        """Multiplications and additions, windows over the edge counted whole."""
        places = prod(axis.positions * sum(axis.taps) for axis in self.axes)
        return 2 * self.batch * places * self.channels * self.filters * self.groups


@dataclass(frozen=True)
class Blocking:
    """How a correlation is cut: grid tiles, and register tiles of rows × columns pixels by vectors."""

    tile_rows: int
    tile_columns: int
    vectors: int
    bands: int
    panels: int
    shares: int

    def group_blocks(self, work: Correlation, lanes: int) -> int:
        """Blocks of output channels per group."""
        return -(-work.filters // (self.vectors * lanes))

    def whole(self, work: Correlation) -> bool:
        """Whether no output is computed twice."""
        down = filled(work.rows.positions, self.bands, self.tile_rows)
        across = filled(work.columns.positions, self.panels, self.tile_columns)
        return work.phases == 1 and down and across


def blockings(work: Correlation, machine: Machine, parts: int = 0) -> Iterator[Blocking]:
    """Blockings with different register tiles, from the least estimated cycles up; no matter how many cores.

    Args:
        work: what is computed.
        machine: by which.
        parts: where it is not 0, the bands that there must be.
    """
    if work.images * work.rows.positions * work.columns.positions == 0:
        yield Blocking(1, 1, 1, 1, 1, 1)
        return
    known: set[tuple[int, int, int]] = set()
    panels = panels_of(work, machine)
    bands = [parts] if parts else _band_counts(work, machine, panels)
    for _, blocking in sorted(_candidates(work, machine, panels, bands), key=lambda entry: entry[0]):
        tile = (blocking.tile_rows, blocking.tile_columns, blocking.vectors)
        if tile not in known:
            known.add(tile)
            yield blocking


def _share_counts(work: Correlation, machine: Machine, blocking: Blocking) -> set[int]:
    """The shares worth trying that output channels are cut into: for enough tiles, and for shares that stay in L2."""
    blocks = work.groups * blocking.group_blocks(work, machine.lanes(work.dtype, work.filters))
    tiles = work.images * blocking.bands * blocking.panels
    busy = min(-(-ENOUGH_TILES // tiles), -(-work.flops // (tiles * SMALL_WORK)))
    staying = -(-work.weight_bytes // int(FILTER_SHARE * machine.l2))
    return {max(1, min(blocks, wanted)) for wanted in (busy, max(busy, staying))}


def _streaming(work: Correlation, machine: Machine, blocking: Blocking) -> float:
    """Estimated cycles of all observations that filters take from behind L2.

    Once for each core where a share of them stays in L2 while a core does its bands, else for each band.
    """
    tiles = work.images * blocking.bands * blocking.panels
    stays = work.weight_bytes <= blocking.shares * FILTER_SHARE * machine.l2
    return (min(tiles, ENOUGH_TILES) if stays else tiles) * work.weight_bytes / STREAM_BYTES


def few_filters(work: Correlation, machine: Machine) -> bool:
    """Whether outputs are too few for a vector, and input channels enough, so that vectors run along these."""
    lanes = machine.lanes(work.dtype)
    few, enough = work.groups == 1 and work.filters <= lanes // 2, lanes <= work.channels
    return few and enough and work.products <= LONGEST_SUM * lanes


def _heavy(work: Correlation, machine: Machine) -> bool:
    """Whether the filters do not stay in L2 from one band to the next, so that fewer bands pay."""
    return work.weight_bytes > FILTER_SHARE * machine.l2


def _room(work: Correlation, machine: Machine) -> int:
    """Bytes of input that a tile may keep at hand."""
    return int(HEAVY_BAND_SHARE * machine.l2) if _heavy(work, machine) else BAND_BYTES


def panels_of(work: Correlation, machine: Machine) -> int:
    """Cuts across the columns, so that one row of windows stays at hand."""
    line = work.depth.span * work.rows.span * work.pixel * ITEM_SIZE[work.dtype]
    widest = max(1, (_room(work, machine) // line - work.columns.span) // work.columns.stride + 1)
    return -(-work.columns.positions // widest)


def bands_of(work: Correlation, machine: Machine, panels: int) -> range:
    """The numbers of bands worth trying where bands alone are to keep the cores busy."""
    wanted = min(-(-ENOUGH_TILES // (work.images * panels)), work.flops // (work.images * panels * SMALL_WORK))
    return _from(work, min(max(_fewest_bands(work, machine, panels), wanted), work.rows.positions))


def _band_counts(work: Correlation, machine: Machine, panels: int) -> list[int]:
    """The numbers of bands worth trying: from the fewest that stay at hand, and from enough for all cores."""
    return sorted({*_from(work, _fewest_bands(work, machine, panels)), *bands_of(work, machine, panels)})


def _fewest_bands(work: Correlation, machine: Machine, panels: int) -> int:
    """The fewest bands that stay at hand."""
    width = work.columns.read(-(-work.columns.positions // panels))
    line = width * work.depth.span * work.pixel * ITEM_SIZE[work.dtype]
    highest = max(1, (_room(work, machine) // line - work.rows.span) // work.rows.stride + 1)
    return -(-work.rows.positions // highest)


def _from(work: Correlation, fewest: int) -> range:
    """The numbers of bands from so many up that are tried."""
    return range(fewest, min(fewest + 4, work.rows.positions) + 1)


def _candidates(
    work: Correlation, machine: Machine, panels: int, numbers: Iterable[int]
) -> Iterator[tuple[float, Blocking]]:
    """(estimated cycles, blocking) of those that fit the registers, in such numbers of bands."""
    lanes = machine.lanes(work.dtype, work.filters)
    column_parts = even_parts(work.columns.positions, panels)
    narrowest = min(work.columns.outputs // work.columns.step or 1, *column_parts)
    if work.columns.step > 1 and panels > 1:
        narrowest = max(1, narrowest - 1)
    most = machine.vector_registers // (SHORT_RUN_SHARE if work.run <= SHORT_RUN else 1)
    dots = few_filters(work, machine)
    for vectors in (work.filters,) if dots else vector_counts(work.filters, machine, work.dtype):
        blocks = work.groups * -(-work.filters // (vectors * lanes))
        for bands in numbers:
            row_parts = even_parts(work.rows.positions, bands)
            # Phases may have a row less than the first one, so their tiles are one row high.
            highest = min(row_parts) if work.phases == 1 else 1
            for tile_rows in range(1, highest + 1):
                if not fits(tile_rows, vectors, machine):
                    break
                for tile_columns in range(1, narrowest + 1):
                    pixels = tile_rows * tile_columns
                    # Dot products take one stride between pixels: a row of them or a column.
                    crossed = dots and tile_rows > 1 < tile_columns
                    if crossed or not fits(pixels, vectors, machine) or pixels * vectors > most:
                        break
                    alone = Blocking(tile_rows, tile_columns, vectors, bands, panels, 1)
                    for shares in _share_counts(work, machine, alone):
                        blocking = replace(alone, shares=shares)
                        cycles = _cycles(work, machine, blocking, row_parts, column_parts, blocks)
                        cycles = work.images * cycles + _streaming(work, machine, blocking)
                        yield cycles * (1 + TAIL / (work.images * bands * panels * shares)), blocking


def _cycles(
    work: Correlation,
    machine: Machine,
    blocking: Blocking,
    row_parts: tuple[int, ...],
    column_parts: tuple[int, ...],
    blocks: int,
) -> float:
    """Estimated cycles of one image."""
    pixels = blocking.tile_rows * blocking.tile_columns
    down = sum(-(-part // blocking.tile_rows) for part in row_parts)
    across = sum(-(-part // blocking.tile_columns) for part in column_parts)
    steps = prod(sum(axis.taps) for axis in work.axes) * work.channels
    if few_filters(work, machine):
        steps /= machine.lanes(work.dtype)
    store = work.phases * (10 + 2 * pixels * blocking.vectors)
    line = work.depth.span * work.columns.read(work.columns.positions) * work.pixel
    copied = blocking.shares * blocking.bands * work.rows.read(max(row_parts)) * line
    multiply = down * across * blocks * (steps * step_cycles(pixels, blocking.vectors, machine) + store)
    return multiply + (0 if inside(work) else copied / 6)


def inside(work: Correlation) -> bool:
    """Whether no window meets the padding, so that the input is read in place."""
    return all(axis.inside for axis in work.axes)


def is_pointwise(work: Correlation) -> bool:
    """Whether every output reads the pixel at its own place alone."""
    return all(axis.pointwise for axis in work.axes) and work.groups == 1


def flattened(work: Correlation) -> Correlation:
    """A pointwise correlation as one column of pixels, of all observations."""
    count = work.batch * prod(axis.outputs for axis in work.axes)
    tall, flat = (Axis(extent, extent, 1, 1, 1, (1,), (0,), 1, (0,)) for extent in (count, 1))
    return Correlation(min(count, 1), (flat, tall, flat), work.channels, work.filters, 1, work.dtype)
