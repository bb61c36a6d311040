"""How an observation is tiled for the normalization kernels, and in which waves tiles are launched.

An observation is ROWS rows of C channels. Vectors run across channels; where C is not a multiple of the vector length,
several rows make one step, so that every vector is full. The tree of sums depends on one observation's shape only, so a
batch slice keeps its bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import gcd, inf

from gncodegen.errors import CompileError
from gncodegen.kernels.epilogue import norm_epilogue
from gncodegen.kernels.normalization import over_batch, view
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Machine, Problem, Schedule

CHUNK = 16
"""Steps summed in the storage type before float64 takes over.

Longer float32 sums of squares are biased where a large mean has quantised the data: squares are 0 or 1 modulo 4 of the
last place, so that rounding them always cuts.
"""

CENTRE_STEPS = 4
"""Steps of a part whose mean its deviations are taken from: near enough for sums of squares that do not cancel."""

PART_BYTES = 128 << 10
"""About how much of an observation one part holds: enough work for a tile, and it stays in L2."""

WIDEST_STEP = 1 << 15
"""Values of one step whose statistics fit the stack of a tile."""


@dataclass(frozen=True)
class NormTiling:
    """How observations are cut: the constants that the templates name.

    Args:
        observations, rows, channels, groups: of x under `reduced`.
        repeat: rows of one step.
        steps: of an observation.
        tail: values of the rows that are left.
        parts: of an observation, even in steps.
        per_tile: observations of one tile, where a tile does whole ones.
        wave: observations of one round of launches, of a tile per part; 0 where a tile does whole observations.
        over_batch: whether the one observation is the rows of all, of which kernels read how many there are.
    """

    observations: int
    rows: int
    channels: int
    groups: int
    repeat: int
    steps: int
    tail: int
    parts: int
    per_tile: int
    wave: int
    over_batch: bool

    @property
    def width(self) -> int:
        """Values of one step."""
        return self.channels * self.repeat

    def columns(self, vector: int) -> int:
        """Values side by side whose statistics are summed apart: those of a step, fewer where all are of one group."""
        few = 4 * vector
        return few if self.groups == 1 and self.tail == 0 and self.width % few == 0 else self.width

    def shape(self, problem: Problem) -> dict[str, Constant]:
        """The constants of the problem."""
        count = self.rows * self.channels // self.groups
        rows: dict[str, Constant] = {} if self.over_batch else {"rows": self.rows, "count": float(count)}
        return {
            **rows,
            "channels": self.channels,
            "groups": self.groups,
            "group_channels": self.channels // self.groups,
            **norm_epilogue(problem),
        }

    def tiles(self, vector: int) -> dict[str, Constant]:
        """The constants of the blocking."""
        return {
            "vector": vector,
            "repeat": self.repeat,
            "width": self.width,
            **self.cuts,
            "chunk": CHUNK,
            "centre_steps": CENTRE_STEPS,
            "apply_steps": 1 if self.width > 4 * vector else 2048 // self.width,
            "per_tile": self.per_tile,
        }

    @property
    def cuts(self) -> dict[str, Constant]:
        """How an observation is cut, if that is constant, and whether rows may be left."""
        if self.over_batch:
            return {"tailed": self.repeat > 1}
        return {"steps": self.steps, "tail": self.tail, "parts": self.parts, "tailed": self.tail > 0}

    @property
    def numbers(self) -> dict[str, int]:
        """What kernels read at run time."""
        if self.over_batch:
            cuts = {"steps": self.steps, "tail": self.tail, "parts": self.parts}
            return {"rows": self.rows, "count": self.rows * self.channels // self.groups, **cuts}
        return {"observations": self.observations} if self.per_tile > 1 else {}


def tiling_of(problem: Problem, tensors: int) -> NormTiling:
    """Cut the observations: full vectors, parts of a fixed size, waves that fit the caches.

    Args:
        problem: a normalization; its first operand is x.
        tensors: as large as x that are met again after the statistics of an observation are known.

    Raises:
        CompileError: a row of x does not fit the stack of a tile.
    """
    observations, rows, channels, groups = view(problem)
    machine, dtype = problem.machine, problem.operands[0].dtype
    item, lanes = ITEM_SIZE[dtype], machine.lanes(dtype)
    over = over_batch(problem)
    repeat = _repeat(inf if over else rows, channels, lanes)
    if channels * repeat > WIDEST_STEP:
        raise CompileError(f"{problem.op}: {channels} channels; allowed: at most {WIDEST_STEP}; use fewer channels")
    steps = rows // repeat
    tail = (rows - steps * repeat) * channels
    parts = max(1, -(-steps // max(CHUNK, PART_BYTES // (channels * repeat * item))))
    observation_bytes = rows * channels * item
    per_tile = 1 if over else max(1, (32 << 10) // observation_bytes)
    modelled = view(problem.modelled)[0]
    wave = 0 if parts == 1 and not over else max(over, _wave(modelled, tensors * observation_bytes, machine))
    return NormTiling(observations, rows, channels, groups, repeat, steps, tail, parts, per_tile, wave, over)


def _repeat(rows: float, channels: int, lanes: int) -> int:
    """Rows of one step: of few channels so many that vectors are full; the same for any number of rows that is counted.

    Args:
        rows: of an observation; infinity where kernels count them.
        channels: of a row.
        lanes: of a vector.
    """
    repeat = lanes // gcd(channels, lanes)
    while channels * repeat < 4 * lanes and rows >= 16 * repeat:
        repeat *= 2
    return repeat if repeat <= rows and channels * repeat <= WIDEST_STEP else 1


def _wave(observations: int, touched: int, machine: Machine) -> int:
    """Observations of one wave, 0 where each has a core to itself; `touched` bytes of one are met again."""
    cache = machine.l3 // 4  # others use it too
    if observations >= 4 * machine.cores and touched * machine.cores <= cache:
        return 0
    return min(observations, max(1, cache // touched))


def scheduled(
    problem: Problem,
    tiling: NormTiling,
    template: str,
    phase: str = "",
    /,
    **more: Constant,
) -> Schedule:
    """The schedule of one kernel; `phase` tells apart those of one template."""
    dtype = problem.operands[0].dtype
    named: dict[str, Constant] = {"phase": phase} if phase else {}
    tiles = {**named, **tiling.tiles(problem.machine.lanes(dtype)), **more}
    if more.get("stream"):  # lines leave the core one by one, so they had better be neighbours
        tiles["apply_steps"] = 1
    return problem.schedule(template, dtype, shape=tiling.shape(problem), tiles=tiles, numbers=tiling.numbers)


def _aligned(problem: Problem) -> bool:
    """Whether every row of x begins at a multiple of a vector's size, as stores past the caches need."""
    x = problem.operands[0]
    return x.shape[-1] * ITEM_SIZE[x.dtype] % problem.machine.vector_bytes == 0


def _streams(problem: Problem, moved: int) -> bool:
    """Whether a result as large as x is written past the caches: they cannot keep it."""
    return _aligned(problem) and moved > problem.machine.l3 // 2


def ways(problem: Problem, tiling: NormTiling, moved: int) -> Iterator[tuple[NormTiling, bool]]:
    """(tiling, whether a result as large as x is written past the caches), best first; all have the same bits.

    Args:
        problem: a normalization.
        tiling: the tiling with the wave that the cost model likes best.
        moved: bytes of all that the kernels of the problem's model read and write.
    """
    machine, streams = problem.machine, _streams(problem, moved)
    yield tiling, streams
    if _aligned(problem) and moved > machine.l3 // 8:
        yield tiling, not streams
    if tiling.parts > 1:
        whole = () if tiling.over_batch else (0,)
        waves = dict.fromkeys(
            [tiling.wave, *whole, *(min(view(problem.modelled)[0], n * machine.cores) for n in (1, 4))]
        )
        yield from ((replace(tiling, wave=wave), streams) for wave in waves if wave != tiling.wave)


def launches_of(tiling: NormTiling, patterns: Sequence[Launch]) -> Iterator[Launch]:
    """The launches for each wave of observations; patterns are those for all of them, their grids those for one."""
    for first in range(0, tiling.observations, tiling.wave):
        count = min(tiling.wave, tiling.observations - first)
        for pattern in patterns:
            yield replace(
                pattern, grid=count * pattern.grid, first=first * pattern.grid, numbers=tuple(tiling.numbers.values()),
                bytes=pattern.bytes * count // tiling.observations, flops=pattern.flops * count // tiling.observations,
            )  # fmt: skip


def reading_of(problem: Problem, tiling: NormTiling, columns: int, moved: int) -> dict[str, Constant]:
    """How what is summed is read: `by_rows`, or by columns, with prefetches.

    In the order of memory where tensors come from there. Columns keep their sums in registers, but are read some lines
    apart, which no prefetcher follows: `line` is the values of a line, or 0 where an observation lies in L1.
    `prefetch_distance`, in values, is a chunk where that leaves room in L1, else 0, the next columns.
    """
    machine, dtype = problem.machine, problem.operands[0].dtype
    item, chunk = ITEM_SIZE[dtype], CHUNK * columns
    by_rows = _far(problem, moved) and columns > 4 * machine.lanes(dtype)
    rows = view(problem.modelled)[1]
    if by_rows or rows * tiling.channels * item <= machine.l1 // 2:
        return {"by_rows": by_rows, "line": 0, "prefetch_distance": 0}
    return {"by_rows": False, "line": 64 // item, "prefetch_distance": chunk if chunk * item <= machine.l1 // 4 else 0}


def _far(problem: Problem, moved: int) -> bool:
    """Whether tensors come from memory, where kernels read and write so many bytes in all."""
    return 3 * moved > 2 * problem.machine.l3
