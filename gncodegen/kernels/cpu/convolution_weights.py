"""Plan of a convolution's weight gradient: outer products of windows of x with dy, summed over pixels in registers.

The sum over the batch is cut into a number of parts that depends on the shapes only; each part has its own sum, and a
second launch adds the parts in order, so the result does not depend on the number of cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gncodegen.kernels.cpu.convolution_channelwise import channelwise_weight_gradient, is_channelwise
from gncodegen.kernels.cpu.register_tiles import even_parts, fits, step_cycles, vector_counts
from gncodegen.kernels.cpu.winograd_weights import weight_output, winograd_weight_gradient
from gncodegen.kernels.schedule import ENOUGH_TILES, ITEM_SIZE, Constant, Launch, Machine, Plan, Plans, Problem, Tensor
from gncodegen.kernels.window_axis import extents, named
from gncodegen.kernels.window_problem import WindowProblem, describe

SCRATCH_BYTES = 96 << 10
"""Most of x, and of dy, that a tile packs at a time."""

UNIT_PIXELS = 256
"""About how many pixels are summed in registers before the sum is added to memory."""

PARTIAL_BYTES = 96 << 10
"""Sums in memory that a tile adds to; more are shared out over tiles."""

WIDEST_BLOCK = 64
"""Most channels of a block."""

REDUCE_SHAPE = ("window_d", "window_h", "window_w", "channels", "filters", "groups", "bias", "split")
REDUCE_TILES = ("lanes", "vectors", "rows_per_tile", "lines", "channel_block", "partial", "bias_partial")
"""Constants that the second launch shares with the first."""

MOST_PARTS = 16
"""Most parts of the batch; each has its own copy of the gradient."""


@dataclass(frozen=True)
class RegisterRows:
    """Which (filter tap, channel) pairs are the rows of a register tile.

    Args:
        channels: channels of a block; x is packed in blocks of channels.
        rows: neighbouring values of one filter row (taps × channels of the block).
        lines: neighbouring filter rows.
        vectors: vectors of filters.
    """

    channels: int
    rows: int
    lines: int
    vectors: int


@dataclass(frozen=True)
class WeightTiling:
    """Units of observations × bands of rows, parts of units, shares of channels and of filters.

    Where there is a depth, each output position of it counts as an observation: the planes that its windows read.
    `room` is the most observations that a unit of any batch has.
    """

    room: int
    observations: int
    bands: int
    parts: int
    channel_shares: int
    filter_shares: int


def _contiguous(window: WindowProblem) -> bool:
    """Whether the taps of a filter row lie side by side in a block of x."""
    return window.dilation[2] == 1 or window.window[2] == 1


def _register_rows(window: WindowProblem, machine: Machine) -> Iterator[RegisterRows]:
    taps = window.window[2] if _contiguous(window) else 1
    choices = set(range(1, min(machine.vector_registers, window.group_channels) + 1))
    for channels in sorted(choices | ({window.group_channels} if window.group_channels <= WIDEST_BLOCK else set())):
        run = taps * channels
        for vectors in vector_counts(window.group_filters, machine, window.dtype):
            for pieces in range(1, run + 1):
                rows = -(-run // pieces)
                if not fits(rows, vectors, machine):
                    continue
                most = window.window[1] if pieces == 1 else 1
                for lines in range(1, most + 1):
                    if fits(rows * lines, vectors, machine):
                        yield RegisterRows(channels, rows, lines, vectors)
                if rows * vectors < machine.vector_registers // 3:
                    break


def _cycles(window: WindowProblem, rows: RegisterRows, machine: Machine) -> float:
    """Estimated cycles per pixel."""
    lanes = machine.lanes(window.dtype, window.group_filters)
    taps = window.window[2] if _contiguous(window) else 1
    tiles = -(-window.group_channels // rows.channels) * -(-taps * rows.channels // rows.rows)
    tiles *= window.window[0] * -(-window.window[1] // rows.lines) * (window.window[2] // taps)
    tiles *= -(-window.group_filters // (rows.vectors * lanes))
    packing = 0 if rows.channels == window.group_channels else window.group_channels / min(rows.channels, lanes)
    # A tile's x should stay in L1 beside its dy: large blocks of channels do not.
    spread = 1.0 if rows.channels <= 16 else 1.15
    return tiles * (step_cycles(rows.rows * rows.lines, rows.vectors, machine) * spread + 0.5) + packing * 2.0


def choices(window: WindowProblem, machine: Machine, bias: bool) -> Iterator[tuple[RegisterRows, WeightTiling]]:
    """Register tiles, from the least estimated cycles up, with cuts that all sum in the same order."""
    tiles = dict.fromkeys(sorted(_register_rows(window, machine), key=lambda rows: _cycles(window, rows, machine)))
    orders: list[tuple[int, ...]] = []
    for rows in tiles:
        tiling = choose_tiling(window, rows, machine)
        # The sums of dy for the bias run over as many pixels at once as fit the registers.
        orders.append((tiling.observations, tiling.bands, tiling.parts, rows.vectors if bias else 0))
        if orders[-1] == orders[0]:
            yield rows, tiling


def choose_tiling(window: WindowProblem, rows: RegisterRows, machine: Machine) -> WeightTiling:
    """Units, parts and shares, from the shapes alone."""
    item, width = ITEM_SIZE[window.dtype], rows.vectors * machine.lanes(window.dtype, window.group_filters)
    out_depth, out_rows, out_columns = window.out_extents
    taps, batch = window.taps, window.batch * out_depth
    channel_blocks = -(-window.group_channels // rows.channels)
    filter_blocks = -(-window.group_filters // width)
    block_bytes = taps * rows.channels * width * item
    # Shares: near square, such that one share's sums stay in L2.
    filter_shares = channel_shares = 1
    while (-(-channel_blocks // channel_shares)) * (-(-filter_blocks // filter_shares)) * block_bytes > PARTIAL_BYTES:
        wide = -(-filter_blocks // filter_shares) * width
        deep = -(-channel_blocks // channel_shares) * rows.channels
        if wide >= deep and filter_shares < filter_blocks:
            filter_shares += 1
        elif channel_shares < channel_blocks:
            channel_shares += 1
        elif filter_shares < filter_blocks:
            filter_shares += 1
        else:
            break
    channels = -(-channel_blocks // channel_shares) * rows.channels
    filters = -(-filter_blocks // filter_shares) * width
    _, _, columns = window.forward_axes
    line = window.window[0] * columns.read(out_columns) * channels * item
    per_row = max(line * window.stride[1], out_columns * filters * item, 1)
    most_rows = min(max(1, SCRATCH_BYTES // per_row), max(1, -(-UNIT_PIXELS // max(out_columns, 1))))
    band_rows = min(most_rows, max(out_rows, 1))
    bands = -(-max(out_rows, 1) // band_rows)
    room = max(1, most_rows // max(out_rows, 1)) if bands == 1 else 1
    observations = max(1, min(room, batch))
    units = bands * -(-batch // observations)
    shares = channel_shares * filter_shares * window.groups
    gradient = taps * window.group_channels * window.filters
    affordable = (batch * out_rows * out_columns * (window.channels + window.filters)) // max(1, 2 * gradient)
    parts = max(1, min(units, MOST_PARTS, max(affordable, -(-ENOUGH_TILES // (4 * shares)))))
    return WeightTiling(room, observations, bands, parts, channel_shares, filter_shares)


def convolution_weight_gradient(problem: Problem) -> Plans:
    """The weight gradient of y = x ⋆ weights + bias from x and dy: dw, and dbias where asked for."""
    window, model = window_of(problem), window_of(problem.modelled)
    if is_channelwise(window):
        return channelwise_weight_gradient(problem, window)
    output = weight_output(window, problem.machine)
    if output:
        return winograd_weight_gradient(problem, window, model, output)
    found = choices(model, problem.machine, problem.flag("bias"))
    return (_plan(problem, window, rows, tiling) for rows, tiling in found)


def window_of(problem: Problem) -> WindowProblem:
    """The convolution whose weight gradient a problem is."""
    return describe(problem, problem.operands[0], problem.results[0], problem.operands[1])


def _plan(problem: Problem, window: WindowProblem, rows: RegisterRows, model: WeightTiling) -> Plan:
    """The launches of one register tile; `model` is the tiling of the problem's model."""
    tiling = choose_tiling(window, rows, problem.machine)
    lanes = problem.machine.lanes(window.dtype, window.group_filters)
    bias = problem.flag("bias")
    shape, tiles, partial, padded = _constants(window, rows, model, lanes, bias)
    numbers = {"batch": window.batch, "parts": tiling.parts, "together": tiling.observations}
    template = "convolution_weight_gradient"
    main = problem.schedule(template, problem.operands[0].dtype, shape=shape, tiles=tiles, numbers=numbers)
    filter_rows = window.taps * window.group_channels
    shares = max(1, min(filter_rows, model.parts * filter_rows * window.filters // (32 << 10)))
    fewer_shape = {name: shape[name] for name in REDUCE_SHAPE if name in shape}
    fewer_tiles = {name: tiles[name] for name in REDUCE_TILES} | {"tiles": shares}
    template = "convolution_weight_reduce"
    reduce = problem.schedule(template, window.dtype, shape=fewer_shape, tiles=fewer_tiles, numbers=("parts",))
    grid = tiling.parts * window.groups * tiling.channel_shares * tiling.filter_shares
    moved = problem.operands[0].bytes + problem.operands[1].bytes
    buffers = (Tensor((tiling.parts * partial,), window.dtype), Tensor((tiling.parts * padded,), window.dtype))
    workspaces, slots = (buffers, ("workspace0", "workspace1")) if bias else (buffers[:1], ("workspace0",))
    results = ("result0", "result1") if bias else ("result0",)
    written = sum(buffer.bytes for buffer in workspaces)
    gradient = sum(result.bytes for result in problem.results)
    count = len(slots)
    writes, sums = tuple(range(2, 2 + count)), tuple(range(count, 2 * count))
    values, flops = tuple(numbers.values()), window.flops
    launches = (
        Launch(main, ("operand0", "operand1", *slots), grid, writes, moved + written, flops, numbers=values),
        Launch(reduce, (*slots, *results), shares, sums, written + gradient, numbers=(tiling.parts,)),
    )
    return Plan(launches, workspaces)


def _constants(
    window: WindowProblem, rows: RegisterRows, tiling: WeightTiling, lanes: int, bias: bool
) -> tuple[dict[str, Constant], dict[str, Constant], int, int]:
    """Shape and tile constants, elements of one part's sums, and of its bias sums."""
    split = not _contiguous(window)
    axes, taps = window.forward_axes, 1 if split else window.window[2]
    width = rows.vectors * lanes
    channel_blocks = -(-window.group_channels // rows.channels)
    filter_blocks = -(-window.group_filters // width)
    line_groups = -(-window.window[1] // rows.lines)
    pieces = -(-taps * rows.channels // rows.rows)
    block = window.window[0] * line_groups * (window.window[2] // taps) * pieces * rows.rows * rows.lines * width
    band_rows = max(even_parts(window.out_extents[1], tiling.bands))
    span_h = (line_groups * rows.lines - 1) * window.dilation[1] + 1
    scratch_rows = (max(band_rows, 1) - 1) * window.stride[1] + span_h
    scratch_columns = axes[2].read(max(window.out_extents[2], 1))
    share_channels = max(even_parts(channel_blocks, tiling.channel_shares))
    share_filters = max(even_parts(filter_blocks, tiling.filter_shares))
    image = window.window[0] * scratch_rows * scratch_columns * rows.channels
    # dy is read in place where one block of filters is all of it.
    packs = window.groups > 1 or window.filters != width
    filter_step = tiling.room * band_rows * window.out_extents[2] * width if packs else 0
    shape: dict[str, Constant] = {
        **extents(axes),
        "channels": window.group_channels,
        "filters": window.group_filters,
        "groups": window.groups,
        **named("window", axes, window.window),
        **named("stride", axes, window.stride),
        **named("dilation", axes, window.dilation),
        **named("before", axes, window.before),
        "bias": bias,
        "split": split,
    }
    tiles: dict[str, Constant] = {
        "lanes": lanes,
        "vectors": rows.vectors,
        "rows_per_tile": rows.rows,
        "lines": rows.lines,
        "channel_block": rows.channels,
        "observations": tiling.room,
        "bands": tiling.bands,
        "channel_shares": tiling.channel_shares,
        "filter_shares": tiling.filter_shares,
        "scratch_rows": scratch_rows,
        "scratch_columns": scratch_columns,
        # A register tile may read past its last row of taps; what it reads there is summed but never used.
        "scratch": image * tiling.room * share_channels + rows.rows,
        "packs": packs,
        "filter_step": filter_step,
        "packed": max(1, filter_step * share_filters),
        "partial": block * channel_blocks * filter_blocks * window.groups,
        "bias_partial": window.groups * filter_blocks * width,
    }
    return shape, tiles, block * channel_blocks * filter_blocks * window.groups, window.groups * filter_blocks * width
