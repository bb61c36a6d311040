"""Plans of channel-wise convolution (one filter per channel) and its gradients: vectors along channels."""

from __future__ import annotations

from gncodegen.kernels.cpu import partials
from gncodegen.kernels.cpu.bias import row_sums
from gncodegen.kernels.cpu.correlation import Correlation, bands_of, inside, panels_of
from gncodegen.kernels.cpu.register_tiles import even_parts, filled
from gncodegen.kernels.epilogue import added_slots, residual_in_place
from gncodegen.kernels.schedule import ENOUGH_TILES, ITEM_SIZE, Constant, Launch, Machine, Order, Plan, Problem, Tensor
from gncodegen.kernels.window_axis import extents, named, per_axis
from gncodegen.kernels.window_problem import WindowProblem

BAND_BYTES = 48 << 10
"""About how much of x a unit of the weight gradient keeps at hand, or BAND_SHARE of L2 if that is more.

Neighbouring bands both copy the rows that both read: three times all of x where a band is one row high.
"""

BAND_SHARE = 1 / 8
"""Share of L2 for the x of a unit of the weight gradient."""

UNROLLED = 4
"""Neighbouring pixels that a loop of the weight gradient does at a time, which share what they read of x.

Where 32 registers hold that; of 16 it takes more than there are.
"""

MOST_TAPS = 12
"""Most filter taps summed at a time."""


def is_channelwise(window: WindowProblem) -> bool:
    """Whether every channel has one filter of its own."""
    return window.groups == window.channels == window.filters > 1


REGISTER_TILES = ((2, 2), (3, 1), (2, 1), (1, 1))
"""(Columns of pixels, vectors of channels) of 16 registers, the fastest first.

LLVM unrolls the taps and keeps what neighbouring pixels share in registers; more accumulators made it spill (on
8×56²×64: 0.72 ms, 0.75, 0.8; 14 × 1, which needs the fewest loads, 1.4). Of 32 registers as many more columns fit.
"""


def _register_tile(work: Correlation, panels: int, machine: Machine) -> tuple[int, int]:
    """The first register tile that is no wider than the channels and the narrowest panel."""
    lanes = min(machine.lanes(work.dtype), work.groups)
    parts = even_parts(work.columns.positions, panels)
    narrowest = max(1, min(work.columns.outputs // work.columns.step, min(parts) - (panels > 1)))
    more = max(1, machine.vector_registers // 16)
    return next(
        (columns, vectors)
        for columns, vectors in (*((columns * more, vectors) for columns, vectors in REGISTER_TILES), *REGISTER_TILES)
        if columns <= narrowest and vectors * lanes <= work.groups
    )


def correlate_channelwise(
    problem: Problem, given: Correlation, work: Correlation, weights: WindowProblem, epilogue: dict[str, Constant]
) -> Plan:
    """The launch of a channel-wise correlation of operand 0 with operand 1; nothing is packed.

    `given` is the correlation, `work` that of the problem's model, from which constants follow.
    """
    machine = problem.machine
    rows, columns = work.rows, work.columns
    panels = panels_of(work, machine) if problem.results[0].count else 1
    bands = problem.integer("parts") or (bands_of(work, machine, panels)[0] if problem.results[0].count else 1)
    tile_columns, vectors = _register_tile(work, panels, machine)
    volume = not work.depth.absent
    shape: dict[str, Constant] = {
        **extents(work.axes),
        "groups": work.groups,
        **({"window_rows": weights.window[1]} if volume else {}),
        "window_columns": weights.window[2],
        "phases": work.phases,
        **per_axis(work.axes, "step", "taps", "first", "tap_step", "offsets", "low", "span", "stride", "dilation"),
        **epilogue,
    }
    scratch_columns = columns.read(max(even_parts(columns.positions, panels)))
    scratch_rows = rows.read(max(even_parts(rows.positions, bands)))
    lanes = min(machine.lanes(work.dtype), work.groups)
    tiles: dict[str, Constant] = {
        "lanes": lanes,
        "vector": machine.lanes(work.dtype),
        "vectors": vectors,
        "tile_columns": tile_columns,
        "bands": bands,
        "panels": panels,
        "copies": not inside(work),
        **({"scratch_rows": scratch_rows} if volume else {}),
        "scratch_columns": scratch_columns,
        "scratch": work.depth.span * scratch_rows * scratch_columns * work.groups,
        **partials.constants(problem),
    }
    schedule = problem.schedule("convolution_channelwise", problem.operands[0].dtype, shape=shape, tiles=tiles)
    results = tuple(f"result{i}" for i in range(len(problem.results)))
    slots = ("operand0", "operand1", *added_slots(epilogue), *results)
    moved = sum(tensor.bytes for tensor in (*problem.operands, problem.results[0]))
    grid = given.images * bands * panels if problem.results[0].count else 0
    writes = tuple(range(len(slots) - len(results), len(slots)))
    whole = filled(columns.positions, panels, tile_columns) and filled(work.groups, 1, vectors * lanes)
    in_place = residual_in_place(epilogue, work.phases == 1 and whole)
    order = Order(1, 1, given.images // problem.observations * bands * panels)
    return Plan((Launch(schedule, slots, grid, writes, moved, given.flops, order=order),), in_place=in_place)


def channelwise_weight_gradient(problem: Problem, window: WindowProblem) -> Plan:
    """The weight gradient of a channel-wise convolution: sums of parts of the batch, then the sums of the parts."""
    lanes = min(problem.machine.lanes(window.dtype), window.channels)
    bias = problem.flag("bias")
    axes = window.forward_axes
    depth, rows, columns = axes
    line = columns.read(max(columns.positions, 1)) * window.channels
    plane = window.window[0] * line
    room = max(BAND_BYTES, int(problem.machine.l2 * BAND_SHARE))
    highest = max(1, (room // (plane * ITEM_SIZE[window.dtype]) - rows.span) // rows.stride + 1)
    bands = max(1, -(-rows.positions // highest))
    parts = max(1, min(ENOUGH_TILES, window.batch * depth.outputs * bands))
    many = problem.machine.vector_registers >= 32
    vectors = 2 if many and window.channels >= 2 * lanes else 1
    taps, scratch_rows = window.taps, rows.read(max(*even_parts(rows.positions, bands), 1))
    shape: dict[str, Constant] = {
        **extents(axes),
        "channels": window.channels,
        **named("window", axes, window.window),
        **per_axis(axes, "stride", "dilation"),
        **named("before", axes, window.before),
        "span_h": rows.span,
        "bias": bias,
    }
    tiles: dict[str, Constant] = {
        "lanes": lanes,
        "lines": window.window[1] if window.window[1] * window.window[2] <= MOST_TAPS else 1,
        "vectors": vectors,
        "unrolled": UNROLLED if many else 1,
        "bands": bands,
        "partial": taps * window.channels,
        **({} if depth.absent else {"scratch_rows": scratch_rows}),
        "scratch_columns": line // window.channels,
        "scratch": scratch_rows * plane,
    }
    template = "convolution_channelwise_weights"
    dtype = problem.operands[0].dtype
    schedule = problem.schedule(template, dtype, shape=shape, tiles=tiles, numbers=("batch", "parts"))
    buffers = [Tensor((parts, taps * window.channels), window.dtype)]
    if bias:
        buffers.append(Tensor((parts, window.channels), window.dtype))
    slots = [f"workspace{i}" for i in range(len(buffers))]
    writes = tuple(range(2, 2 + len(buffers)))
    moved = sum(tensor.bytes for tensor in (*problem.operands, *buffers))
    numbers = (window.batch, parts)
    main = Launch(schedule, ("operand0", "operand1", *slots), parts, writes, moved, window.flops, numbers=numbers)
    sums = [
        row_sums(problem, window.dtype, parts, buffer.shape[1], 1, slot, f"result{i}")
        for i, (buffer, slot) in enumerate(zip(buffers, slots, strict=True))
    ]
    return Plan((main, *sums), tuple(buffers))
