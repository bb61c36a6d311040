"""CUDA plans of channel-wise convolution (one filter per channel) and its gradients: memory-bound, nothing is shared.

A matrix product per channel would have one column; here neighbouring threads do neighbouring channels.
"""

from __future__ import annotations

from collections.abc import Mapping

from gncodegen.kernels.cuda.matrix_product import stored_types, vector_lanes
from gncodegen.kernels.cuda.partial_sums import partial_sums
from gncodegen.kernels.epilogue import added_or_none, added_slots, residual_in_place
from gncodegen.kernels.launches import row_size
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Order, Plan, Problem, Tensor
from gncodegen.kernels.window_axis import extents, named
from gncodegen.kernels.window_problem import WindowProblem

THREADS = 256
"""Threads of a block."""

LONGEST_SUM = 256
"""Products of one thread's sum in the weight gradient, at most, for accuracy."""

WIDEST_WINDOW = 16
"""Most taps of a row of the window whose sums a thread holds."""


def is_direct(window: WindowProblem) -> bool:
    """Whether every channel has one filter of its own, of a window that these kernels hold."""
    return window.groups == window.channels == window.filters > 1 and window.window[2] <= WIDEST_WINDOW


def _shape(window: WindowProblem, gradient: bool = False) -> dict[str, Constant]:
    axes = window.forward_axes
    return {
        "channels": window.channels,
        **extents(window.gradient_axes if gradient else axes),
        **named("window", axes, window.window),
        **named("stride", axes, window.stride),
        **named("dilation", axes, window.dilation),
        **named("before", axes, window.before),
    }


def channelwise(problem: Problem, window: WindowProblem, gradient: bool, epilogue: Mapping[str, Constant]) -> Plan:
    """The launch of y = activation(x ⋆ weights + bias + residual), or of the gradient of x where `gradient`."""
    lanes = vector_lanes(window.dtype, window.channels)
    _, residual = added_or_none(epilogue)
    shape = _shape(window, gradient) | {"gradient": gradient} | dict(epilogue)
    shape |= stored_types(problem, x="operand0", residual=residual, y="result0")
    tiles: dict[str, Constant] = {"threads": THREADS, "lanes": lanes}
    template = "convolution_channelwise"
    schedule = problem.schedule(template, window.dtype, shape=shape, tiles=tiles, numbers=("batch",))
    slots = ("operand0", "operand1", *added_slots(epilogue), "result0")
    moved = sum(tensor.bytes for tensor in (*problem.operands, *problem.results))
    y, block = problem.results[0], lanes * THREADS
    launch = Launch(
        schedule, slots, -(-y.count // block), (len(slots) - 1,), moved, window.flops,
        order=Order(block, row_size(y)), numbers=(window.batch,),
    )  # fmt: skip
    return Plan((launch,), in_place=residual_in_place(epilogue))


def channelwise_weight_gradient(problem: Problem, window: WindowProblem) -> Plan:
    """The sums of parts of the pixels, then the sums of the parts."""
    lanes = vector_lanes(window.dtype, window.channels)
    bias = problem.flag("bias")
    across = min(THREADS, 1 << (-(-window.channels // lanes) - 1).bit_length())
    across = min(across, 32)
    blocks = -(-window.channels // (across * lanes))
    lines = THREADS // across
    pixels, lines_of_taps = window.pixels, window.window[0] * window.window[1]
    wanted = max(1, 4 * problem.machine.cores // (blocks * lines_of_taps))
    part = max(lines, min(-(-pixels // wanted), LONGEST_SUM * lines))
    parts = max(1, -(-pixels // part))
    shape = _shape(window) | {"bias": bias} | stored_types(problem, x="operand0", dy="operand1")
    tiles: dict[str, Constant] = {"threads": THREADS, "lanes": lanes, "across": across, "blocks": blocks}
    template, numbers = "convolution_channelwise_weights", {"pixels": pixels, "part": part}
    schedule = problem.schedule(template, window.dtype, shape=shape, tiles=tiles, numbers=numbers)
    buffers = [Tensor((parts, window.taps * window.channels), window.dtype)]
    if bias:
        buffers.append(Tensor((parts, window.channels), window.dtype))
    slots = tuple(f"workspace{i}" for i in range(len(buffers)))
    written = sum(buffer.count for buffer in buffers) * ITEM_SIZE[window.dtype]
    moved = problem.operands[0].bytes + lines_of_taps * problem.operands[1].bytes + written
    writes = tuple(range(2, 2 + len(slots)))
    main = Launch(
        schedule, ("operand0", "operand1", *slots), parts * lines_of_taps * blocks, writes, moved, window.flops,
        numbers=tuple(numbers.values()),
    )  # fmt: skip
    adds = (
        partial_sums(problem, buffer, (slot, "", "", f"result{i}"))
        for i, (slot, buffer) in enumerate(zip(slots, buffers, strict=True))
    )
    return Plan((main, *adds), tuple(buffers))
