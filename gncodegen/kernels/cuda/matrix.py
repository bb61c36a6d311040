"""CUDA plans of matrix products: the launch of the product, and that which adds the parts of a shared depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gncodegen.kernels.cuda.matrix_product import Product, stored_types
from gncodegen.kernels.cuda.matrix_tile import PRODUCTS, copying
from gncodegen.kernels.cuda.matrix_tiling import ProductTiling, choose_tiling, stage, stages
from gncodegen.kernels.cuda.partial_sums import partial_sums
from gncodegen.kernels.epilogue import residual_in_place
from gncodegen.kernels.launches import row_size
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Order, Plan, Problem, Schedule, Tensor


def product_plan(problem: Problem, describe: Callable[[Problem], Product]) -> Plan:
    """The launches of a product: the product, and the sum of its parts where blocks share out the depth.

    The tile is that of the problem's model, and so is the cut of a depth that has nothing to do with observations. A
    depth of observations is cut as is best for as many, whatever the tile, so that no bit depends on the model.
    """
    machine = problem.machine
    product, model = _described(problem, describe), _described(problem.modelled, describe)
    if _without_observations(product) != _without_observations(model):
        model = product
    tiling = choose_tiling(model, machine)
    if product.free and product != model:
        tiling = replace(choose_tiling(product, machine), tile=tiling.tile)
    a, b, bias, residual, c = product.slots
    single = tiling.shares == 1
    stored = _stored(problem, product)
    workspaces = [] if single else [Tensor((tiling.shares, stored.count), product.dtype)]
    outputs = [c if single else "workspace0"]
    if product.sums:
        outputs.append(product.total if single else "workspace1")
        workspaces += [] if single else [Tensor((tiling.shares, _summed(product)), product.dtype)]
    added = tuple(filter(None, (bias, residual)))
    slots = (a, b, *(added if single else ()), *outputs)
    moved = sum(tensor.bytes for tensor in (*problem.operands, *(workspaces or problem.results)))
    writes = tuple(range(len(slots) - len(outputs), len(slots)))
    grid = product.tiles(tiling.tile) * tiling.shares if stored.count else 0
    numbers = _numbers(product, tiling, stored)
    schedule = _schedule(problem, product, tiling, stored.count, tuple(numbers))
    order = _order(product, tiling, stored) if not product.free and stored.count else ()
    values = tuple(numbers.values())
    main = Launch(schedule, slots, grid, writes, moved, product.flops, order=order, numbers=values)
    in_place, adds = residual_in_place(product.epilogue), _adds(problem, product, tiling, stored)
    if single:
        return Plan((main,), (), in_place, tuple(add.schedule for add in adds) if product.free else ())
    return Plan((main, *adds), tuple(workspaces), in_place)


def _adds(problem: Problem, product: Product, tiling: ProductTiling, stored: Tensor) -> list[Launch]:
    """The launches that add the parts of a shared depth; of a free one another number of observations may need them."""
    _, _, bias, residual, c = product.slots
    epilogue = {**product.epilogue, "columns": product.groups * product.columns}
    unit = 0 if product.free else row_size(stored)
    parts = Tensor((tiling.shares, stored.count), product.dtype)
    adds = [partial_sums(problem, parts, ("workspace0", bias, residual, c), epilogue, unit)]
    if product.sums:
        parts = Tensor((tiling.shares, _summed(product)), product.dtype)
        adds.append(partial_sums(problem, parts, ("workspace1", "", "", product.total)))
    return adds


def _summed(product: Product) -> int:
    """Values of the sums of A's rows or B's columns."""
    return product.groups * (product.rows if product.sums == "left" else product.columns)


def _numbers(product: Product, tiling: ProductTiling, stored: Tensor) -> dict[str, int]:
    """What the kernel reads at run time; of many matrices the grid alone says how many there are."""
    if product.many:
        return {}
    if product.free:
        return {"depth": product.depth, "segment": tiling.segment}
    return {"rows": product.rows} | ({} if tiling.shares == 1 else {"product": stored.count})


def _order(product: Product, tiling: ProductTiling, stored: Tensor) -> Order:
    """How blocks follow observations, which are among the matrices where there are many, else among the rows."""
    if product.many:
        return Order(1, product.many // stored.shape[0], product.tiles(tiling.tile) // product.many)
    tile, repeats = tiling.tile, product.groups * product.phases * tiling.shares
    return Order(tile.rows, product.rows // stored.shape[0], -(-product.columns // tile.columns), repeats)


def _described(problem: Problem, describe: Callable[[Problem], Product]) -> Product:
    product = describe(problem)
    return replace(product, narrow=bool(stored_types(problem, c=product.slots[-1])))


def _without_observations(product: Product) -> Product:
    """The product, for a comparison of what kernels are specialised for."""
    if product.many:
        return replace(product, many=0, flops=0)
    return replace(product, depth=0, flops=0) if product.free else replace(product, rows=0, flops=0)


def _stored(problem: Problem, product: Product) -> Tensor:
    """The result that holds C."""
    return problem.results[int(product.slots[-1].removeprefix("result"))]


def _stored_types(problem: Problem, product: Product, shared: bool) -> dict[str, Constant]:
    """Of the arguments of the product's kernel, which writes parts in the type of sums where blocks share the depth."""
    a, b, _, residual, c = product.slots
    return stored_types(problem, a=a, b=b, **({} if shared else {"residual": residual, "c": c}))


def _schedule(
    problem: Problem, product: Product, tiling: ProductTiling, stored: int, numbers: tuple[str, ...]
) -> Schedule:
    tile = tiling.tile
    # A block of a free depth always does one segment: into its part, or into the result where that is the only one.
    shared = product.free or tiling.shares > 1
    left, right = product.left == "windows", product.right == "columns"
    stage_count, stage_size = stages(tile, product, problem.machine), stage(tile, product)
    shape: dict[str, Constant] = {
        "rows": product.rows,
        "columns": product.columns,
        "depth": product.depth,
        **({"product": stored} if shared else {}),
        "groups": product.groups,
        "phases": product.phases,
        "left": product.left,
        "right": product.right,
        "out_pixel": product.out_pixel,
        "sums": product.sums,
        **({"many": True} if product.many else {}),
        **product.shape,
        **product.epilogue,
        **_stored_types(problem, product, shared),
    }
    together = product.c_lanes >= tile.groups[1]
    c_lanes = min(product.c_lanes, tile.groups[1])
    tiles: dict[str, Constant] = {
        "threads": tile.threads,
        "tile_rows": tile.rows,
        "tile_columns": tile.columns,
        "tile_depth": tile.depth,
        "thread_rows": tile.thread[0],
        "thread_columns": tile.thread[1],
        "row_group": tile.groups[0],
        "column_group": tile.groups[1],
        "lane_rows": tile.lanes[0],
        "lane_columns": tile.lanes[1],
        "warp_columns": tile.warps[1],
        "column_tiles": -(-product.columns // tile.columns),
        "shared": shared,
        "segment": tiling.segment,
        "segments": 1 if shared else tiling.segments,
        "math": tile.math,
        "tensor": tile.tensor,
        "products": PRODUCTS[tile.math],
        "stages": stage_count,
        "stage": stage_size,
        "memory": stage_count * stage_size,
        "a_line": tile.line(tile.rows, left),
        "b_line": tile.line(tile.columns, right),
        "a_tile": tile.size(tile.rows, left),
        **copying("a", tile, product.a_lanes, left, product.sums == "left"),
        **copying("b", tile, product.b_lanes, right, product.sums == "right"),
        "c_lanes": c_lanes,
        "c_width": tile.thread[1] if together else tile.groups[1],
        "c_step": tile.groups[1] * tile.lanes[1] if together else c_lanes,
    }
    if tile.tensor:
        tiles["dynamic_shared"] = stage_count * stage_size * ITEM_SIZE[product.dtype]
    shape, tiles = ({name: each[name] for name in each if name not in numbers} for each in (shape, tiles))
    return problem.schedule("matrix_product", product.dtype, shape, tiles, numbers)
