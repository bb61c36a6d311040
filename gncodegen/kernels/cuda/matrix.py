"""CUDA plans of matrix products C = A·B: which tiles, how a block's threads copy them, and how the depth is cut.

Every sum of a product that keeps the bits of a batch slice is cut into segments by its depth alone; blocks may share
the segments out, and add them in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import gcd

from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Machine, Plan, Problem, Schedule, Tensor

LONGEST_SUM = 1024
"""Products summed in one go; longer sums are sums of such sums, for accuracy."""

STEP_LATENCY = 600
"""Cycles from a load of global memory to the use of its value."""

SUM_THREADS = 256
"""Threads of a block that adds partial sums."""


@dataclass(frozen=True)
class Tile:
    """A block's tile: a thread's rows × columns, a warp's threads as rows × columns, warps as rows × columns.

    Args:
        thread, lanes, warps: (rows, columns) each.
        depth: products of a step.
    """

    thread: tuple[int, int]
    lanes: tuple[int, int]
    warps: tuple[int, int]
    depth: int

    @property
    def rows(self) -> int:
        """Rows of C of a block."""
        return self.thread[0] * self.lanes[0] * self.warps[0]

    @property
    def columns(self) -> int:
        """Columns of C of a block."""
        return self.thread[1] * self.lanes[1] * self.warps[1]

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * self.warps[0] * self.warps[1]

    def stage(self, dtype: str) -> int:
        """Bytes of one stage of shared memory."""
        return self.depth * (self.rows + self.columns + 8) * ITEM_SIZE[dtype]


TILES = (
    Tile((8, 8), (4, 8), (4, 2), 16),  # 128 × 128
    Tile((8, 8), (4, 8), (4, 1), 8),  # 128 × 64
    Tile((8, 8), (4, 8), (2, 2), 8),  # 64 × 128
    Tile((8, 4), (4, 8), (2, 2), 16),  # 64 × 64
    Tile((8, 4), (4, 8), (4, 1), 16),  # 128 × 32
    Tile((4, 4), (4, 8), (2, 2), 16),  # 32 × 64
    Tile((4, 4), (4, 8), (4, 1), 16),  # 64 × 32
    Tile((4, 4), (4, 8), (2, 1), 16),  # 32 × 32
    Tile((8, 4), (8, 4), (2, 1), 16),  # 128 × 16
    Tile((4, 4), (8, 4), (2, 1), 16),  # 64 × 16
    Tile((4, 4), (16, 2), (2, 1), 16),  # 128 × 8
)
"""Tiles of float32."""

DOUBLE_TILES = tuple(tile for tile in TILES if tile.thread == (4, 4))
"""Tiles of float64, which takes two registers a value."""


@dataclass(frozen=True)
class Product:
    """C (rows × columns) = A·B per group and phase.

    Args:
        rows, columns, depth: extents; depth is that of the phase with the most products.
        left: how A lies: "windows", "pixels" or "rows"; see templates/cuda/matrix_product.py.jinja.
        right: how B lies: "rows" or "columns".
        dtype: element type.
        a_lanes, b_lanes, c_lanes: values of one access.
        slots: arguments for A, B, the bias ("" = none) and C.
        total: argument for the sums of A's rows or B's columns, "" = none; `sums` says which: "left" or "right".
        groups, phases: independent products in one launch.
        out_pixel: values from row to row of C.
        free: whether the depth is cut as the machine likes; else by the depth alone, so that a batch slice has the
            same bits.
        shape: what else the template wants to know.
        epilogue: constants of bias and activation.
        flops: of all products.
    """

    rows: int
    columns: int
    depth: int
    left: str
    right: str
    dtype: str
    a_lanes: int
    b_lanes: int
    c_lanes: int
    slots: tuple[str, str, str, str]
    out_pixel: int
    groups: int = 1
    phases: int = 1
    total: str = ""
    sums: str = ""
    free: bool = False
    shape: Mapping[str, Constant] = field(default_factory=dict[str, Constant])
    epilogue: Mapping[str, Constant] = field(default_factory=lambda: {"bias": False, "activation": "", "alpha": 0.0})
    flops: int = 0

    def tiles(self, tile: Tile) -> int:
        """Tiles of C."""
        return -(-self.rows // tile.rows) * -(-self.columns // tile.columns) * self.groups * self.phases


@dataclass(frozen=True)
class Cut:
    """How a product is cut: a tile, the products of a segment, their number, and the blocks that share them out."""

    tile: Tile
    segment: int
    segments: int
    shares: int


def vector_lanes(dtype: str, *extents: int) -> int:
    """Values of one access of up to 16 bytes whose every address is a multiple of its size."""
    return gcd(16 // ITEM_SIZE[dtype], *extents)


def _cycles(product: Product, cut: Cut, machine: Machine) -> float:
    """Estimated cycles of the launch: the busiest multiprocessor's blocks, some at a time."""
    tile = cut.tile
    blocks = product.tiles(tile) * cut.shares
    warps = tile.threads // 32
    registers = 1.3 * tile.thread[0] * tile.thread[1] + 45
    resident = max(1, min(int(65536 / (registers * tile.threads)), machine.threads // tile.threads or 1))
    busiest = -(-blocks // max(machine.cores, 1))
    together = min(resident, busiest)
    rows, columns = tile.thread
    copies = tile.depth * (tile.rows / product.a_lanes + tile.columns / product.b_lanes) / tile.threads
    spread = 4 if product.left == "windows" else 1
    issue = tile.depth * (rows * columns + (rows + columns) / 4 * 1.5) + copies * (12 + spread * product.a_lanes) + 30
    step = max(together * warps / 4 * issue, issue + 200, STEP_LATENCY)
    steps = -(-min(cut.segment, product.depth) // tile.depth) * (cut.segments // cut.shares) + 1
    epilogue = 1500 + rows * columns * 4 * (cut.segments // cut.shares)
    # Partial sums are written, read and written again at about 1500 bytes a cycle, after a launch of about 4000 cycles.
    moved = product.rows * product.columns * product.groups * cut.shares * ITEM_SIZE[product.dtype]
    adding = 4000 + moved / 750 if cut.shares > 1 else 0
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


def _cuts(product: Product, machine: Machine, tile: Tile) -> list[Cut]:
    if not product.free:
        segment, segments = _segments(product.depth, 32)
        return [Cut(tile, segment, segments, shares) for shares in sorted({1, segments})]
    blocks = max(1, product.tiles(tile))
    fewest = max(1, -(-product.depth // (4 * LONGEST_SUM)))
    wanted = {fewest} | {max(fewest, -(-machine.cores * many // blocks)) for many in (1, 2, 3, 4)}
    cuts = {_parts(product.depth, parts, 32) for parts in wanted}
    return [Cut(tile, segment, parts, parts) for segment, parts in sorted(cuts)]


def choose(product: Product, machine: Machine) -> Cut:
    """The cut of least estimated cycles."""
    tiles = TILES if product.dtype == "float32" else DOUBLE_TILES
    cuts = [cut for tile in tiles for cut in _cuts(product, machine, tile)]
    return min(cuts, key=lambda cut: _cycles(product, cut, machine))


def copying(name: str, width: int, depth: int, threads: int, lanes: int, along_depth: bool) -> dict[str, Constant]:
    """How the threads of a block copy a tile of width × depth; see the template.

    Args:
        name: "a" or "b".
        width: rows of A or columns of B.
        depth: products of a step.
        threads: of the block.
        lanes: values of one access.
        along_depth: whether memory runs along the depth; eight neighbouring products then go to one line of threads.
    """
    if along_depth:
        parts = 8 // lanes
        span = min(width, threads // parts)
        lines = threads // (parts * span)
        turn, turns = 8 * lines, max(1, depth // (8 * lines))
        idle = 8 * lines > depth
    else:
        parts = min(width // lanes, threads)
        span = parts * lanes
        turn = threads // parts
        turns = max(1, depth // turn)
        idle = turn > depth
    counts = {"parts": parts, "span": span, "passes": width // span, "turn": turn, "turns": turns, "lanes": lanes}
    return {f"{name}_{key}": value for key, value in (counts | {"idle": idle}).items()}


def product_plan(problem: Problem, product: Product, cut: Cut | None = None) -> Plan:
    """The launches of a product: the product, and the sum of its parts where blocks share out the depth."""
    machine = problem.machine
    cut = cut or choose(product, machine)
    a, b, bias, c = product.slots
    single = cut.shares == 1
    stored = _stored(problem, product)
    workspaces = [] if single else [Tensor((cut.shares, stored.count), product.dtype)]
    outputs = [c if single else "workspace0"]
    if product.sums:
        summed = product.groups * (product.rows if product.sums == "left" else product.columns)
        outputs.append(product.total if single else "workspace1")
        workspaces += [] if single else [Tensor((cut.shares, summed), product.dtype)]
    slots = (a, b, *((bias,) if bias and single else ()), *outputs)
    moved = sum(tensor.bytes for tensor in (*problem.operands, *(workspaces or problem.results)))
    writes = tuple(range(len(slots) - len(outputs), len(slots)))
    grid = product.tiles(cut.tile) * cut.shares if stored.count else 0
    schedule = _schedule(problem, product, cut, stored.count)
    main = Launch(schedule, slots, grid, writes, moved, product.flops)
    if single:
        return Plan((main,))
    epilogue = {**product.epilogue, "columns": product.groups * product.columns}
    adds = [_sums(problem, product, workspaces[0], "workspace0", bias, c, epilogue)]
    if product.sums:
        plain: dict[str, Constant] = {"bias": False, "activation": "", "alpha": 0.0, "columns": 1}
        adds.append(_sums(problem, product, workspaces[1], "workspace1", "", product.total, plain))
    return Plan((main, *adds), tuple(workspaces))


def _stored(problem: Problem, product: Product) -> Tensor:
    """The result that holds C."""
    return problem.results[int(product.slots[3].removeprefix("result"))]


def _schedule(problem: Problem, product: Product, cut: Cut, stored: int) -> Schedule:
    tile = cut.tile
    shape: dict[str, Constant] = {
        "rows": product.rows,
        "columns": product.columns,
        "depth": product.depth,
        "groups": product.groups,
        "phases": product.phases,
        "left": product.left,
        "right": product.right,
        "out_pixel": product.out_pixel,
        "product": stored,
        "sums": product.sums,
        **product.shape,
        **product.epilogue,
    }
    wide = product.c_lanes == 4
    tiles: dict[str, Constant] = {
        "threads": tile.threads,
        "tile_rows": tile.rows,
        "tile_columns": tile.columns,
        "tile_depth": tile.depth,
        "thread_rows": tile.thread[0],
        "thread_columns": tile.thread[1],
        "lane_rows": tile.lanes[0],
        "lane_columns": tile.lanes[1],
        "warp_columns": tile.warps[1],
        "row_tiles": -(-product.rows // tile.rows),
        "column_tiles": -(-product.columns // tile.columns),
        "segment": cut.segment,
        "segments": cut.segments,
        "shares": cut.shares,
        **copying("a", tile.rows, tile.depth, tile.threads, product.a_lanes, product.left == "windows"),
        **copying("b", tile.columns, tile.depth, tile.threads, product.b_lanes, product.right == "columns"),
        "c_lanes": product.c_lanes,
        "c_width": tile.thread[1] if wide else 4,
        "c_step": 4 * tile.lanes[1] if wide else product.c_lanes,
    }
    return Schedule(problem.op, "matrix_product", problem.machine.target, product.dtype, shape=shape, tiles=tiles)


def _sums(
    problem: Problem,
    product: Product,
    parts: Tensor,
    source: str,
    bias: str,
    result: str,
    epilogue: Mapping[str, Constant],
) -> Launch:
    """The launch that adds parts in order; many parts of a free product by several threads each."""
    number, count = parts.shape
    lanes = vector_lanes(product.dtype, count, int(epilogue["columns"]) if bias else 0)  # pyright: ignore[reportArgumentType]
    slices = 8 if product.free and number >= 16 else 1
    shape: dict[str, Constant] = {"count": count, "parts": number, **epilogue}
    tiles: dict[str, Constant] = {"threads": SUM_THREADS, "lanes": lanes, "slices": slices}
    schedule = Schedule(problem.op, "partial_sums", problem.machine.target, product.dtype, shape=shape, tiles=tiles)
    slots = (source, *((bias,) if bias else ()), result)
    grid = -(-count // (SUM_THREADS // slices * lanes))
    moved = parts.bytes + count * ITEM_SIZE[product.dtype]
    return Launch(schedule, slots, grid, (len(slots) - 1,), moved, parts.count)
