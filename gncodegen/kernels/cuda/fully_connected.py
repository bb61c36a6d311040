"""CUDA plans of the fully connected layer: three matrix products without a copy, y = x·Wᵀ, dx = dy·W, dW = dyᵀ·x."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cuda.matrix import product_plan
from gncodegen.kernels.cuda.matrix_product import Product, vector_lanes
from gncodegen.kernels.epilogue import added_or_none, product_epilogue
from gncodegen.kernels.schedule import Constant, Plan, Problem, computed_in


def _rows(depth: int, column_stride: int) -> dict[str, Constant]:
    """The constants of a left operand whose rows are `depth` long."""
    return {
        "pixel": depth,
        "channels": depth,
        "taps": 1,
        "pointwise": True,
        "inside": True,
        "offset_h": 0,
        "offset_w": 0,
        "column_stride": column_stride,
    }


def _forward(problem: Problem) -> Product:
    """The fully connected layer: y = activation(x·Wᵀ + bias + residual), x with its trailing axes flattened."""
    x, weights = problem.operands[:2]
    columns, depth = weights.shape
    rows = problem.results[0].count // columns
    epilogue = product_epilogue(problem)
    lanes = vector_lanes(computed_in(x.dtype), depth)
    return Product(
        rows=rows,
        columns=columns,
        depth=depth,
        left="windows",
        right="columns",
        dtype=computed_in(x.dtype),
        a_lanes=lanes,
        b_lanes=lanes,
        c_lanes=vector_lanes(computed_in(x.dtype), columns),
        slots=("operand0", "operand1", *added_or_none(epilogue), "result0"),
        out_pixel=columns,
        shape=_rows(depth, depth),
        epilogue=epilogue,
        flops=2 * rows * columns * depth,
    )


def _input_gradient(problem: Problem) -> Product:
    """The input gradient of y = x·Wᵀ: dx = dy·W."""
    dy, weights = problem.operands
    outputs, inputs = weights.shape
    rows = dy.count // outputs
    lanes = vector_lanes(computed_in(dy.dtype), inputs)
    return Product(
        rows=rows,
        columns=inputs,
        depth=outputs,
        left="windows",
        right="rows",
        dtype=computed_in(dy.dtype),
        a_lanes=vector_lanes(computed_in(dy.dtype), outputs),
        b_lanes=lanes,
        c_lanes=lanes,
        slots=("operand0", "operand1", "", "", "result0"),
        out_pixel=inputs,
        shape=_rows(outputs, inputs),
        flops=2 * rows * outputs * inputs,
    )


def _weight_gradient(problem: Problem) -> Product:
    """The weight gradient of y = x·Wᵀ + bias: dW = dyᵀ·x, and dbias, the sums of dy, where asked for."""
    x, dy = problem.operands
    outputs, inputs = problem.results[0].shape
    rows = dy.count // outputs
    bias = problem.flag("bias")
    lanes = vector_lanes(computed_in(x.dtype), inputs)
    return Product(
        rows=outputs,
        columns=inputs,
        depth=rows,
        left="rows",
        right="rows",
        dtype=computed_in(x.dtype),
        a_lanes=vector_lanes(computed_in(x.dtype), outputs),
        b_lanes=lanes,
        c_lanes=lanes,
        slots=("operand1", "operand0", "", "", "result0"),
        out_pixel=inputs,
        total="result1" if bias else "",
        sums="left" if bias else "",
        free=True,
        shape={"pointwise": True, "row_stride": outputs, "group_stride": 0, "column_stride": inputs},
        flops=2 * rows * outputs * inputs,
    )


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "fully_connected": lambda problem: product_plan(problem, _forward),
    "fully_connected_input_gradient": lambda problem: product_plan(problem, _input_gradient),
    "fully_connected_weight_gradient": lambda problem: product_plan(problem, _weight_gradient),
}
