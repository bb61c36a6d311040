"""Plans of the fully connected layer: y = x·Wᵀ as dot products, both gradients as outer products, packed where large.

Every output is summed in an order that depends on the layer's size only, so a row keeps its bits in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cpu.bias import column_sums
from gncodegen.kernels.cpu.correlation import LONGEST_SUM
from gncodegen.kernels.cpu.register_tiles import even_parts, filled, fits, product_tile, step_cycles, vector_counts
from gncodegen.kernels.epilogue import added_slots, product_epilogue, residual_in_place
from gncodegen.kernels.schedule import (
    ENOUGH_TILES,
    ITEM_SIZE,
    Constant,
    Launch,
    Machine,
    Order,
    Plan,
    Problem,
    computed_in,
)

TILE_WORK = 1 << 18
"""Multiply-adds that make a tile of the grid worth its start."""


Size = tuple[int, int, int]
"""Rows and columns of a product, and the length of its sums."""


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
    weights, x = problem.operands[1], problem.modelled.operands[0]
    columns, depth = weights.shape
    rows, modelled = (each.results[0].count // columns for each in (problem, problem.modelled))
    lanes = problem.machine.lanes(x.dtype)
    row_shares, column_shares = _shares(modelled, columns, depth, 4)
    row_shares = _kept_in_l2(row_shares, modelled, x.bytes, problem.machine)
    tile_rows, tile_columns = _dot_tile(modelled, columns, row_shares, column_shares, problem.machine)
    # Where no tile moves back, the result may lie where the residual does.
    whole = filled(modelled, row_shares, tile_rows) and filled(columns, column_shares, tile_columns)
    tiles: dict[str, Constant] = {
        "lanes": lanes,
        "tile_rows": tile_rows,
        "tile_columns": tile_columns,
        "row_shares": row_shares,
        "column_shares": column_shares,
        "shared_rows": modelled,
        "piece": LONGEST_SUM * lanes if depth > LONGEST_SUM * lanes else 0,
        "whole": whole,
    }
    epilogue = product_epilogue(problem)
    shape: dict[str, Constant] = {
        "columns": columns, "depth": depth, "rest": depth % lanes, **epilogue,
    }  # fmt: skip
    schedule = problem.schedule("matmul_dot", x.dtype, shape=shape, tiles=tiles, numbers=("rows",))
    slots = ("operand0", "operand1", *added_slots(epilogue), "result0")
    moved = sum(tensor.bytes for tensor in (*problem.operands, *problem.results))
    grid = -(-rows * row_shares // max(1, modelled)) * column_shares
    order = Order(x.shape[0], row_shares, column_shares) if grid else ()
    flops = 2 * rows * columns * depth
    launch = Launch(schedule, slots, grid, (len(slots) - 1,), moved, flops, order=order, numbers=(rows,))
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
    problem: Problem, slots: tuple[str, str, str], size: Size, model: Size, a_row: int, a_step: int, *, summed: bool
) -> Launch:
    """The launch of c (rows × columns) = a (rows × depth) · b (depth × columns); a's rows and columns lie as told.

    `model` is the size in the problem's model, from which shares and register tiles follow. Observations are among the
    rows or, where they are `summed`, the depth.
    """
    rows, columns, depth = model
    dtype, machine = problem.operands[0].dtype, problem.machine
    lanes = min(machine.lanes(dtype), max(columns, 1))
    row_shares, column_shares = _shares(rows, columns, depth, 2 * lanes)
    item = ITEM_SIZE[computed_in(dtype)]
    large = depth * columns * item > machine.l1
    if large:
        row_shares = _kept_in_l2(row_shares, rows, rows * depth * item, machine)
    row_parts = even_parts(rows, row_shares)
    counts = vector_counts(min(columns, max(1, columns // lanes // column_shares) * lanes), machine, dtype)
    tile_rows, vectors = product_tile(row_parts, columns, depth, lanes, counts, machine)
    column_shares = max(1, min(column_shares, columns // (vectors * lanes)))
    if large and summed:  # a share's rows of a are packed for each share of columns
        column_shares = min(column_shares, -(-ENOUGH_TILES // row_shares))
    packed = large and min(row_parts) >= 4 * tile_rows and depth * vectors * lanes * item <= machine.l2 // 2
    packed = packed and (summed or a_row > 1)
    if packed and size[2] > depth:  # a panel of the model's is too short
        return _product(problem, slots, size, size, a_row, a_step, summed=summed)
    number = {"depth": size[2]} if summed else {"rows": size[0]}
    shape: dict[str, Constant] = {"columns": columns, "a_row": a_row, "a_step": a_step}
    shape |= {"summed": True, "rows": rows} if summed else {"summed": False, "depth": depth}
    tiles: dict[str, Constant] = {
        "lanes": lanes,
        "vectors": vectors,
        "tile_rows": tile_rows,
        "row_shares": row_shares,
        "column_shares": column_shares,
        "shared_rows": rows,
        "deepest": depth if packed else 0,
        "piece": LONGEST_SUM if summed or depth > LONGEST_SUM else 0,
        "packed": packed,
        "crosswise": packed and summed,
        "row_blocks": -(-max(row_parts) // tile_rows),
    }
    schedule = problem.schedule("matmul", dtype, shape=shape, tiles=tiles, numbers=number)
    moved = sum(tensor.bytes for tensor in (*problem.operands, problem.results[0]))
    grid = -(-size[0] * row_shares // max(1, rows)) * column_shares if size[0] * columns else 0
    numbers = tuple(number.values())
    return Launch(schedule, slots, grid, (2,), moved, 2 * size[0] * columns * size[2], numbers=numbers)


def fully_connected_input_gradient(problem: Problem) -> Plan:
    """The input gradient of y = x·Wᵀ: dx = dy·W."""
    outputs, inputs = problem.operands[1].shape
    size, model = ((each.operands[0].count // outputs, inputs, outputs) for each in (problem, problem.modelled))
    slots = ("operand0", "operand1", "result0")
    return Plan((_product(problem, slots, size, model, outputs, 1, summed=False),))


def fully_connected_weight_gradient(problem: Problem) -> Plan:
    """The weight gradient of y = x·Wᵀ + bias: dW = dyᵀ·x, and dbias, the sums of dy, where asked for."""
    outputs, inputs = problem.results[0].shape
    size, model = ((outputs, inputs, each.operands[1].count // outputs) for each in (problem, problem.modelled))
    product = _product(problem, ("operand1", "operand0", "result0"), size, model, 1, outputs, summed=True)
    if not problem.flag("bias"):
        return Plan((product,))
    launches, workspaces = column_sums(problem, "operand1", problem.operands[1], "result1", 0)
    return Plan((product, *launches), workspaces)


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "fully_connected": fully_connected,
    "fully_connected_input_gradient": fully_connected_input_gradient,
    "fully_connected_weight_gradient": fully_connected_weight_gradient,
}
