"""The register tile's size: rows × vectors accumulators, from what a core can multiply, load and hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from gncodegen.kernels.schedule import Constant, Machine

LINE = 64
"""Bytes of a line of the caches."""

MULTIPLIERS = 2
"""Vector multiply-adds a core starts per cycle."""

LOADS = 1.8
"""Vector loads and broadcasts a core starts per cycle; half as many of vectors as wide as a line of the caches.

Those often touch two lines, come from L2 one by one, and some CPUs start no more than one per cycle.
"""

LATENCY = 4.5
"""Cycles until a multiply-add's result can be added to again: 4, and what a late load adds now and then."""


PREFETCHED_ROWS = 12
"""Rows of packed weights by which prefetches are ahead: some 150 cycles, the latency of the cache behind L2."""

FROM_MEMORY = 32
"""Bytes of a vector from which a CPU's vector instructions read an operand from memory, as those of AVX do.

Arm's and SSE's want it in a register; three broadcasts are then on their way at once.
"""


def fits(rows: int, vectors: int, machine: Machine) -> bool:
    """Whether the accumulators, one row of the right operand and the broadcasts fit the registers."""
    broadcasts = 1 if machine.vector_bytes >= FROM_MEMORY else 3
    return rows * vectors + vectors + broadcasts <= machine.vector_registers


def step_cycles(rows: int, vectors: int, machine: Machine) -> float:
    """Cycles of one outer-product update: the slowest of multiplying, loading and waiting for the previous update."""
    loads = LOADS if machine.vector_bytes < LINE else LOADS / 2
    return max(rows * vectors / MULTIPLIERS, (rows + vectors) / loads, LATENCY)


def product_tile(
    row_parts: Sequence[int], columns: int, depth: int, lanes: int, vectors: Iterable[int], machine: Machine
) -> tuple[int, int]:
    """Rows and vectors of the register tile that takes a product the least estimated cycles.

    Args:
        row_parts: rows of each part that the result is cut into.
        columns: of the result.
        depth: products of one value of it.
        lanes: of a vector.
        vectors: numbers of them to choose from.
        machine: with the registers.
    """

    def cycles(tile: tuple[int, int]) -> float:
        down, across = sum(-(-part // tile[0]) for part in row_parts), -(-columns // (tile[1] * lanes))
        return down * across * (depth * step_cycles(*tile, machine) + 2 * tile[0] * tile[1])

    sizes = product(range(1, max(min(row_parts), 1) + 1), vectors)
    return min((tile for tile in sizes if fits(*tile, machine)), key=cycles)


def prefetching(width: int, item: int, stays: bool) -> dict[str, Constant]:
    """The constants of prefetches of packed weights, in values; none where the weights stay in a cache near enough.

    Args:
        width: weights of a row.
        item: bytes of a weight.
        stays: whether they do.
    """
    return {"prefetch_distance": 0 if stays else PREFETCHED_ROWS * width, "line": LINE // item}


def row_counts(vectors: int, machine: Machine) -> list[int]:
    """The numbers of rows of so many vectors that fit the registers."""
    return [rows for rows in range(1, machine.vector_registers) if fits(rows, vectors, machine)]


def most_vectors(machine: Machine) -> int:
    """Vectors of a row up to which enough rows fit the registers: 2 of 16, 4 of 32."""
    return max(1, machine.vector_registers // 8)


def block_vectors(width: int, machine: Machine, dtype: str, enough: int = 1) -> int:
    """The vectors of the blocks that `width` values are cut into: the least estimated cycles, then the widest.

    Args:
        width: values of a row.
        machine: with the registers.
        dtype: of the values.
        enough: blocks that there should be, or as many as blocks of two vectors make.
    """
    whole = -(-width // machine.lanes(dtype))

    def cycles(vectors: int) -> float:
        rows = row_counts(vectors, machine)
        return -(-whole // vectors) * min(step_cycles(count, vectors, machine) / count for count in rows)

    counts = range(min(2, whole), min(most_vectors(machine), whole) + 1)
    wanted = [vectors for vectors in counts if -(-whole // vectors) >= enough] or counts[:1]
    return min(wanted, key=lambda vectors: (cycles(vectors), -vectors))


def vector_counts(width: int, machine: Machine, dtype: str, limit: int = 4) -> Iterator[int]:
    """The numbers of vectors worth trying for rows of `width` values."""
    return iter(range(1, min(limit, -(-width // machine.lanes(dtype))) + 1))


def even_parts(extent: int, parts: int) -> tuple[int, ...]:
    """The sizes of `parts` even parts of `extent`: part i starts at extent·i // parts."""
    return tuple(extent * (i + 1) // parts - extent * i // parts for i in range(parts))


def filled(extent: int, parts: int, tile: int) -> bool:
    """Whether tiles of so many values fill each even part, so that none moves back over values that are done."""
    return not any(part % tile for part in even_parts(extent, parts))
