"""CUDA plans of kernels that treat every element alike: a block does a run of elements, a thread 16 bytes at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import gcd, lcm

from gncodegen.kernels import broadcast, elementwise
from gncodegen.kernels.broadcast import Broadcast
from gncodegen.kernels.launches import by_elements, row_size, slots, traffic
from gncodegen.kernels.schedule import Constant, Launch, Machine, Order, Plan, Problem

THREADS = 256
"""Threads of a block."""

UNROLL = 4
"""Vectors of one thread: independent loads that hide the latency of memory."""


def unrolled(vectors: int, machine: Machine) -> int:
    """Vectors of one thread: as many as leave every multiprocessor two blocks, up to UNROLL."""
    return next((n for n in (UNROLL, UNROLL // 2) if vectors >= 2 * machine.cores * THREADS * n), 1)


def flat(
    problem: Problem,
    template: str,
    shape: Mapping[str, Constant],
    flops: int,
    in_place: tuple[tuple[int, int], ...],
    *more: str,
    numbers: Mapping[str, int] | None = None,
) -> Plan:
    """One launch over the elements of the first result; `numbers` as Schedule.numbers, with their values."""
    y = problem.results[0]
    lanes = gcd(problem.machine.lanes(y.dtype), row_size(y))
    unroll = unrolled(problem.modelled.results[0].count // lanes, problem.machine)
    tiles: dict[str, Constant] = {
        "threads": THREADS,
        "lanes": lanes,
        "unroll": unroll,
        "block": THREADS * unroll * lanes,
    }
    return by_elements(problem, template, shape, tiles, flops, in_place, more, numbers)


# ---- rows of columns ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Columns:
    """How a matrix is cut so that every thread keeps to its columns: a thread's vectors are whole rows apart.

    Args:
        period: values of one row; several rows of the matrix where one is no whole number of vectors.
        lanes: values of one access.
        across: threads that share a row, or a chunk of one.
        chunks: of a row.
        down: rows that a block does at once.
    """

    period: int
    lanes: int
    across: int
    chunks: int
    down: int

    @property
    def tiles(self) -> dict[str, Constant]:
        """The constants of the blocking."""
        return {
            "threads": self.across * self.down,
            "lanes": self.lanes,
            "across": self.across,
            "chunks": self.chunks,
            "down": self.down,
        }


def columns(size: int, width: int, lanes: int) -> Columns:
    """The cut of a matrix as rows of `width` values: the widest accesses that rows or groups of rows allow.

    `size` are the values that rows of each period are a part of, such as those of an observation; `lanes` the most.
    """
    width = max(width, 1)
    while size % lcm(width, lanes) or (width % lanes and lcm(width, lanes) > THREADS * lanes):
        lanes //= 2
    period = lcm(width, lanes)
    vectors = period // lanes
    chunks = -(-vectors // THREADS)
    across = -(-vectors // chunks)
    return Columns(period, lanes, across, chunks, max(1, THREADS // across))


def by_columns(
    problem: Problem, template: str, width: int, shape: Mapping[str, Constant], flops: int, single: bool = False
) -> Plan:
    """One launch over the first result as rows of `width` values that share what belongs to their column.

    `single`: no access holds values of two rows.
    """
    y = problem.results[0]
    lanes = problem.machine.lanes(y.dtype)
    cut = columns(row_size(y), width, gcd(lanes, width) if single else lanes)
    unroll = unrolled(problem.modelled.results[0].count // cut.lanes, problem.machine)
    rows, height = y.count // cut.period, cut.down * unroll
    tiles: dict[str, Constant] = {**cut.tiles, "unroll": unroll}
    constants: dict[str, Constant] = {"period": cut.period, "columns": width, **shape}
    schedule = problem.schedule(template, y.dtype, shape=constants, tiles=tiles, numbers=("rows",))
    launch = Launch(
        schedule,
        slots(problem),
        grid=-(-rows // height) * cut.chunks,
        writes=(len(problem.operands),),
        bytes=traffic(problem),
        flops=flops * y.count,
        order=Order(height, row_size(y) // cut.period, cut.chunks),
        numbers=(rows,),
    )
    return Plan((launch,), in_place=((0, 0),))


def _input_normalization(problem: Problem, gradient: bool) -> Plan:
    """Y = (x − shift) · factor + added, by the statistics of its column; dx = dy · factor."""
    shape: dict[str, Constant] = {"method": problem.text("method"), "gradient": gradient}
    return by_columns(problem, "input_normalization", problem.operands[1].count, shape, 1 if gradient else 3)


def by_rows(problem: Problem, walk: Broadcast, shape: Mapping[str, Constant], flops: int) -> Launch:
    """The launch over the rows of the result, whose operands repeat."""
    y, model = problem.results[0], problem.modelled
    walk = broadcast.modelled(problem, walk)
    single = walk.rows == 1
    lanes = gcd(problem.machine.lanes(y.dtype), row_size(y) if single else max(walk.length, 1))
    vectors = y.count // lanes
    unroll = unrolled(model.results[0].count // lanes, problem.machine)
    schedule = problem.schedule(
        "elementwise",
        y.dtype,
        shape={**walk.inner(), **shape},
        tiles={"threads": THREADS, "lanes": lanes, "unroll": unroll},
        numbers=("vectors",),
    )
    block, writes = THREADS * unroll, (len(problem.operands),)
    return Launch(
        schedule, slots(problem), -(-vectors // block), writes, traffic(problem), flops * y.count,
        order=Order(block, max(1, row_size(y) // lanes)), numbers=(vectors,),
    )  # fmt: skip


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    **elementwise.plans(flat),
    **broadcast.plans(by_rows),
    "input_normalization": lambda problem: _input_normalization(problem, False),
    "input_normalization_gradient": lambda problem: _input_normalization(problem, True),
}
