"""CUDA plans of convolution and its gradients: matrix products whose left operand is read from the image in place.

The input gradient is the same product on dy with flipped, transposed weights; a stride becomes phases (window_axis),
which do no work in vain, where a test for divisibility would multiply stride² times as often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from gncodegen.kernels.cuda.convolution_channelwise import channelwise, channelwise_weight_gradient, is_direct
from gncodegen.kernels.cuda.matrix import product_plan
from gncodegen.kernels.cuda.matrix_product import Product, vector_lanes
from gncodegen.kernels.epilogue import added_or_none, product_epilogue
from gncodegen.kernels.schedule import Constant, Plan, Problem
from gncodegen.kernels.window_axis import AXES, Axes, extents, named, per_axis
from gncodegen.kernels.window_problem import describe


def _inverse(divisor: int, dividends: int) -> int:
    """F such that d // divisor = d · f >> 16 for every d < dividends."""
    factor = (1 << 16) // max(divisor, 1) + 1
    assert all(d * factor >> 16 == d // max(divisor, 1) for d in range(dividends)), "a window has few taps"
    return factor


def _windows(axes: Axes, channels: int, groups: int) -> dict[str, Constant]:
    """The constants of the windows of an image: where they are, and which taps each phase has."""
    depth, rows, columns = axes
    images = {f"image_{name}": extent for name, extent in extents(axes).items() if name in AXES.values()}
    shape: dict[str, Constant] = {
        **images,
        "pixel": channels * groups,
        "channels": channels,
        **named("places", axes, [axis.positions for axis in axes]),
        **per_axis(axes, "stride", "dilation"),
        "taps": prod(max(axis.taps) for axis in axes),
        "pointwise": all(axis.pointwise for axis in axes),
        "inside": all(axis.inside for axis in axes),
    }
    volume = not depth.absent
    if all(axis.step == 1 for axis in axes):
        taps = {"taps_h": rows.taps[0], "taps_w": columns.taps[0]} if volume else {"taps_w": columns.taps[0]}
        return shape | taps | named("offset", axes, [axis.offsets[0] for axis in axes])
    lines = max(depth.taps) * max(rows.taps)
    inverses: dict[str, Constant] = {"inverses": tuple(_inverse(taps, lines * taps) for taps in columns.taps)}
    if volume:
        inverses["inverses_h"] = tuple(_inverse(taps, max(depth.taps) * taps) for taps in rows.taps)
    outs = {name: extent for name, extent in extents(axes).items() if name not in AXES.values()}
    return shape | per_axis(axes, "step", "taps") | inverses | per_axis(axes, "first", "tap_step", "offsets") | outs


def convolution(problem: Problem) -> Plan:
    """Convolution: y = activation(x ⋆ weights + bias + residual); rows are output pixels, columns are filters."""
    window = describe(problem, problem.operands[0], problem.operands[1], problem.results[0])
    if is_direct(window):
        return channelwise(problem, window, False, product_epilogue(problem))
    return product_plan(problem, _forward)


def _forward(problem: Problem) -> Product:
    window = describe(problem, problem.operands[0], problem.operands[1], problem.results[0])
    epilogue = product_epilogue(problem)
    channels, filters, dtype = window.group_channels, window.group_filters, window.dtype
    lanes = vector_lanes(dtype, filters)
    return Product(
        rows=window.pixels,
        columns=filters,
        depth=window.taps * channels,
        left="windows",
        right="rows",
        dtype=dtype,
        a_lanes=vector_lanes(dtype, channels),
        b_lanes=lanes,
        c_lanes=lanes,
        slots=("operand0", "operand1", *added_or_none(epilogue), "result0"),
        out_pixel=window.filters,
        groups=window.groups,
        shape=_windows(window.forward_axes, channels, window.groups) | {"column_stride": window.filters},
        epilogue=epilogue,
        flops=window.flops,
    )


def convolution_input_gradient(problem: Problem) -> Plan:
    """The input gradient of y = x ⋆ weights: rows are input pixels of a phase, columns are channels.

    A transposed convolution is this with other names and a forward op's epilogue: activation(dx + bias + residual).
    """
    window = describe(problem, problem.results[0], problem.operands[1], problem.operands[0])
    if is_direct(window):
        return channelwise(problem, window, True, product_epilogue(problem))
    return product_plan(problem, _input_gradient)


def _input_gradient(problem: Problem) -> Product:
    window = describe(problem, problem.results[0], problem.operands[1], problem.operands[0])
    epilogue = product_epilogue(problem)
    axes = window.gradient_axes
    channels, filters, dtype = window.group_channels, window.group_filters, window.dtype
    lanes = vector_lanes(dtype, filters)
    shape: dict[str, Constant] = {
        "column_stride": window.filters,
        "tap_size": channels * window.filters,
        "window": window.taps,
        **({} if axes[0].absent else {"window_h": window.window[1]}),
        "window_w": window.window[2],
    }
    return Product(
        rows=window.batch * prod(axis.positions for axis in axes),
        columns=channels,
        depth=prod(max(axis.taps) for axis in axes) * filters,
        left="windows",
        right="columns",
        dtype=dtype,
        a_lanes=lanes,
        b_lanes=lanes,
        c_lanes=vector_lanes(dtype, channels),
        slots=("operand0", "operand1", *added_or_none(epilogue), "result0"),
        out_pixel=window.channels,
        groups=window.groups,
        phases=prod(axis.step for axis in axes),
        shape=_windows(axes, filters, window.groups) | shape,
        epilogue=epilogue,
        flops=window.flops,
    )


def convolution_weight_gradient(problem: Problem) -> Plan:
    """The weight gradient: rows are (tap, channel) of x's windows, columns are filters of dy, the depth is pixels."""
    window = describe(problem, problem.operands[0], problem.results[0], problem.operands[1])
    if is_direct(window):
        return channelwise_weight_gradient(problem, window)
    return product_plan(problem, _weight_gradient)


def _weight_gradient(problem: Problem) -> Product:
    window = describe(problem, problem.operands[0], problem.results[0], problem.operands[1])
    channels, filters, dtype = window.group_channels, window.group_filters, window.dtype
    lanes = vector_lanes(dtype, filters)
    bias = problem.flag("bias")
    shape = _windows(window.forward_axes, channels, window.groups)
    pointwise = bool(shape["pointwise"])
    shape |= {"row_stride": window.channels, "group_stride": channels, "column_stride": window.filters}
    return Product(
        rows=window.taps * channels,
        columns=filters,
        depth=window.pixels,
        left="rows" if pointwise else "pixels",
        right="rows",
        dtype=dtype,
        a_lanes=vector_lanes(dtype, channels),
        b_lanes=lanes,
        c_lanes=lanes,
        slots=("operand0", "operand1", "", "", "result0"),
        out_pixel=window.filters,
        groups=window.groups,
        total="result1" if bias else "",
        sums="right" if bias else "",
        free=True,
        shape=shape,
        flops=window.flops,
    )


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "convolution": convolution,
    "convolution_input_gradient": convolution_input_gradient,
    "convolution_weight_gradient": convolution_weight_gradient,
    "transposed_convolution": convolution_input_gradient,
}
