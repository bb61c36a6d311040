"""The CUDA plan of products of two arrays: the blocks of a matrix product, for each of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cuda.matrix import product_plan
from gncodegen.kernels.cuda.matrix_product import Product, vector_lanes
from gncodegen.kernels.matrix_product import matrices
from gncodegen.kernels.schedule import Constant, Plan, Problem, computed_in


def _described(problem: Problem) -> Product:
    """C = A·B, each of A and B either way round."""
    found, dtype = matrices(problem), computed_in(problem.operands[0].dtype)
    rows, columns, depth = found.rows, found.columns, found.depth
    shape: dict[str, Constant] = {
        "pixel": depth,
        "channels": depth,
        "taps": 1,
        "pointwise": True,
        "inside": True,
        "offset_h": 0,
        "offset_w": 0,
        "row_stride": rows,
        "group_stride": 0,
        "column_stride": depth if found.right_crosswise else columns,
        "inner": found.inner,
        "left_steps": found.left_steps,
        "right_steps": found.right_steps,
    }
    return Product(
        rows=rows,
        columns=columns,
        depth=depth,
        left="rows" if found.left_crosswise else "windows",
        right="columns" if found.right_crosswise else "rows",
        dtype=dtype,
        a_lanes=vector_lanes(dtype, rows if found.left_crosswise else depth),
        b_lanes=vector_lanes(dtype, depth if found.right_crosswise else columns),
        c_lanes=vector_lanes(dtype, columns),
        slots=("operand0", "operand1", "", "", "result0"),
        out_pixel=columns,
        many=found.count,
        shape=shape,
        flops=found.flops,
    )


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "matrix_product": lambda problem: product_plan(problem, _described),
}
