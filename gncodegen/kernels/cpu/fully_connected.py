"""Plans of the fully connected layer: y = x·Wᵀ as dot products, both gradients as outer products, packed where large.

Every output is summed in an order that depends on the layer's size only, so a row keeps its bits in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cpu.bias import column_sums
from gncodegen.kernels.cpu.correlation import ENOUGH_TILES, LONGEST_SUM
from gncodegen.kernels.cpu.register_tiles import even_parts, filled, fits, step_cycles, vector_counts
from gncodegen.kernels.epilogue import added_slots, product_epilogue, residual_in_place
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Machine, Order, Plan, Problem

TILE_WORK = 1 << 18
"""Multiply-adds that make a tile of the grid worth its start."""


def _shares(rows: int, columns: int, depth: int, tile_columns: int) -> tuple[int, int]:
    """Shares of rows and of columns: columns first, because a share of columns reads its factor once."""
    wanted = max(1, min(ENOUGH_TILES, rows * columns * depth // TILE_WORK))
    column_shares = max(1, min(wanted, columns // tile_columns))
    row_shares = max(1, min(-(-wanted // column_shares), rows // 4))
    return row_shares, column_shares


def _kept_in_l2(row_shares: int, rows: int, size: int, machine: Machine) -> int:
    """At least so many shares of `rows`, `size` bytes in all, that one stays in L2: each block of columns reads it."""
    return max(row_shares, min(rows // 4, -(-size // (machine.l2 // 2))))


def fully_connected(problem: Problem) -> Plan:
    """The fully connected layer: y = activation(x·Wᵀ + bias + residual), x with its trailing axes flattened."""
    x, weights = problem.operands[:2]
    columns, depth = weights.shape
    rows = problem.results[0].count // columns
    lanes = problem.machine.lanes(x.dtype)
    row_shares, column_shares = _shares(rows, columns, depth, 4)
    row_shares = _kept_in_l2(row_shares, rows, x.bytes, problem.machine)
    tile_rows, tile_columns = _dot_tile(rows, columns, row_shares, column_shares, problem.machine)
    tiles: dict[str, Constant] = {
        "lanes": lanes,
        "tile_rows": tile_rows,
        "tile_columns": tile_columns,
        "row_shares": row_shares,
        "column_shares": column_shares,
        "piece": LONGEST_SUM * lanes if depth > LONGEST_SUM * lanes else 0,
    }
    epilogue = product_epilogue(problem)
    shape: dict[str, Constant] = {"rows": rows, "columns": columns, "depth": depth, "rest": depth % lanes, **epilogue}
    schedule = problem.schedule("matmul_dot", x.dtype, shape=shape, tiles=tiles)
    slots = ("operand0", "operand1", *added_slots(epilogue), "result0")
    moved = sum(tensor.bytes for tensor in (*problem.operands, *problem.results))
    grid = row_shares * column_shares if problem.results[0].count else 0
    whole = filled(rows, row_shares, tile_rows) and filled(columns, column_shares, tile_columns)
    order = Order(x.shape[0], row_shares, column_shares) if grid else ()
    launch = Launch(schedule, slots, grid, (len(slots) - 1,), moved, 2 * rows * columns * depth, order=order)
    return Plan((launch,), in_place=residual_in_place(epilogue, whole))


def _dot_tile(rows: int, columns: int, row_shares: int, column_shares: int, machine: Machine) -> tuple[int, int]:
    """Rows and columns of the register tile of dot products: the fewest cycles for all of them."""
    row_parts, column_parts = even_parts(rows, row_shares), even_parts(columns, column_shares)

    def cycles(tile: tuple[int, int]) -> float:
        down = sum(-(-part // tile[0]) for part in row_parts)
        across = sum(-(-part // tile[1]) for part in column_parts)
        return down * across * step_cycles(*tile, machine)

    sizes = (
        (tile_rows, tile_columns)
        for tile_rows in range(1, min(8, max(min(row_parts), 1)) + 1)
        for tile_columns in range(1, min(8, max(min(column_parts), 1)) + 1)
        if fits(tile_rows, tile_columns, machine)
    )
    return min(sizes, key=cycles)


def _product(
    problem: Problem, slots: tuple[str, str, str], size: tuple[int, int, int], a_row: int, a_step: int
) -> Launch:
    """The launch of c (rows × columns) = a (rows × depth) · b (depth × columns); a's rows and columns lie as told."""
    rows, columns, depth = size
    dtype, machine = problem.results[0].dtype, problem.machine
    lanes = min(machine.lanes(dtype), max(columns, 1))
    row_shares, column_shares = _shares(rows, columns, depth, 2 * lanes)
    item = ITEM_SIZE[dtype]
    large = depth * columns * item > machine.l1
    if large:
        row_shares = _kept_in_l2(row_shares, rows, rows * depth * item, machine)
    row_parts = even_parts(rows, row_shares)

    def cycles(tile: tuple[int, int]) -> float:
        down, across = sum(-(-part // tile[0]) for part in row_parts), -(-columns // (tile[1] * lanes))
        return down * across * (depth * step_cycles(*tile, machine) + 2 * tile[0] * tile[1])

    widest = max(1, columns // lanes // column_shares)
    sizes = (
        (tile_rows, vectors)
        for tile_rows in range(1, max(min(row_parts), 1) + 1)
        for vectors in vector_counts(min(columns, widest * lanes), machine, dtype)
        if fits(tile_rows, vectors, machine)
    )
    tile_rows, vectors = min(sizes, key=cycles)
    column_shares = max(1, min(column_shares, columns // (vectors * lanes)))
    if large and a_row == 1:  # a share's rows of a are packed for each share of columns
        column_shares = min(column_shares, -(-ENOUGH_TILES // row_shares))
    packed = large and min(row_parts) >= 4 * tile_rows and depth * vectors * lanes * item <= machine.l2 // 2
    shape: dict[str, Constant] = {"rows": rows, "columns": columns, "depth": depth, "a_row": a_row, "a_step": a_step}
    tiles: dict[str, Constant] = {
        "lanes": lanes,
        "vectors": vectors,
        "tile_rows": tile_rows,
        "row_shares": row_shares,
        "column_shares": column_shares,
        "piece": LONGEST_SUM if depth > LONGEST_SUM else 0,
        "packed": packed,
        "row_blocks": -(-max(row_parts) // tile_rows),
    }
    schedule = problem.schedule("matmul", dtype, shape=shape, tiles=tiles)
    moved = sum(tensor.bytes for tensor in (*problem.operands, problem.results[0]))
    grid = row_shares * column_shares if rows * columns else 0
    return Launch(schedule, slots, grid, (2,), moved, 2 * rows * columns * depth)


def fully_connected_input_gradient(problem: Problem) -> Plan:
    """The input gradient of y = x·Wᵀ: dx = dy·W."""
    outputs, inputs = problem.operands[1].shape
    size = (problem.operands[0].count // outputs, inputs, outputs)
    return Plan((_product(problem, ("operand0", "operand1", "result0"), size, outputs, 1),))


def fully_connected_weight_gradient(problem: Problem) -> Plan:
    """The weight gradient of y = x·Wᵀ + bias: dW = dyᵀ·x, and dbias, the sums of dy, where asked for."""
    outputs, inputs = problem.results[0].shape
    size = (outputs, inputs, problem.operands[1].count // outputs)
    product = _product(problem, ("operand1", "operand0", "result0"), size, 1, outputs)
    if not problem.flag("bias"):
        return Plan((product,))
    launches, workspaces = column_sums(problem, "operand1", problem.operands[1], "result1", 0)
    return Plan((product, *launches), workspaces)


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "fully_connected": fully_connected,
    "fully_connected_input_gradient": fully_connected_input_gradient,
    "fully_connected_weight_gradient": fully_connected_weight_gradient,
}
