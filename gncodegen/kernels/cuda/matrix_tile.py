"""Tiles of matrix products: what a block, a warp and a thread do, and how threads copy a tile to shared memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gncodegen.kernels.schedule import Constant

PRODUCTS = {"float32": 1, "tf32": 8, "bf16": 16}
"""Products of a sum that one instruction does."""


@dataclass(frozen=True)
class BlockTile:
    """A block's tile: a thread's rows × columns, a warp's threads as rows × columns, warps as rows × columns.

    Args:
        thread, lanes, warps: (rows, columns) each.
        depth: products of a step.
        math: "float32", or on tensor cores "tf32" or "bf16".
    """

    thread: tuple[int, int]
    lanes: tuple[int, int]
    warps: tuple[int, int]
    depth: int
    math: str = "float32"

    @property
    def tensor(self) -> bool:
        """Whether tensor cores multiply."""
        return self.math != "float32"

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

    @property
    def groups(self) -> tuple[int, int]:
        """Neighbouring rows, and columns, that a thread holds together."""
        if self.tensor:
            return 1, 2
        return (4 if self.thread[0] % 4 == 0 else 2), 4

    @property
    def registers(self) -> int:
        """Estimated registers of a thread: sums, fragments of two lines, what is on its way, addresses."""
        sums = self.thread[0] * self.thread[1]
        if self.tensor:
            return sums + 2 * (self.thread[0] + self.thread[1]) + 56
        return sums + 2 * sum(self.thread) + self.depth * (self.rows + self.columns) // self.threads + 48

    @property
    def sum_lines(self) -> int:
        """Lines of threads that add up what they copy: the same for every tile, so that the sums have the same bits."""
        return 16 if self.tensor else 8

    def line(self, extent: int, along_depth: bool) -> int:
        """Elements from line to line of a tile in shared memory, such that a warp's accesses meet all banks."""
        if not self.tensor:
            return extent + 4
        return self.depth + 4 if along_depth else extent + 8

    def size(self, extent: int, along_depth: bool) -> int:
        """Elements of a tile of `extent` rows of A or columns of B in shared memory."""
        return self.line(extent, along_depth) * (extent if self.tensor and along_depth else self.depth)


TILES = (
    BlockTile((8, 8), (4, 8), (4, 2), 8),  # 128 × 128
    BlockTile((12, 8), (4, 8), (2, 2), 8),  # 96 × 128
    BlockTile((12, 8), (4, 8), (4, 1), 8),  # 192 × 64
    BlockTile((8, 8), (4, 8), (4, 1), 8),  # 128 × 64
    BlockTile((8, 8), (4, 8), (2, 2), 8),  # 64 × 128
    BlockTile((6, 8), (4, 8), (4, 1), 16),  # 96 × 64
    BlockTile((6, 8), (4, 8), (2, 2), 16),  # 48 × 128
    BlockTile((8, 4), (4, 8), (2, 2), 16),  # 64 × 64
    BlockTile((8, 4), (4, 8), (4, 1), 16),  # 128 × 32
    BlockTile((4, 8), (4, 8), (2, 2), 16),  # 32 × 128
    BlockTile((4, 4), (4, 8), (2, 2), 16),  # 32 × 64
    BlockTile((4, 4), (4, 8), (4, 1), 16),  # 64 × 32
    BlockTile((4, 4), (4, 8), (2, 1), 16),  # 32 × 32
    BlockTile((8, 4), (8, 4), (2, 1), 16),  # 128 × 16
    BlockTile((4, 4), (8, 4), (2, 1), 16),  # 64 × 16
    BlockTile((4, 4), (16, 2), (2, 1), 16),  # 128 × 8
)
"""Tiles of float32: large ones read shared memory least, and rows of many sizes fill whole waves of blocks."""

DOUBLE_TILES = tuple(replace(tile, depth=8) for tile in TILES if tile.thread == (4, 4))
"""Tiles of float64, which takes two registers a value: fewer sums, and fewer values on their way."""

TENSOR_TILES = tuple(
    BlockTile(thread, (8, 4), warps, 32, math)
    for math in ("tf32", "bf16")
    for thread, warps in (
        ((8, 8), (2, 4)),  # 128 × 128
        ((8, 8), (2, 2)),  # 128 × 64
        ((8, 8), (1, 4)),  # 64 × 128
        ((4, 8), (2, 2)),  # 64 × 64
        ((4, 8), (4, 1)),  # 128 × 32
        ((4, 4), (2, 2)),  # 64 × 32
        ((4, 4), (1, 4)),  # 32 × 64
        ((2, 4), (2, 2)),  # 32 × 32
    )
)
"""Tiles of tensor cores: a thread's rows are 8 apart, its columns in pairs 8 apart."""


def tiles(dtype: str, math: str) -> tuple[BlockTile, ...]:
    """The tiles for values of a type under a way to multiply."""
    if dtype == "float64":
        return DOUBLE_TILES
    return TILES if math == "float32" else tuple(tile for tile in TENSOR_TILES if tile.math == math)


def copying(name: str, tile: BlockTile, lanes: int, along_depth: bool, summed: bool) -> dict[str, Constant]:
    """How the threads of a block copy their tile of A or B; see the template.

    Args:
        name: "a" or "b".
        tile: the tile of the block.
        lanes: values of one access.
        along_depth: whether memory runs along the depth; eight neighbouring products then go to one line of threads.
        summed: whether they also add up what they copy, over the depth.
    """
    width = tile.rows if name == "a" else tile.columns
    # The fewest accesses, then the longest lines of threads.
    best = min(
        _arrangements(width, tile, lanes, along_depth, tile.sum_lines if summed else 0),
        key=lambda found: (found["passes"] * found["turns"], found["passes"]),
    )
    return {f"{name}_{key}": value for key, value in (best | {"lanes": lanes}).items()}


def _arrangements(width: int, tile: BlockTile, lanes: int, along_depth: bool, wanted: int) -> Iterator[dict[str, int]]:
    """Every way to spread `width` over the threads in lines, `wanted` of them, or 0 = as many as there are threads for.

    The last `threads - active` have no part in it.
    """
    parts, line = (8 // lanes, 8) if along_depth else (1, 1)
    extent = width if along_depth else width // lanes
    for across in (count for count in range(1, extent + 1) if extent % count == 0):
        many = tile.threads // (across * parts)
        numbers = [n for n in range(1, many + 1) if tile.depth // line % n == 0 and wanted in (0, n)]
        if numbers:
            lines = max(numbers)
            yield {
                "parts": parts if along_depth else across,
                "span": across if along_depth else across * lanes,
                "passes": extent // across,
                "turn": lines * line,
                "turns": tile.depth // (lines * line),
                "active": across * parts * lines,
            }
