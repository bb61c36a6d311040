"""CUDA plans of the bias along the last axis and its gradient: sums of columns in two levels, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cuda.elementwise import UNROLL, Columns, by_columns, columns
from gncodegen.kernels.launches import row_size
from gncodegen.kernels.schedule import Constant, Launch, Plan, Problem, Tensor, computed_in

CHUNK = 16
"""Steps of a thread summed in one go; longer sums are sums of such sums, for accuracy."""

LEAST_STEPS = 4
"""Least steps of a thread before the rows are cut into parts."""


def _bias(problem: Problem) -> Plan:
    """Y = x + bias along the last axis; y may take x's place."""
    shape: dict[str, Constant] = {"bias_dtype": problem.operands[1].dtype}
    return by_columns(problem, "bias", problem.operands[0].shape[-1], shape, 1)


def _bias_gradient(problem: Problem) -> Plan:
    """The sums of dy over all axes but the last."""
    matrix, sums = problem.operands[0], problem.results[0].dtype
    cut = columns(row_size(matrix), matrix.shape[-1], problem.machine.lanes(matrix.dtype))
    rows = matrix.count // cut.period
    parts = max(1, min(2 * problem.machine.cores // cut.chunks, rows // (cut.down * UNROLL * LEAST_STEPS)))
    steps = -(-rows // (parts * cut.down * UNROLL))
    parts = -(-rows // (steps * cut.down * UNROLL)) if parts > 1 else 1
    partial = Tensor((parts, matrix.shape[-1]), computed_in(matrix.dtype))
    cut_again = columns(row_size(partial), partial.shape[-1], problem.machine.lanes(partial.dtype))
    add = _part_sums(problem, partial, cut_again, 1, "workspace0", "result0", sums)
    if parts == 1:
        return Plan((_part_sums(problem, matrix, cut, 1, "operand0", "result0", sums),), others=(add.schedule,))
    first = _part_sums(problem, matrix, cut, parts, "operand0", "workspace0", partial.dtype)
    return Plan((first, add), (partial,))


def _part_sums(
    problem: Problem, matrix: Tensor, cut: Columns, parts: int, source: str, result: str, sums: str
) -> Launch:
    """The launch that adds the rows of each of `parts` parts of a matrix."""
    width, rows = matrix.shape[-1], matrix.count // cut.period
    schedule = problem.schedule(
        "column_sums",
        matrix.dtype,
        shape={"period": cut.period, "columns": width, "sums_dtype": sums},
        tiles={**cut.tiles, "unroll": UNROLL, "chunk": CHUNK},
        numbers=("rows", "steps"),
    )
    moved, grid = matrix.bytes + Tensor((parts, width), sums).bytes, parts * cut.chunks if width else 0
    numbers = rows, -(-rows // (parts * cut.down * UNROLL))
    return Launch(schedule, (source, result), grid, (1,), moved, matrix.count, numbers=numbers)


PLANS: Mapping[str, Callable[[Problem], Plan]] = {"bias": _bias, "bias_gradient": _bias_gradient}
