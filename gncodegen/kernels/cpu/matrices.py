"""The plan of products of two arrays: a tile does a share of some products, in register tiles of rows × vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cpu.correlation import LONGEST_SUM
from gncodegen.kernels.cpu.register_tiles import even_parts, product_tile, vector_counts
from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.matrix_product import matrices
from gncodegen.kernels.schedule import (
    ENOUGH_TILES,
    ITEM_SIZE,
    STACK_BYTES,
    Constant,
    Launch,
    Order,
    Plan,
    Problem,
    computed_in,
)

TILE_WORK = 1 << 17
"""Multiply-adds that make a tile of the grid worth its start."""


def _matrix_product(problem: Problem) -> Plan:
    """C = A·B for many matrices, each of A and B either way round."""
    found, model = matrices(problem), matrices(problem.modelled)
    dtype, machine = problem.operands[0].dtype, problem.machine
    rows, columns, depth = found.rows, found.columns, found.depth
    lanes = machine.lanes(dtype)
    while lanes > columns:
        lanes //= 2
    together = max(1, min(TILE_WORK // max(1, rows * columns * depth), -(-model.count // ENOUGH_TILES)))
    row_shares = max(1, min(-(-ENOUGH_TILES // max(1, model.count)), rows * columns * depth // TILE_WORK, rows // 4))
    row_parts = even_parts(rows, row_shares)
    counts = [n for n in vector_counts(columns // lanes * lanes, machine, dtype) if n * lanes <= columns]
    tile_rows, vectors = product_tile(row_parts, columns, depth, lanes, counts, machine)
    width, item = vectors * lanes, ITEM_SIZE[computed_in(dtype)]
    # A block of B's columns is copied where it lies crosswise, or where lines of B would share few sets of the cache.
    large = depth * columns * item > machine.l1 and min(row_parts) >= 4 * tile_rows
    packed = (large or found.right_crosswise) and depth * width * item <= STACK_BYTES // 2
    tiles: dict[str, Constant] = {
        "lanes": lanes,
        "vectors": vectors,
        "tile_rows": tile_rows,
        "row_shares": row_shares,
        "together": together,
        "packed": packed,
        "piece": LONGEST_SUM if depth > LONGEST_SUM else 0,
    }
    shape: dict[str, Constant] = {
        "rows": rows,
        "columns": columns,
        "depth": depth,
        "left_row": 1 if found.left_crosswise else depth,
        "left_step": rows if found.left_crosswise else 1,
        "crosswise": found.right_crosswise,
        "inner": found.inner,
        "left_steps": found.left_steps,
        "right_steps": found.right_steps,
    }
    schedule = problem.schedule("matrix_product", dtype, shape, tiles, ("products",))
    units = -(-found.count // together)
    order = Order(together, found.count // problem.results[0].shape[0], row_shares) if problem.results[0].count else ()
    launch = Launch(
        schedule, slots(problem), units * row_shares if order else 0, (2,), traffic(problem), found.flops,
        order=order, numbers=(found.count,),
    )  # fmt: skip
    return Plan((launch,))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {"matrix_product": _matrix_product}
