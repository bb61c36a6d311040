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
    launches, workspaces = column_sums(problem, "operand0", problem.operands[0], "result0", 0, problem.results[0].dtype)
    return Plan(launches, workspaces)


def column_sums(
    problem: Problem, source: str, matrix: Tensor, result: str, workspace: int, of: str = ""
) -> tuple[tuple[Launch, ...], tuple[Tensor, ...]]:
    """The launches that sum a matrix over all axes but the last, and the workspace they need, if any.

    Args:
        problem: says op and machine.
        source: the argument that is summed.
        matrix: its shape and dtype.
        result: the argument that takes the sums.
        workspace: number of the first workspace that is free.
        of: dtype of the sums, that of the matrix if "".
    """
    sums, lanes = of or matrix.dtype, problem.machine.lanes(matrix.dtype)
    cut = columns(row_size(matrix), matrix.shape[-1], lanes)
    rows = matrix.count // cut.period
    parts = max(1, min(2 * problem.machine.cores // cut.chunks, rows // (cut.down * UNROLL * LEAST_STEPS)))
    if parts == 1:
        return (_part_sums(problem, matrix, cut, 1, source, result, sums),), ()
    steps = -(-rows // (parts * cut.down * UNROLL))
    parts = -(-rows // (steps * cut.down * UNROLL))
    partial = Tensor((parts, matrix.shape[-1]), computed_in(matrix.dtype))
    buffer = f"workspace{workspace}"
    cut_again = columns(row_size(partial), partial.shape[-1], problem.machine.lanes(partial.dtype))
    launches = (
        _part_sums(problem, matrix, cut, parts, source, buffer, partial.dtype),
        _part_sums(problem, partial, cut_again, 1, buffer, result, sums),
    )
    return launches, (partial,)


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
