"""CUDA plans of convolution and its gradients: matrix products whose left operand is read from the image in place.

The input gradient is the same product on dy with flipped, transposed weights; a stride becomes phases (window_axis),
which do no work in vain, where a test for divisibility would multiply stride² times as often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cpu.convolution import epilogue_constants
from gncodegen.kernels.cuda.convolution_channelwise import channelwise, channelwise_weight_gradient, is_direct
from gncodegen.kernels.cuda.matrix import product_plan
from gncodegen.kernels.cuda.matrix_product import Product, vector_lanes
from gncodegen.kernels.schedule import Constant, Plan, Problem
from gncodegen.kernels.window_axis import Axis
from gncodegen.kernels.window_problem import WindowProblem, describe


def _inverse(divisor: int, dividends: int) -> int:
    """F such that d // divisor = d · f >> 16 for every d < dividends."""
    factor = (1 << 16) // max(divisor, 1) + 1
    assert all(d * factor >> 16 == d // max(divisor, 1) for d in range(dividends)), "a window has few taps"
    return factor


def _windows(axes: tuple[Axis, Axis], channels: int, groups: int) -> dict[str, Constant]:
    """The constants of the windows of an image: where they are, and which taps each phase has."""
    rows, columns = axes
    shape: dict[str, Constant] = {
        "image_rows": rows.inputs,
        "image_columns": columns.inputs,
        "pixel": channels * groups,
        "channels": channels,
        "places_h": rows.positions,
        "places_w": columns.positions,
        "stride_h": rows.stride,
        "stride_w": columns.stride,
        "dilation_h": rows.dilation,
        "dilation_w": columns.dilation,
        "taps": max(rows.taps) * max(columns.taps),
        "pointwise": rows.pointwise and columns.pointwise,
        "inside": rows.inside and columns.inside,
    }
    if rows.step * columns.step == 1:
        return shape | {"taps_w": columns.taps[0], "offset_h": rows.offsets[0], "offset_w": columns.offsets[0]}
    return shape | {
        "step_h": rows.step,
        "step_w": columns.step,
        "taps_h": rows.taps,
        "taps_w": columns.taps,
        "inverses": tuple(_inverse(taps, max(rows.taps) * taps) for taps in columns.taps),
        "first_h": rows.first,
        "first_w": columns.first,
        "tap_step_h": rows.tap_step,
        "tap_step_w": columns.tap_step,
        "offsets_h": rows.offsets,
        "offsets_w": columns.offsets,
        "out_rows": rows.outputs,
        "out_columns": columns.outputs,
    }


def convolution(problem: Problem) -> Plan:
    """Convolution: y = activation(x ⋆ weights + bias); rows are output pixels, columns are filters."""
    window = describe(problem, problem.operands[0], problem.operands[1], problem.results[0])
    epilogue = epilogue_constants(problem, len(problem.operands) > 2)
    if is_direct(window):
        return channelwise(problem, window, False, epilogue)
    return product_plan(problem, _forward(window, epilogue))


def _forward(window: WindowProblem, epilogue: Mapping[str, Constant]) -> Product:
    channels, filters, dtype = window.group_channels, window.group_filters, window.dtype
    lanes = vector_lanes(dtype, filters)
    return Product(
        rows=window.batch * window.out_extents[0] * window.out_extents[1],
        columns=filters,
        depth=window.window[0] * window.window[1] * channels,
        left="windows",
        right="rows",
        dtype=dtype,
        a_lanes=vector_lanes(dtype, channels),
        b_lanes=lanes,
        c_lanes=lanes,
        slots=("operand0", "operand1", "operand2" if epilogue["bias"] else "", "result0"),
        out_pixel=window.filters,
        groups=window.groups,
        shape=_windows(window.forward_axes, channels, window.groups) | {"column_stride": window.filters},
        epilogue=epilogue,
        flops=window.flops,
    )


def convolution_input_gradient(problem: Problem) -> Plan:
    """The input gradient of y = x ⋆ weights: rows are input pixels of a phase, columns are channels.

    A transposed convolution is this with other names, and with the epilogue of a forward op: activation(dx + bias).
    """
    epilogue = epilogue_constants(problem, len(problem.operands) > 2)
    window = describe(problem, problem.results[0], problem.operands[1], problem.operands[0])
    if is_direct(window):
        return channelwise(problem, window, True, epilogue)
    rows, columns = window.gradient_axes
    channels, filters, dtype = window.group_channels, window.group_filters, window.dtype
    lanes = vector_lanes(dtype, filters)
    shape: dict[str, Constant] = {
        "column_stride": window.filters,
        "tap_size": channels * window.filters,
        "window": window.window[0] * window.window[1],
        "window_w": window.window[1],
    }
    product = Product(
        rows=window.batch * rows.positions * columns.positions,
        columns=channels,
        depth=max(rows.taps) * max(columns.taps) * filters,
        left="windows",
        right="columns",
        dtype=dtype,
        a_lanes=lanes,
        b_lanes=lanes,
        c_lanes=vector_lanes(dtype, channels),
        slots=("operand0", "operand1", "operand2" if epilogue["bias"] else "", "result0"),
        out_pixel=window.channels,
        groups=window.groups,
        phases=rows.step * columns.step,
        shape=_windows((rows, columns), filters, window.groups) | shape,
        epilogue=epilogue,
        flops=window.flops,
    )
    return product_plan(problem, product)


def convolution_weight_gradient(problem: Problem) -> Plan:
    """The weight gradient: rows are (tap, channel) of x's windows, columns are filters of dy, the depth is pixels."""
    window = describe(problem, problem.operands[0], problem.results[0], problem.operands[1])
    if is_direct(window):
        return channelwise_weight_gradient(problem, window)
    channels, filters, dtype = window.group_channels, window.group_filters, window.dtype
    lanes = vector_lanes(dtype, filters)
    bias = problem.flag("bias")
    shape = _windows(window.forward_axes, channels, window.groups)
    pointwise = bool(shape["pointwise"])
    shape |= {"row_stride": window.channels, "group_stride": channels, "column_stride": window.filters}
    product = Product(
        rows=window.window[0] * window.window[1] * channels,
        columns=filters,
        depth=window.batch * window.out_extents[0] * window.out_extents[1],
        left="rows" if pointwise else "pixels",
        right="rows",
        dtype=dtype,
        a_lanes=vector_lanes(dtype, channels),
        b_lanes=lanes,
        c_lanes=lanes,
        slots=("operand0", "operand1", "", "result0"),
        out_pixel=window.filters,
        groups=window.groups,
        total="result1" if bias else "",
        sums="right" if bias else "",
        free=True,
        shape=shape,
        flops=window.flops,
    )
    return product_plan(problem, product)


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "convolution": convolution,
    "convolution_input_gradient": convolution_input_gradient,
    "convolution_weight_gradient": convolution_weight_gradient,
    "transposed_convolution": convolution_input_gradient,
}
