"""Plans of channel-wise convolution (one filter per channel) and its gradients: vectors along channels."""

from __future__ import annotations

from gncodegen.kernels.cpu import partials
from gncodegen.kernels.cpu.bias import row_sums
from gncodegen.kernels.cpu.correlation import ENOUGH_TILES, Correlation, bands_of, inside, panels_of
from gncodegen.kernels.cpu.register_tiles import even_parts
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Machine, Plan, Problem, Schedule, Tensor
from gncodegen.kernels.window_problem import WindowProblem

BAND_BYTES = 48 << 10
"""About how much of x a unit of the weight gradient keeps at hand."""

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
    problem: Problem, work: Correlation, weights: WindowProblem, epilogue: dict[str, Constant]
) -> Plan:
    """The launch of a channel-wise correlation of operand 0 with operand 1; nothing is packed."""
    machine = problem.machine
    rows, columns = work.rows, work.columns
    panels = panels_of(work, machine) if problem.results[0].count else 1
    bands = problem.integer("parts") or (bands_of(work, machine, panels)[0] if problem.results[0].count else 1)
    tile_columns, vectors = _register_tile(work, panels, machine)
    shape: dict[str, Constant] = {
        "rows": rows.inputs,
        "columns": columns.inputs,
        "out_rows": rows.outputs,
        "out_columns": columns.outputs,
        "groups": work.groups,
        "window_columns": weights.window[1],
        "phases": work.phases,
        "step_h": rows.step,
        "step_w": columns.step,
        "taps_h": rows.taps,
        "taps_w": columns.taps,
        "first_h": rows.first,
        "first_w": columns.first,
        "tap_step_h": rows.tap_step,
        "tap_step_w": columns.tap_step,
        "offsets_h": rows.offsets,
        "offsets_w": columns.offsets,
        "low_h": rows.low,
        "low_w": columns.low,
        "span_h": rows.span,
        "span_w": columns.span,
        "stride_h": rows.stride,
        "stride_w": columns.stride,
        "dilation_h": rows.dilation,
        "dilation_w": columns.dilation,
        **epilogue,
    }
    scratch_columns = columns.read(max(even_parts(columns.positions, panels)))
    scratch_rows = rows.read(max(even_parts(rows.positions, bands)))
    tiles: dict[str, Constant] = {
        "lanes": min(machine.lanes(work.dtype), work.groups),
        "vector": machine.lanes(work.dtype),
        "vectors": vectors,
        "tile_columns": tile_columns,
        "bands": bands,
        "panels": panels,
        "copies": not inside(work),
        "scratch_columns": scratch_columns,
        "scratch": scratch_rows * scratch_columns * work.groups,
        **partials.constants(problem),
    }
    schedule = Schedule(problem.op, "convolution_channelwise", machine.target, work.dtype, shape=shape, tiles=tiles)
    bias = ("operand2",) if epilogue["bias"] else ()
    results = tuple(f"result{i}" for i in range(len(problem.results)))
    slots = ("operand0", "operand1", *bias, *results)
    moved = sum(tensor.bytes for tensor in (*problem.operands, problem.results[0]))
    grid = work.batch * bands * panels if problem.results[0].count else 0
    writes = tuple(range(len(slots) - len(results), len(slots)))
    return Plan((Launch(schedule, slots, grid, writes, moved, work.flops),))


def channelwise_weight_gradient(problem: Problem, window: WindowProblem) -> Plan:
    """The weight gradient of a channel-wise convolution: sums of parts of the batch, then the sums of the parts."""
    lanes = min(problem.machine.lanes(window.dtype), window.channels)
    bias = problem.flag("bias")
    rows, columns = window.forward_axes
    line = columns.read(max(columns.positions, 1)) * window.channels
    highest = max(1, (BAND_BYTES // (line * ITEM_SIZE[window.dtype]) - rows.span) // rows.stride + 1)
    bands = max(1, -(-rows.positions // highest))
    parts = max(1, min(ENOUGH_TILES, window.batch * bands))
    taps = window.window[0] * window.window[1]
    shape: dict[str, Constant] = {
        "batch": window.batch,
        "rows": rows.inputs,
        "columns": columns.inputs,
        "out_rows": rows.outputs,
        "out_columns": columns.outputs,
        "channels": window.channels,
        "window_h": window.window[0],
        "window_w": window.window[1],
        "stride_h": rows.stride,
        "stride_w": columns.stride,
        "dilation_h": rows.dilation,
        "dilation_w": columns.dilation,
        "before_h": window.before[0],
        "before_w": window.before[1],
        "span_h": rows.span,
        "bias": bias,
    }
    tiles: dict[str, Constant] = {
        "lanes": lanes,
        "lines": window.window[0] if taps <= MOST_TAPS else 1,
        "bands": bands,
        "parts": parts,
        "partial": taps * window.channels,
        "scratch_columns": line // window.channels,
        "scratch": rows.read(max(*even_parts(rows.positions, bands), 1)) * line,
    }
    template = "convolution_channelwise_weights"
    schedule = Schedule(problem.op, template, problem.machine.target, window.dtype, shape=shape, tiles=tiles)
    buffers = [Tensor((parts, taps * window.channels), window.dtype)]
    if bias:
        buffers.append(Tensor((parts, window.channels), window.dtype))
    slots = [f"workspace{i}" for i in range(len(buffers))]
    writes = tuple(range(2, 2 + len(buffers)))
    moved = sum(tensor.bytes for tensor in (*problem.operands, *buffers))
    main = Launch(schedule, ("operand0", "operand1", *slots), parts, writes, moved, window.flops)
    sums = [
        row_sums(problem, window.dtype, parts, buffer.shape[1], 1, slot, f"result{i}")
        for i, (buffer, slot) in enumerate(zip(buffers, slots, strict=True))
    ]
    return Plan((main, *sums), tuple(buffers))
