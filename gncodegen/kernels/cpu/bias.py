"""Plans of the bias along the last axis and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd

from gncodegen.kernels.schedule import Constant, Launch, Order, Plan, Problem, Tensor, computed_in

TILE_VALUES = 1 << 15
"""About how many values a tile reads."""

MOST_PARTS = 16
"""Most parts that a column of sums is cut into."""

CHUNK = 256
"""Rows summed in one go; longer sums are sums of such sums, for accuracy."""

WIDEST_FOLD = 256
"""Wider rows stand alone: their vectors are full anyway."""


def bias(problem: Problem) -> Plan:
    """Bias: y = x + bias along the last axis; y may take x's place."""
    x, model = problem.operands[0], problem.modelled.operands[0]
    columns = x.shape[-1]
    rows, modelled = (each.count // max(columns, 1) for each in (x, model))
    lanes = problem.machine.lanes(x.dtype)
    tiles = max(1, min(modelled, model.count // TILE_VALUES))
    blocking: dict[str, Constant] = {
        "fold": _fold(columns, lanes), "lanes": lanes, "tiles": tiles, "shared_rows": modelled
    }  # fmt: skip
    schedule = problem.schedule("bias", x.dtype, shape={"columns": columns}, tiles=blocking, numbers=("rows",))
    order = Order(max(1, model.shape[0]), tiles)
    launch = Launch(
        schedule, ("operand0", "operand1", "result0"), -(-rows * tiles // max(1, modelled)), (2,), 2 * x.bytes,
        x.count, order=order, numbers=(rows,),
    )  # fmt: skip
    return Plan((launch,), in_place=((0, 0),))


def bias_gradient(problem: Problem) -> Plan:
    """The bias gradient: the sums of dy over all axes but the last."""
    launches, workspaces = column_sums(problem, "operand0", problem.operands[0], "result0", 0)
    return Plan(launches, workspaces)


def column_sums(
    problem: Problem, source: str, matrix: Tensor, result: str, workspace: int
) -> tuple[tuple[Launch, ...], tuple[Tensor, ...]]:
    """The launches that sum `source` over all axes but the last, and the workspace they need, if any."""
    columns = matrix.shape[-1]
    rows = matrix.count // max(columns, 1)
    parts, sums = max(1, min(rows, MOST_PARTS, matrix.count // TILE_VALUES)), computed_in(matrix.dtype)
    if parts == 1 and sums == matrix.dtype:  # whose kernel adds parts, too
        return (row_sums(problem, matrix.dtype, rows, columns, 1, source, result),), ()
    buffer = f"workspace{workspace}"
    launches = (
        row_sums(problem, matrix.dtype, rows, columns, parts, source, buffer),
        row_sums(problem, sums, parts, columns, 1, buffer, result),
    )
    return launches, (Tensor((parts, columns), sums),)


def row_sums(problem: Problem, dtype: str, rows: int, columns: int, parts: int, source: str, result: str) -> Launch:
    """The launch that adds the rows of each of `parts` even parts of a matrix: `parts` rows of `columns` sums."""
    lanes = problem.machine.lanes(dtype)
    tiles: dict[str, Constant] = {"fold": _fold(columns, lanes), "lanes": lanes, "chunk": CHUNK}
    schedule = problem.schedule(
        "column_sums", dtype, shape={"columns": columns}, tiles=tiles, numbers=("rows", "parts")
    )
    moved = Tensor((rows + parts, columns), dtype).bytes
    return Launch(schedule, (source, result), parts, (1,), moved, rows * columns, numbers=(rows, parts))


def _fold(columns: int, lanes: int) -> int:
    """Rows that make a whole number of vectors."""
    return 1 if columns > WIDEST_FOLD or columns == 0 else lanes // gcd(columns, lanes)


PLANS: Mapping[str, Callable[[Problem], Plan]] = {"bias": bias, "bias_gradient": bias_gradient}
