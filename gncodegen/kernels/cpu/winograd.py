"""Plan of a 3×3 correlation of stride 1 by Winograd's algorithm F(m×m, 3×3): filters to points, then blocks of patches.

A patch of m × m outputs costs (m + 2)² products per channel and filter instead of 9·m². The algorithm depends on one
observation's shape only, and the sums of a patch on nothing but the patch, so a batch slice keeps its bits.

Lavin and Gray, Fast algorithms for convolutional neural networks, 2015.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gncodegen.kernels.cpu.correlation import FILTER_SHARE, Correlation
from gncodegen.kernels.cpu.register_tiles import LINE, block_vectors, even_parts, prefetching, row_counts, step_cycles
from gncodegen.kernels.epilogue import added_slots, residual_in_place
from gncodegen.kernels.schedule import (
    ENOUGH_TILES,
    ITEM_SIZE,
    Constant,
    Launch,
    Machine,
    Order,
    Plan,
    Problem,
    Schedule,
    Tensor,
)
from gncodegen.kernels.window_axis import extents, per_axis
from gncodegen.kernels.window_problem import WindowProblem
from gncodegen.process.forks import kept

FEWEST_CHANNELS = 8
"""Channels and filters from which fewer products outweigh the transforms."""

HEAVY = 1 << 15
"""Channels times filters from which the filters stay at hand and the patches stream, and not the other way round."""

LONGEST_SUM = 128
"""Channels summed in one go; longer sums are sums of such sums, for accuracy."""

BLOCK_SHARE = 0.8
"""Share of L2 for the points and products of a block of patches; filters stream through the rest."""

MOST_PATCHES = 48
"""Most patches of a block."""

FEWEST_PATCHES = 8
"""Fewest patches of a block, as long as there are as many: each block streams all filters."""

PIECE = 32
"""Channels of heavy filters that are multiplied at a time."""

PRODUCTS_SHARE = 0.6
"""Share of L2 for the products of a part of the patches with heavy filters."""

MOST_SCRATCH = 2 << 20
"""Bytes of L2 that blocks are cut for at most: points and products lie on the stack of a thread."""

STEP_PADDING = 16
"""Values between the planes of two points, so that equal offsets in them do not meet in one cache set."""


def patch_output(work: Correlation, machine: Machine) -> int:
    """Outputs per axis of a patch, 4 or 2, or 0 where the direct algorithm is to be used."""
    rows, columns = work.rows, work.columns
    usual = work.groups == 1 and work.dtype == "float32" and work.phases == 1 and work.depth.absent
    window = (rows.taps, columns.taps) == ((3,), (3,)) and {rows.stride, columns.stride} == {1}
    if not (usual and window and rows.dilation == columns.dilation == 1):
        return 0
    if min(work.channels, work.filters) < FEWEST_CHANNELS or not rows.outputs * columns.outputs:
        return 0
    sizes = (2,) if machine.precise else (2, 4)
    costs = {output: count_patches(work, output) * (output + 2) ** 2 for output in sizes}
    costs[0] = 9 * rows.outputs * columns.outputs
    return min(costs, key=lambda output: (costs[output], output))


def scratch(machine: Machine) -> int:
    """Bytes of L2 to cut blocks for."""
    return min(machine.l2, MOST_SCRATCH)


def count_patches(work: Correlation, output: int) -> int:
    """Patches of one observation."""
    return -(-work.rows.outputs // output) * -(-work.columns.outputs // output)


@dataclass(frozen=True)
class _Winograd:
    """A correlation, the size of its patches and the width of its blocks of filters.

    `given` is the correlation, `work` that of the problem's model, from which constants follow.
    """

    problem: Problem
    given: Correlation
    work: Correlation
    weights: WindowProblem
    transposed: bool
    epilogue: dict[str, Constant]
    output: int

    @property
    def lanes(self) -> int:
        return self.problem.machine.lanes(self.work.dtype)

    @kept
    def vectors(self) -> int:
        """Vectors of a block of filters; of heavy ones there are blocks enough for all cores."""
        enough = -(-ENOUGH_TILES // max(1, self.patches // MOST_PATCHES)) if self.heavy else 1
        return block_vectors(self.work.filters, self.problem.machine, self.work.dtype, enough)

    @property
    def heavy(self) -> bool:
        """Whether the filters stay at hand and the patches stream."""
        return self.work.channels * self.work.filters >= HEAVY

    @property
    def width(self) -> int:
        """Filters of a block."""
        return self.vectors * self.lanes

    @property
    def filter_blocks(self) -> int:
        return -(-self.work.filters // self.width)

    @property
    def patches(self) -> int:
        """Patches of all observations of the model."""
        return self.work.batch * count_patches(self.work, self.output)

    @property
    def observations(self) -> int:
        """Those that all patches belong to."""
        return (self.problem if self.work is self.given else self.problem.modelled).observations

    @property
    def points(self) -> int:
        return (self.output + 2) ** 2

    @property
    def patch_shape(self) -> dict[str, Constant]:
        """What finding a patch takes."""
        axes = self.work.axes
        return {
            **extents(axes),
            "channels": self.work.channels,
            **per_axis(axes, "low"),
        }

    @property
    def filter_shape(self) -> dict[str, Constant]:
        """What finding a filter's taps takes."""
        rows, columns, filters = self.work.rows, self.work.columns, self.weights.filters
        return {
            "first_h": rows.first[0],
            "first_w": columns.first[0],
            **per_axis(self.work.axes, "tap_step"),
            "tap_size": self.weights.channels * filters,
            "channels": self.work.channels,
            "filters": self.work.filters,
            "channel_stride": 1 if self.transposed else filters,
            "filter_stride": filters if self.transposed else 1,
        }

    @property
    def blocking(self) -> dict[str, Constant]:
        """The tiles of all launches."""
        return {"output": self.output, "lanes": self.lanes, "width": self.width}

    def schedule(
        self,
        template: str,
        shape: dict[str, Constant],
        tiles: dict[str, Constant],
        numbers: tuple[str, ...] = (),
        dtype: str = "",
    ) -> Schedule:
        """The schedule of one launch; its type is that of what is convolved where none is given."""
        problem, dtype = self.problem, dtype or self.problem.operands[0].dtype
        return problem.schedule(template, dtype, shape=shape, tiles=self.blocking | tiles, numbers=numbers)

    def main(self, template: str, tiles: dict[str, Constant], operands: tuple[str, ...], order: Order) -> Launch:
        """The launch that writes the result: units of the patches, for several blocks of filters."""
        shape = self.patch_shape | {"filters": self.work.filters} | self.epilogue
        if template == "winograd_heavy":
            shape |= self.filter_shape
        slots = (*operands, *added_slots(self.epilogue), "result0")
        y = self.problem.results[0]
        tensors = (*self.problem.operands[:2], *((y,) if "residual" in self.epilogue else ()), y)
        moved = sum(tensor.bytes for tensor in tensors)
        grid, batch = order.needed(self.problem.observations) * order.repeats if y.count else 0, self.given.batch
        tiles = {"vectors": self.vectors, "shared_batch": self.work.batch} | tiles
        schedule = self.schedule(template, shape, tiles, ("batch",))
        return Launch(schedule, slots, grid, (len(slots) - 1,), moved, self.given.flops, order=order, numbers=(batch,))


def correlate_winograd(
    problem: Problem,
    given: Correlation,
    work: Correlation,
    weights: WindowProblem,
    transposed: bool,
    epilogue: dict[str, Constant],
    output: int,
) -> Iterator[Plan]:
    """Plans of a correlation of operand 0 with operand 1, in patches of output × output, best first."""
    this = _Winograd(problem, given, work, weights, transposed, epilogue, output)
    if this.heavy and given.batch > work.batch:  # the points of more patches are further apart
        this = replace(this, work=given)
    for cuts, tile_rows in _varied(this, *(_parts(this) if this.heavy else _blocks(this))):
        yield (_heavy if this.heavy else _light)(this, cuts, tile_rows)


def _varied(this: _Winograd, cuts: int, tile_rows: int) -> Iterator[tuple[int, int]]:
    """What the cost model likes best, then other register tiles, then smaller cuts of the patches with the best ones.

    Larger ones might not fit the stack of a thread.
    """
    yield cuts, tile_rows
    parts = even_parts(this.patches, cuts)
    if others := [rows for rows in _heights(this) if rows != tile_rows and rows <= min(parts)]:
        yield cuts, _fastest(this, others, max(parts))
    cores, last = this.problem.machine.cores, cuts
    for factor in (1.0, 1.5, 2.0):
        count = min(-(-int(cuts * factor) // cores) * cores, this.patches)  # as many for each core
        if count > last:
            last, parts = count, even_parts(this.patches, count)
            yield count, _fastest(this, [rows for rows in _heights(this) if rows <= min(parts)], max(parts))


def _heights(this: _Winograd) -> list[int]:
    """The numbers of rows of register tiles that there are."""
    return row_counts(this.vectors, this.problem.machine)


def _fastest(this: _Winograd, heights: Sequence[int], patches: int) -> int:
    """The rows of register tiles, of those given, that take so many patches the least estimated cycles."""
    return min(heights, key=lambda rows: -(-patches // rows) * step_cycles(rows, this.vectors, this.problem.machine))


def _few(tile_rows: int) -> int:
    """Rows of the register tile for what is left of a block, such as one of FEWEST_PATCHES; 0 = there is none."""
    if tile_rows > FEWEST_PATCHES:
        return FEWEST_PATCHES
    return max(2, FEWEST_PATCHES % tile_rows or tile_rows // 2) if tile_rows > 2 else 0


def _light(this: _Winograd, blocks: int, tile_rows: int) -> Plan:
    """Filters to points; then blocks of patches, past which the filters stream."""
    channels, machine = this.work.channels, this.problem.machine
    most = max(even_parts(this.patches, blocks), default=1)
    piece = 0 if channels <= LONGEST_SUM else -(-channels // -(-channels // LONGEST_SUM))
    filter_step = channels * this.width + STEP_PADDING
    buffer = Tensor((this.filter_blocks * this.points * filter_step,), this.work.dtype)
    tiles: dict[str, Constant] = {
        "tile_rows": tile_rows,
        "few_rows": _few(tile_rows),
        "blocks": blocks,
        "cuts": this.patches // FEWEST_PATCHES,
        "enough_tiles": ENOUGH_TILES,
        "piece": piece,
        **prefetching(this.width, ITEM_SIZE[this.work.dtype], buffer.bytes <= FILTER_SHARE * machine.l2),
        "filter_step": filter_step,
        "point_step": most * channels + STEP_PADDING,
        "product_step": most * this.width + STEP_PADDING,
    }
    # Where there are fewer blocks than cores, several tiles transform the same patches for different filters.
    tiles["shares"] = shares = max(1, min(this.filter_blocks, machine.cores // max(blocks, 1)))
    channel_shares = max(1, min(channels // this.lanes, -(-ENOUGH_TILES // this.filter_blocks)))
    tiling: dict[str, Constant] = {"shares": channel_shares, "filter_step": filter_step}
    schedule = this.schedule("winograd_filters", this.filter_shape, tiling, dtype=this.work.dtype)
    moved = this.problem.operands[1].bytes + buffer.bytes
    filters = Launch(schedule, ("operand1", "workspace0"), this.filter_blocks * channel_shares, (1,), moved)
    order = Order(this.observations, blocks, 1, shares, this.patches // FEWEST_PATCHES)
    main = this.main("winograd", tiles, ("operand0", "workspace0"), order)
    return Plan((filters, main), (buffer,), residual_in_place(this.epilogue))


def _blocks(this: _Winograd) -> tuple[int, int]:
    """(blocks of patches, rows of the register tile): the least estimated cycles of blocks that stay in L2."""
    machine, patches = this.problem.machine, this.patches
    patch_bytes = this.points * (this.work.channels + this.width) * ITEM_SIZE[this.work.dtype]
    most = max(4, min(MOST_PATCHES, int(BLOCK_SHARE * scratch(machine)) // patch_bytes))
    fewest = max(-(-patches // most), min(ENOUGH_TILES, patches // FEWEST_PATCHES), 1)

    def cost(choice: tuple[int, int]) -> float:
        blocks, rows = choice
        parts = even_parts(patches, blocks)
        cycles = sum(-(-part // rows) for part in parts) * step_cycles(rows, this.vectors, this.problem.machine)
        return cycles * (1 + 0.01 * (blocks - fewest) / fewest)

    counts = range(fewest, min(fewest + max(4, fewest // 4), max(patches, 1)) + 1)
    choices = [(blocks, rows) for blocks in counts for rows in _heights(this) if rows <= max(patches // blocks, 1)]
    return min(choices, key=cost)


def _parts(this: _Winograd) -> tuple[int, int]:
    """(parts of the patches, rows of the register tile) for heavy filters: few parts whose products stay in L2."""
    patches = this.patches
    product_bytes = this.points * this.width * ITEM_SIZE[this.work.dtype]
    parts = max(1, -(-patches // max(8, int(PRODUCTS_SHARE * scratch(this.problem.machine)) // product_bytes)))
    parts = max(parts, min(-(-ENOUGH_TILES // this.filter_blocks), patches // MOST_PATCHES))
    return parts, _fastest(this, _heights(this), max(even_parts(patches, parts), default=1))


def _heavy(this: _Winograd, parts: int, tile_rows: int) -> Plan:
    """Patches to points; then blocks of filters, past which the patches stream."""
    patches, channels = this.patches, this.work.channels
    most = max(even_parts(patches, parts), default=1)
    piece = min(PIECE, channels)
    step = patches * piece + STEP_PADDING
    tiles: dict[str, Constant] = {
        "tile_rows": tile_rows,
        "few_rows": _few(tile_rows),
        "parts": parts,
        "piece": piece,
        "line": LINE // ITEM_SIZE[this.work.dtype],
        "filter_step": piece * this.width + STEP_PADDING,
        "point_step": step,
        "product_step": -(-most // tile_rows) * tile_rows * this.width + STEP_PADDING,
    }
    # The last register tile may read past the last patch.
    pieces = -(-channels // piece)
    buffer = Tensor((pieces * this.points * step + tile_rows * piece,), this.work.dtype)
    blocks = max(1, min(patches, 4 * ENOUGH_TILES))
    reading: dict[str, Constant] = {
        "piece": piece, "point_step": step, "blocks": blocks, "shared_batch": this.work.batch,
    }  # fmt: skip
    schedule = this.schedule("winograd_points", this.patch_shape, reading, ("batch",))
    moved = this.problem.operands[0].bytes + buffer.bytes
    order = Order(this.observations, blocks)
    grid = order.needed(this.problem.observations) if patches else 0
    arguments, numbers = ("operand0", "workspace0"), (this.given.batch,)
    points = Launch(schedule, arguments, grid, (1,), moved, order=order, numbers=numbers)
    order = Order(this.observations, parts, 1, this.filter_blocks)
    main = this.main("winograd_heavy", tiles, ("workspace0", "operand1"), order)
    return Plan((points, main), (buffer,), residual_in_place(this.epilogue))
