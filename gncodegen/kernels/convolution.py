"""Plans of convolution and its input gradient: one kernel over register tiles of pixels × channels, weights packed.

The input gradient is the same kernel on dy with flipped, transposed weights; a stride becomes phases (window_axis).
Every output sums its products in an order that depends on the filter's shape only, so a batch slice keeps its bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

from gncodegen.errors import CompileError
from gncodegen.kernels import convolution_weights
from gncodegen.kernels.register_tiles import even_parts, fits, step_cycles, vector_counts
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Machine, Plan, Problem, Schedule, Tensor
from gncodegen.kernels.window_axis import Axis
from gncodegen.kernels.window_problem import WindowProblem, describe

ACTIVATIONS = ("", "relu", "leaky-relu", "clipped-relu")
"""Activations that the convolution's epilogue can apply."""

BAND_BYTES = 128 << 10
"""Most of the input that a tile keeps at hand: it stays in L2, and its copy fits the stack."""

LONGEST_SUM = 512
"""Products summed in one go; longer sums are sums of such sums, for accuracy."""

SHORT_RUN = 9
"""Up to so many neighbouring products LLVM unrolls the loop over them, and needs registers besides the accumulators."""

SHORT_RUN_ACCUMULATORS = 8
"""Most accumulators then (measured: 7 or 8 are up to 1.4 times as fast as 14)."""

ENOUGH_TILES = 16
"""Tiles that keep the cores of a large machine busy; below it a launch is split further."""

SMALL_WORK = 1 << 20
"""Floating-point operations that one tile may do without being split."""


@dataclass(frozen=True)
class Correlation:
    """What the kernel computes: windows of `source` along two axes, times packed weights.

    Args:
        batch: observations.
        rows, columns: the axes.
        channels: channels that one output reads.
        filters: outputs per group and position.
        groups: independent groups.
        dtype: element type.
    """

    batch: int
    rows: Axis
    columns: Axis
    channels: int
    filters: int
    groups: int
    dtype: str

    @property
    def pixel(self) -> int:
        """Values of one input pixel."""
        return self.channels * self.groups

    @property
    def phases(self) -> int:
        """Interleaved correlations."""
        return self.rows.step * self.columns.step

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
        return max(self.rows.taps) * max(self.columns.taps) * self.channels

    @property
    def flops(self) -> int:
        """Multiplications and additions, windows over the edge counted whole."""
        taps = sum(self.rows.taps) * sum(self.columns.taps)
        positions = self.rows.positions * self.columns.positions
        return 2 * self.batch * positions * taps * self.channels * self.filters * self.groups


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


def choose(work: Correlation, machine: Machine) -> Blocking:
    """The blocking of least estimated cycles; it never depends on the number of cores."""
    if work.batch * work.rows.positions * work.columns.positions == 0:
        return Blocking(1, 1, 1, 1, 1, 1)
    panels = _panels(work)
    best = min(_candidates(work, machine, panels), key=lambda entry: entry[0])[1]
    blocks = work.groups * best.group_blocks(work, machine.lanes(work.dtype))
    tiles = work.batch * best.bands * best.panels
    wanted = min(-(-ENOUGH_TILES // tiles), -(-work.flops // (tiles * SMALL_WORK)))
    return Blocking(best.tile_rows, best.tile_columns, best.vectors, best.bands, panels, max(1, min(blocks, wanted)))


def _panels(work: Correlation) -> int:
    """Cuts across the columns, so that one row of windows stays at hand."""
    line = work.rows.read(1) * work.pixel * ITEM_SIZE[work.dtype]
    room = max(1, (BAND_BYTES // line - work.columns.span) // work.columns.stride + 1)
    return -(-work.columns.positions // room)


def _bands(work: Correlation, panels: int) -> range:
    """The numbers of bands worth trying: from the fewest that stay at hand."""
    width = work.columns.read(-(-work.columns.positions // panels))
    line = width * work.pixel * ITEM_SIZE[work.dtype]
    room = max(1, (BAND_BYTES // line - work.rows.span) // work.rows.stride + 1)
    fewest = -(-work.rows.positions // room)
    wanted = min(-(-ENOUGH_TILES // (work.batch * panels)), work.flops // (work.batch * panels * SMALL_WORK))
    fewest = min(max(fewest, wanted), work.rows.positions)
    return range(fewest, min(fewest + 4, work.rows.positions) + 1)


def _candidates(work: Correlation, machine: Machine, panels: int) -> Iterator[tuple[float, Blocking]]:
    """(estimated cycles of one observation, blocking) of every blocking that fits the registers."""
    lanes = machine.lanes(work.dtype)
    column_parts = even_parts(work.columns.positions, panels)
    narrowest = min(work.columns.outputs // work.columns.step or 1, *column_parts)
    if work.columns.step > 1 and panels > 1:
        narrowest = max(1, narrowest - 1)
    most = SHORT_RUN_ACCUMULATORS if work.run <= SHORT_RUN else machine.vector_registers
    for vectors in vector_counts(work.filters, machine, work.dtype):
        blocks = work.groups * -(-work.filters // (vectors * lanes))
        for bands in _bands(work, panels):
            row_parts = even_parts(work.rows.positions, bands)
            # Phases may have a row less than the first one, so their tiles are one row high.
            highest = min(row_parts) if work.phases == 1 else 1
            for tile_rows in range(1, highest + 1):
                if not fits(tile_rows, vectors, machine):
                    break
                for tile_columns in range(1, narrowest + 1):
                    pixels = tile_rows * tile_columns
                    if not fits(pixels, vectors, machine) or pixels * vectors > most:
                        break
                    blocking = Blocking(tile_rows, tile_columns, vectors, bands, panels, 1)
                    yield _cycles(work, blocking, row_parts, column_parts, blocks), blocking


def _cycles(
    work: Correlation, blocking: Blocking, row_parts: tuple[int, ...], column_parts: tuple[int, ...], blocks: int
) -> float:
    """Estimated cycles of one observation."""
    pixels = blocking.tile_rows * blocking.tile_columns
    down = sum(-(-part // blocking.tile_rows) for part in row_parts)
    across = sum(-(-part // blocking.tile_columns) for part in column_parts)
    steps = sum(work.rows.taps) * sum(work.columns.taps) * work.channels
    store = work.phases * (10 + 2 * pixels * blocking.vectors)
    copied = blocking.bands * work.rows.read(max(row_parts)) * work.columns.read(work.columns.positions) * work.pixel
    multiply = down * across * blocks * (steps * step_cycles(pixels, blocking.vectors) + store)
    return multiply + (0 if inside(work) else copied / 6)


def inside(work: Correlation) -> bool:
    """Whether no window meets the padding, so that the input is read in place."""
    return work.rows.inside and work.columns.inside


def flattened(work: Correlation) -> Correlation:
    """A 1×1 correlation of stride 1 as one column of pixels, of all observations."""
    if work.rows.pointwise and work.columns.pointwise and work.groups == 1:
        count = work.batch * work.rows.outputs * work.columns.outputs
        tall = Axis(count, count, 1, 1, 1, (1,), (0,), 1, (0,))
        flat = Axis(1, 1, 1, 1, 1, (1,), (0,), 1, (0,))
        return Correlation(min(count, 1), tall, flat, work.channels, work.filters, 1, work.dtype)
    return work


def _pieces(work: Correlation) -> int:
    """Products per partial sum, where the sum is long; 0 where it is one sum."""
    if work.products <= LONGEST_SUM:
        return 0
    return -(-work.run // -(-work.run // LONGEST_SUM))


def _shape(work: Correlation) -> dict[str, Constant]:
    rows, columns = work.rows, work.columns
    single = work.phases == 1
    return {
        "rows": rows.inputs,
        "columns": columns.inputs,
        "out_rows": rows.outputs,
        "out_columns": columns.outputs,
        "channels": work.channels,
        "filters": work.filters,
        "groups": work.groups,
        "phases": work.phases,
        "step_h": rows.step,
        "step_w": columns.step,
        "taps_h": rows.taps[0] if single else rows.taps,
        "taps_w": columns.taps[0] if single else columns.taps,
        "low_h": rows.low,
        "low_w": columns.low,
        "span_h": rows.span,
        "span_w": columns.span,
        "stride_h": rows.stride,
        "stride_w": columns.stride,
        "dilation_h": rows.dilation,
        "dilation_w": columns.dilation,
        **({} if single else {"offsets_h": rows.offsets, "offsets_w": columns.offsets}),
    }


def _phase_starts(work: Correlation) -> tuple[int, ...]:
    """Where the packed weights of each phase start, in filter taps."""
    starts = [0]
    for taps_h in work.rows.taps:
        for taps_w in work.columns.taps:
            starts.append(starts[-1] + taps_h * taps_w)
    return tuple(starts)


def correlate(
    problem: Problem, work: Correlation, weights: WindowProblem, transposed: bool, epilogue: dict[str, Constant]
) -> Plan:
    """The launches of a correlation of operand 0 with operand 1, packed first unless it lies right already."""
    work = flattened(work)
    machine, lanes = problem.machine, problem.machine.lanes(work.dtype)
    blocking = choose(work, machine)
    width = blocking.vectors * lanes
    group_blocks = blocking.group_blocks(work, lanes)
    starts = _phase_starts(work)
    packed = transposed or work.groups * group_blocks > 1 or work.filters != width
    tiles: dict[str, Constant] = {
        "lanes": lanes,
        "vectors": blocking.vectors,
        "width": width,
        "group_blocks": group_blocks,
        "tile_rows": blocking.tile_rows,
        "tile_columns": blocking.tile_columns,
        "bands": blocking.bands,
        "panels": blocking.panels,
        "shares": blocking.shares,
        "contiguous": work.contiguous,
        "piece": _pieces(work),
        "copies": not inside(work),
        **({} if work.phases == 1 else {"phase_starts": starts}),
    }
    if not inside(work):
        columns = work.columns.read(max(even_parts(work.columns.positions, blocking.panels), default=1))
        rows = work.rows.read(max(even_parts(work.rows.positions, blocking.bands), default=1))
        tiles |= {"scratch_columns": columns, "scratch": rows * columns * work.pixel}
    schedule = Schedule(
        problem.op, "convolution", machine.target, work.dtype, shape=_shape(work) | epilogue, tiles=tiles
    )
    bias = ("operand2",) if epilogue.get("bias") else ()
    slots = ("operand0", "workspace0" if packed else "operand1", *bias, "result0")
    grid = work.batch * blocking.bands * blocking.panels * blocking.shares
    moved = problem.operands[0].bytes + problem.results[0].bytes + problem.operands[1].bytes
    empty = prod(problem.results[0].shape) == 0
    main = Launch(schedule, slots, 0 if empty else grid, (len(slots) - 1,), moved, work.flops)
    if not packed:
        return Plan((main,))
    blocks = work.groups * group_blocks
    buffer = Tensor((starts[-1] * work.channels * blocks * width,), work.dtype)
    return Plan((_pack(problem, work, weights, transposed, tiles, buffer), main), (buffer,))


def _pack(
    problem: Problem,
    work: Correlation,
    weights: WindowProblem,
    transposed: bool,
    tiles: dict[str, Constant],
    buffer: Tensor,
) -> Launch:
    """The launch that packs the weights as [phase][group][block][tap][channel][width]."""
    filters = weights.filters
    shape: dict[str, Constant] = {
        "phases": work.phases,
        "taps_h": work.rows.taps,
        "taps_w": work.columns.taps,
        "first_h": work.rows.first,
        "first_w": work.columns.first,
        "tap_step_h": work.rows.tap_step,
        "tap_step_w": work.columns.tap_step,
        "window_columns": weights.window[1],
        "tap_size": weights.group_channels * filters,
        "channels": work.channels,
        "filters": work.filters,
        "groups": work.groups,
        "group_stride": weights.group_filters,
        "channel_stride": 1 if transposed else filters,
        "filter_stride": filters if transposed else 1,
    }
    blocking = {key: tiles[key] for key in ("width", "group_blocks")}
    schedule = Schedule(problem.op, "convolution_pack", problem.machine.target, work.dtype, shape=shape, tiles=blocking)
    grid = work.groups * int(tiles["group_blocks"])  # pyright: ignore[reportArgumentType]
    return Launch(schedule, ("operand1", "workspace0"), grid, (1,), problem.operands[1].bytes + buffer.bytes)


def epilogue_constants(problem: Problem, bias: bool) -> dict[str, Constant]:
    """The constants of bias and activation.

    Raises:
        CompileError: the activation cannot be fused.
    """
    activation = str(problem.attributes.get("activation", ""))
    if activation not in ACTIVATIONS:
        raise CompileError(f"{problem.op} cannot fuse {activation!r}; allowed: {', '.join(map(repr, ACTIVATIONS))}")
    alpha = float(problem.attributes.get("alpha", 0.0))  # pyright: ignore[reportArgumentType]
    return {"bias": bias, "activation": activation, "alpha": alpha}


def convolution(problem: Problem) -> Plan:
    """Convolution: y = activation(x ⋆ weights + bias)."""
    window = describe(problem, problem.operands[0], problem.operands[1], problem.results[0])
    rows, columns = window.forward_axes
    work = Correlation(
        window.batch, rows, columns, window.group_channels, window.group_filters, window.groups, window.dtype
    )
    return correlate(problem, work, window, False, epilogue_constants(problem, len(problem.operands) > 2))


def convolution_input_gradient(problem: Problem) -> Plan:
    """The input gradient of y = x ⋆ weights: dx = dy ⋆ flipped, transposed weights."""
    window = describe(problem, problem.results[0], problem.operands[1], problem.operands[0])
    rows, columns = window.gradient_axes
    work = Correlation(
        window.batch, rows, columns, window.group_filters, window.group_channels, window.groups, window.dtype
    )
    return correlate(problem, work, window, True, {"bias": False, "activation": "", "alpha": 0.0})


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "convolution": convolution,
    "convolution_input_gradient": convolution_input_gradient,
    "convolution_weight_gradient": convolution_weights.convolution_weight_gradient,
}
