"""CUDA plans of kernels that treat every element alike: a block does a run of elements, a thread 16 bytes at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import gcd, lcm

from gncodegen.kernels import broadcast, elementwise
from gncodegen.kernels.broadcast import Broadcast
from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.schedule import Constant, Launch, Machine, Plan, Problem, Tensor

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
    """One launch over the elements of the first result; `more` names further arguments, `numbers` more constants."""
    y = problem.results[0]
    lanes = gcd(problem.machine.lanes(y.dtype), max(y.count, 1))
    unroll = unrolled(y.count // lanes, problem.machine)
    block = THREADS * unroll * lanes
    schedule = problem.schedule(
        template,
        y.dtype,
        shape={"count": y.count, **shape, **(numbers or {})},
        tiles={"threads": THREADS, "lanes": lanes, "unroll": unroll, "block": block},
    )
    launch = Launch(
        schedule,
        (*slots(problem), *more),
        grid=-(-y.count // block),
        writes=(len(problem.operands),),
        bytes=traffic(problem),
        flops=flops * y.count,
    )
    return Plan((launch,), in_place=in_place)


# ---- rows of columns ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Columns:
    """How a matrix is cut so that every thread keeps to its columns: a thread's vectors are whole rows apart.

    Args:
        rows: of `period` values.
        period: values of one row; several rows of the matrix where one is no whole number of vectors.
        lanes: values of one access.
        across: threads that share a row, or a chunk of one.
        chunks: of a row.
        down: rows that a block does at once.
    """

    rows: int
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


def columns(matrix: Tensor, width: int, machine: Machine) -> Columns:
    """The cut of `matrix` as rows of `width` values: the widest accesses that rows or groups of rows allow."""
    width, lanes = max(width, 1), machine.lanes(matrix.dtype)
    while matrix.count % lcm(width, lanes) or (width % lanes and lcm(width, lanes) > THREADS * lanes):
        lanes //= 2
    period = lcm(width, lanes)
    vectors = period // lanes
    chunks = -(-vectors // THREADS)
    across = -(-vectors // chunks)
    return Columns(matrix.count // period, period, lanes, across, chunks, max(1, THREADS // across))


def by_columns(problem: Problem, template: str, width: int, shape: Mapping[str, Constant], flops: int) -> Plan:
    """One launch over the first result as rows of `width` values that share what belongs to their column."""
    y = problem.results[0]
    cut = columns(y, width, problem.machine)
    unroll = unrolled(y.count // cut.lanes, problem.machine)
    tiles: dict[str, Constant] = {**cut.tiles, "unroll": unroll}
    constants: dict[str, Constant] = {"rows": cut.rows, "period": cut.period, "columns": width, **shape}
    schedule = problem.schedule(template, y.dtype, shape=constants, tiles=tiles)
    launch = Launch(
        schedule,
        slots(problem),
        grid=-(-cut.rows // (cut.down * unroll)) * cut.chunks,
        writes=(len(problem.operands),),
        bytes=traffic(problem),
        flops=flops * y.count,
    )
    return Plan((launch,), in_place=((0, 0),))


def _input_normalization(problem: Problem, gradient: bool) -> Plan:
    """Y = (x − shift) · factor + added, by the statistics of its column; dx = dy · factor."""
    shape: dict[str, Constant] = {"method": problem.text("method"), "gradient": gradient}
    return by_columns(problem, "input_normalization", problem.operands[1].count, shape, 1 if gradient else 3)


def by_rows(problem: Problem, walk: Broadcast, shape: Mapping[str, Constant], flops: int) -> Launch:
    """The launch over the rows of the result, whose operands repeat."""
    y = problem.results[0]
    lanes = gcd(problem.machine.lanes(y.dtype), max(walk.length, 1))
    vectors = y.count // lanes
    unroll = unrolled(vectors, problem.machine)
    schedule = problem.schedule(
        "elementwise",
        y.dtype,
        shape={"vectors": vectors, **walk.constants(), **shape},
        tiles={"threads": THREADS, "lanes": lanes, "unroll": unroll},
    )
    grid = -(-vectors // (THREADS * unroll))
    writes = (len(problem.operands),)
    return Launch(schedule, slots(problem), grid, writes, traffic(problem), flops * y.count)


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    **elementwise.plans(flat),
    **broadcast.plans(by_rows),
    "input_normalization": lambda problem: _input_normalization(problem, False),
    "input_normalization_gradient": lambda problem: _input_normalization(problem, True),
}
