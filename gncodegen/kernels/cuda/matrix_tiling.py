"""How a matrix product is cut into blocks, and its depth into segments, from an estimate of cycles.

A sum that keeps the bits of a batch slice is cut by its depth alone. Blocks may share the segments; the launch behind
adds them in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

from gncodegen.kernels.cuda.matrix_product import Product
from gncodegen.kernels.cuda.matrix_tile import PRODUCTS, BlockTile, tiles
from gncodegen.kernels.schedule import ITEM_SIZE, Machine

LONGEST_SUM = 1024
"""Products summed in one go; longer sums are sums of such sums, for accuracy."""

STEP_LATENCY = 600
"""Cycles from a load of global memory to the use of its value."""

MULTIPLY = 6
"""Cycles of a tensor core instruction."""


@dataclass(frozen=True)
class ProductTiling:
    """A tile, the products of a segment, their number, and the blocks that share them out."""

    tile: BlockTile
    segment: int
    segments: int
    shares: int


def math_of(product: Product, machine: Machine) -> str:
    """How the product is multiplied: as the machine is told, where its tensor cores can."""
    digits = machine.target.removeprefix("sm_")
    able = product.dtype == "float32" and digits.isdigit() and int(digits) >= 80
    return machine.math if able else "float32"


def stages(tile: BlockTile, product: Product, machine: Machine) -> int:
    """Stages of shared memory: two through registers; on tensor cores up to four, such that two blocks fit."""
    if not tile.tensor:
        return 2
    size = stage(tile, product) * ITEM_SIZE[product.dtype]
    return max(2, min(4, machine.l1 // 2 // size))


def stage(tile: BlockTile, product: Product) -> int:
    """Elements of one stage of shared memory."""
    return tile.size(tile.rows, product.left == "windows") + tile.size(tile.columns, product.right == "columns")


def _step_cycles(product: Product, tile: BlockTile) -> tuple[float, float]:
    """Cycles that a step of one warp keeps its quarter of a multiprocessor busy: issuing, and reading shared memory."""
    rows, columns = tile.thread
    wide = ITEM_SIZE[product.dtype] // 4
    copies = tile.depth * (tile.rows / product.a_lanes + tile.columns / product.b_lanes) / tile.threads
    if tile.tensor:
        values = tile.depth // 8 * (2 * rows + columns)
        products = tile.depth // PRODUCTS[tile.math] * rows * columns / 4 * MULTIPLY
        return products + 3 * values + copies * 10 + 40, values * 4
    issue = tile.depth * (rows * columns * wide + (rows + columns) / 4) + copies * (10 + product.a_lanes) + 30
    # A quarter of a multiprocessor gets 32 bytes of shared memory a cycle.
    return issue, 4 * wide * tile.depth * (rows + columns)


def cycles(product: Product, tiling: ProductTiling, machine: Machine) -> float:
    """Estimated cycles of the launches: the busiest multiprocessor's blocks, some at a time, then adding parts."""
    tile = tiling.tile
    blocks = product.tiles(tile) * tiling.shares
    wide = ITEM_SIZE[product.dtype] // 4
    memory = stages(tile, product, machine) * stage(tile, product) * ITEM_SIZE[product.dtype]
    room = (65536 // (tile.registers * wide * tile.threads), machine.threads // tile.threads, machine.l1 // memory)
    busiest = -(-blocks // max(machine.cores, 1))
    together = max(1, min(*room, busiest))
    issue, shared = _step_cycles(product, tile)
    warps = -(-together * tile.threads // 128)
    ahead = stages(tile, product, machine) - 1
    step = max(warps * max(issue, shared), issue + 150, STEP_LATENCY / ahead)
    segments = tiling.segments // tiling.shares
    steps = (-(-min(tiling.segment, product.depth) // tile.depth) + 1) * segments
    epilogue = 1500 + tile.thread[0] * tile.thread[1] * 4 * segments
    # Partial sums are written, read and written again at about 1500 bytes a cycle, after a launch of about 4000 cycles.
    moved = product.rows * product.columns * product.groups * tiling.shares * ITEM_SIZE[product.dtype]
    adding = 4000 + moved / 750 if tiling.shares > 1 else 0
    return -(-busiest // together) * (steps * step + epilogue) + adding


def _segments(depth: int, step: int) -> tuple[int, int]:
    """Products of a segment and number of segments, from the depth alone."""
    segments = max(1, -(-depth // LONGEST_SUM))
    segment = -(-depth // segments // step) * step if segments > 1 else max(depth, 1)
    return segment, max(1, -(-depth // segment))


def _parts(depth: int, parts: int, step: int) -> tuple[int, int]:
    """Products of a part and number of parts, near `parts` even ones."""
    segment = max(step, -(-depth // parts // step) * step)
    return segment, max(1, -(-depth // segment))


def _cuts(product: Product, machine: Machine, tile: BlockTile) -> list[ProductTiling]:
    if not product.free:
        segment, segments = _segments(product.depth, 32)
        if product.many:  # a block does all segments; where C lies in 16 bits, as one
            return [
                ProductTiling(tile, product.depth, 1, 1)
                if product.narrow
                else ProductTiling(tile, segment, segments, 1)
            ]
        shares = {segments} if product.narrow else {1, segments}
        return [ProductTiling(tile, segment, segments, each) for each in sorted(shares)]
    blocks = max(1, product.tiles(tile))
    fewest = max(1, -(-product.depth // (4 * LONGEST_SUM)))
    wanted = {fewest} | {max(fewest, -(-machine.cores * many // blocks)) for many in (1, 2, 3, 4)}
    tilings = {_parts(product.depth, parts, 32) for parts in wanted}
    return [ProductTiling(tile, segment, parts, parts) for segment, parts in sorted(tilings)]


def _fits(product: Product, tile: BlockTile, machine: Machine) -> bool:
    """Whether every thread has a part in copying, as asynchronous copies want, and two stages fit shared memory."""
    if not tile.tensor:
        return True
    memory = 2 * stage(tile, product) * ITEM_SIZE[product.dtype]
    a = tile.rows * tile.depth // product.a_lanes
    b = tile.columns * tile.depth // product.b_lanes
    return memory <= machine.l1 and min(a, b) >= tile.threads


def choose_tiling(product: Product, machine: Machine) -> ProductTiling:
    """The tiling of least estimated cycles."""
    every = tiles(product.dtype, math_of(product, machine))
    candidates = [tile for tile in every if _fits(product, tile, machine)]
    tilings = [tiling for tile in candidates for tiling in _cuts(product, machine, tile)]
    return min(tilings, key=lambda tiling: cycles(product, tiling, machine))
