"""Plans of the normalization kernels: how an observation is tiled, and which launches share the work.

An observation is ROWS rows of C channels. Vectors run across channels; where C is not a multiple of the vector length,
several rows make one step, so that every vector is full. The tree of sums depends on one observation's shape only, so a
batch slice keeps its bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd

from gncodegen.errors import CompileError
from gncodegen.kernels.epilogue import norm_epilogue
from gncodegen.kernels.normalization import view
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Machine, Plan, Plans, Problem, Schedule, Tensor

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
        return {
            "rows": self.rows,
            "channels": self.channels,
            "groups": self.groups,
            "group_channels": self.channels // self.groups,
            "count": float(self.rows * self.channels // self.groups),
            **norm_epilogue(problem),
        }

    def tiles(self, phase: str, vector: int) -> dict[str, Constant]:
        """The constants of the blocking."""
        tiles: dict[str, Constant] = {
            "phase": phase,
            "vector": vector,
            "repeat": self.repeat,
            "width": self.width,
            "steps": self.steps,
            "tail": self.tail,
            "parts": self.parts,
            "chunk": CHUNK,
            "centre_steps": CENTRE_STEPS,
            "apply_steps": 1 if self.width > 4 * vector else 2048 // self.width,
            "per_tile": self.per_tile,
        }
        if self.per_tile > 1:
            tiles["observations"] = self.observations
        return tiles


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
    repeat = lanes // gcd(channels, lanes)
    while channels * repeat < 4 * lanes and rows >= 16 * repeat:
        repeat *= 2
    if rows < repeat:
        repeat = 1
    if channels * repeat > WIDEST_STEP:
        raise CompileError(f"{problem.op}: {channels} channels; allowed: at most {WIDEST_STEP}; use fewer channels")
    steps = rows // repeat
    tail = (rows - steps * repeat) * channels
    parts = max(1, -(-steps // max(CHUNK, PART_BYTES // (channels * repeat * item))))
    observation_bytes = rows * channels * item
    per_tile = max(1, (32 << 10) // observation_bytes)
    wave = 0 if parts == 1 else _wave(observations, tensors * observation_bytes, machine)
    return NormTiling(observations, rows, channels, groups, repeat, steps, tail, parts, per_tile, wave)


def _wave(observations: int, touched: int, machine: Machine) -> int:
    """Observations of one wave, 0 where each has a core to itself; `touched` bytes of one are met again."""
    cache = machine.l3 // 4  # others use it too
    if observations >= 4 * machine.cores and touched * machine.cores <= cache:
        return 0
    return min(observations, max(1, cache // touched))


def _schedule(problem: Problem, tiling: NormTiling, template: str, phase: str, **more: Constant) -> Schedule:
    dtype = problem.operands[0].dtype
    tiles = {**tiling.tiles(phase, problem.machine.lanes(dtype)), **more}
    if more.get("stream"):  # lines leave the core one by one, so they had better be neighbours
        tiles["apply_steps"] = 1
    return problem.schedule(template, dtype, shape=tiling.shape(problem), tiles=tiles)


def _aligned(problem: Problem) -> bool:
    """Whether every row of x begins at a multiple of a vector's size, as stores past the caches need."""
    x = problem.operands[0]
    return x.shape[-1] * ITEM_SIZE[x.dtype] % problem.machine.vector_bytes == 0


def _streams(problem: Problem, moved: int) -> bool:
    """Whether a result as large as x is written past the caches: they cannot keep it."""
    return _aligned(problem) and moved > problem.machine.l3 // 2


def _ways(problem: Problem, tiling: NormTiling, moved: int) -> Iterator[tuple[NormTiling, bool]]:
    """(tiling, whether a result as large as x is written past the caches), best first; all have the same bits.

    Args:
        problem: a normalization.
        tiling: the tiling with the wave that the cost model likes best.
        moved: bytes of all that the kernels read and write.
    """
    machine, streams = problem.machine, _streams(problem, moved)
    yield tiling, streams
    if _aligned(problem) and moved > machine.l3 // 8:
        yield tiling, not streams
    if tiling.parts > 1:
        waves = dict.fromkeys([tiling.wave, 0, *(min(tiling.observations, n * machine.cores) for n in (1, 4))])
        yield from ((replace(tiling, wave=wave), streams) for wave in waves if wave != tiling.wave)


def _launches(tiling: NormTiling, patterns: Sequence[Launch]) -> Iterator[Launch]:
    """The launches for each wave of observations; patterns are those for all of them, their grids those for one."""
    for first in range(0, tiling.observations, tiling.wave):
        count = min(tiling.wave, tiling.observations - first)
        for pattern in patterns:
            yield replace(
                pattern, grid=count * pattern.grid, first=first * pattern.grid,
                bytes=pattern.bytes * count // tiling.observations, flops=pattern.flops * count // tiling.observations,
            )  # fmt: skip


def _group_norm(problem: Problem) -> Iterator[Plan]:
    """y, statistics from x, scale, offset[, r]: x read and y written once where an observation stays in cache.

    Where it does not, x is read once more. A residual r is read once.
    """
    moved = (2 + problem.flag("residual")) * problem.operands[0].bytes
    for tiling, stream in _ways(problem, tiling_of(problem, 1), moved):
        yield _forward(problem, tiling, stream, moved)


def _forward(problem: Problem, tiling: NormTiling, stream: bool, moved: int) -> Plan:
    """The launches of one tiling of `_group_norm`."""
    x = problem.operands[0]
    slots = ("operand0", "operand1", "operand2", "result0", "result1")
    residual = problem.flag("residual")
    flops = residual * x.count
    more: dict[str, Constant] = {"stream": stream}
    if residual:
        more["residual_slot"] = len(slots)
        slots = (*slots, "operand3")
    in_place = ((0, 0), (0, 3)) if residual else ((0, 0),)
    apply = Launch(
        _schedule(problem, tiling, "group_norm", "apply", **more), slots, tiling.parts, writes=(3,),
        bytes=moved, flops=3 * x.count + flops,
    )  # fmt: skip
    if problem.integer("parts"):
        together = replace(tiling, wave=tiling.observations)
        return Plan(tuple(_launches(together, (_joined(problem, tiling, "result1"), apply))), in_place=in_place)
    if tiling.wave == 0:
        columns = tiling.columns(problem.machine.lanes(x.dtype))
        sums: dict[str, Constant] = {"columns": columns, "turns": tiling.width // columns}
        reading = _reading(problem, tiling, columns, moved)
        schedule = _schedule(problem, tiling, "group_norm", "whole", **reading, **sums, **more)
        grid = -(-tiling.observations // tiling.per_tile)
        launch = Launch(schedule, slots, grid, writes=(3, 4), bytes=moved, flops=8 * x.count + flops)
        return Plan((launch,), in_place=in_place)
    first, join, partials = _summed(problem, tiling, moved, "result1")
    return Plan(tuple(_launches(tiling, (first, join, apply))), workspaces=(partials,), in_place=in_place)


def _group_statistics(problem: Problem) -> Plan:
    """Statistics from x[, partials]: the first launches of `_group_norm`, of all observations at once."""
    tiling = tiling_of(problem, 1)
    tiling = replace(tiling, wave=tiling.observations)
    if problem.integer("parts"):
        return Plan(tuple(_launches(tiling, (_joined(problem, tiling, "result0"),))))
    first, join, partials = _summed(problem, tiling, problem.operands[0].bytes, "result0")
    return Plan(tuple(_launches(tiling, (first, join))), workspaces=(partials,))


def _summed(problem: Problem, tiling: NormTiling, moved: int, result: str) -> tuple[Launch, Launch, Tensor]:
    """The launches that find the statistics, of parts and of observations, and what the first leaves for the second."""
    x = problem.operands[0]
    columns = tiling.columns(problem.machine.lanes(x.dtype))
    sums: dict[str, Constant] = {"columns": columns, "turns": tiling.width // columns}
    reading = _reading(problem, tiling, columns, moved)
    schedule = _schedule(problem, tiling, "group_norm", "statistics", **reading, **sums)
    first = Launch(schedule, ("operand0", "workspace0"), tiling.parts, writes=(1,), bytes=x.bytes, flops=5 * x.count)
    join = _join(
        problem, tiling, "workspace0", result, steps=tiling.steps, tail=tiling.tail, parts=tiling.parts, **sums
    )
    return first, join, Tensor((tiling.observations, tiling.parts, 3, columns), "float64")


def _joined(problem: Problem, tiling: NormTiling, result: str) -> Launch:
    """The launch that finds the statistics from what a convolution left of the bands of its rows: the last operand."""
    x, partials = problem.operands[0], problem.operands[-1]
    rows = {"steps": x.shape[1], "tail": 0, "parts": partials.shape[1]}
    columns = {"columns": tiling.channels, "turns": tiling.rows // x.shape[1]}
    return _join(problem, tiling, f"operand{len(problem.operands) - 1}", result, **rows, **columns)


def _join(problem: Problem, tiling: NormTiling, partials: str, result: str, **tiles: Constant) -> Launch:
    """Per observation, the statistics from the partials of its parts."""
    x = problem.operands[0]
    tiles |= {"phase": "join", "vector": problem.machine.lanes(x.dtype)}
    schedule = problem.schedule("group_norm", x.dtype, shape=tiling.shape(problem), tiles=tiles)
    return Launch(schedule, ("operand0", partials, result), 1, writes=(2,))


def _reading(problem: Problem, tiling: NormTiling, columns: int, moved: int) -> dict[str, Constant]:
    """How what is summed is read: `by_rows`, or by columns, with prefetches.

    In the order of memory where tensors come from there. Columns keep their sums in registers, but are read some lines
    apart, which no prefetcher follows: `line` is the values of a line, or 0 where an observation lies in L1.
    `prefetch_distance`, in values, is a chunk where that leaves room in L1, else 0, the next columns.
    """
    machine, dtype = problem.machine, problem.operands[0].dtype
    item, chunk = ITEM_SIZE[dtype], CHUNK * columns
    by_rows = _far(problem, moved) and columns > 4 * machine.lanes(dtype)
    if by_rows or tiling.rows * tiling.channels * item <= machine.l1 // 2:
        return {"by_rows": by_rows, "line": 0, "prefetch_distance": 0}
    return {"by_rows": False, "line": 64 // item, "prefetch_distance": chunk if chunk * item <= machine.l1 // 4 else 0}


def _far(problem: Problem, moved: int) -> bool:
    """Whether tensors come from memory, where kernels read and write so many bytes in all."""
    return 3 * moved > 2 * problem.machine.l3


def _group_norm_gradient(problem: Problem) -> Iterator[Plan]:
    """dx, dscale, doffset[, dr] from x, dy, scale, offset, statistics[, r]: each once where they stay in cache.

    Where they do not, x and the masked dy (dr, if there is a residual) are read once more.
    """
    residual = problem.flag("residual")
    # What is touched before an element is met again: x and dy, and with a residual r and dr.
    moved = (5 if residual else 3) * problem.operands[0].bytes
    for tiling, stream in _ways(problem, tiling_of(problem, 4 if residual else 2), moved):
        yield _backward(problem, tiling, stream, moved)


def _backward(problem: Problem, tiling: NormTiling, stream: bool, moved: int) -> Plan:
    """The launches of one tiling of `_group_norm_gradient`."""
    x = problem.operands[0]
    residual = problem.flag("residual")
    inputs = tuple(f"operand{i}" for i in range(5))
    rows = -(-tiling.observations // tiling.per_tile) if tiling.wave == 0 else tiling.observations
    partial = Tensor((rows, 2, tiling.channels), "float64")
    add = added(problem, partial)
    reading = _reading(problem, tiling, tiling.width, moved)
    # Every element of dy and r is read before dr, and every one of x and dy before dx, is written there.
    in_place = ((0, 0), (0, 1), (3, 1), (3, 5)) if residual else ((0, 1),)
    flops = residual * x.count
    if tiling.wave == 0:
        slots = (*inputs, "workspace0", "result0")
        more = _residual_slots(slots) if residual else {}
        schedule = _schedule(
            problem, tiling, "group_norm_gradient", "whole", dx_slot=6, stream=stream, **reading, **more
        )
        launch = Launch(
            schedule, (*slots, "operand5", "result3") if residual else slots, rows,
            writes=(5, 6, 8) if residual else (5, 6), bytes=moved, flops=14 * x.count + flops,
        )  # fmt: skip
        return Plan((launch, add), workspaces=(partial,), in_place=in_place)
    slots = (*inputs, "workspace1")
    more = _residual_slots(slots) if residual else {}
    parts = Tensor((tiling.observations, tiling.parts, 2, tiling.width), "float64")
    means = Tensor((tiling.observations, tiling.groups, 2), x.dtype)
    sums = _schedule(problem, tiling, "group_norm_gradient", "sums", dx_slot=0, **reading, **more)
    join = _schedule(problem, tiling, "group_norm_gradient", "join")
    first = Launch(
        sums, (*slots, "operand5", "result3") if residual else slots, tiling.parts,
        writes=(5, 7) if residual else (5,), bytes=moved - x.bytes, flops=7 * x.count + flops,
    )  # fmt: skip
    between = ("operand2", "operand4", "workspace1", "workspace0", "workspace2")
    second = Launch(join, between, 1, writes=(3, 4))
    if residual:  # dr is dy masked, so that what follows is the gradient of a norm alone
        problem = replace(problem, attributes={**problem.attributes, "activation": "", "alpha": 0.0})
        inputs = ("operand0", "result3", *inputs[2:])
    apply = _schedule(problem, tiling, "group_norm_gradient", "apply", dx_slot=6, stream=stream)
    slots = (*inputs, "workspace2", "result0")
    third = Launch(apply, slots, tiling.parts, writes=(6,), bytes=3 * x.bytes, flops=7 * x.count)
    launches = (*_launches(tiling, (first, second, third)), add)
    return Plan(launches, workspaces=(partial, parts, means), in_place=in_place)


def _residual_slots(slots: tuple[str, ...]) -> dict[str, Constant]:
    """The places of r and dr behind the other arguments."""
    return {"residual_slot": len(slots), "dr_slot": len(slots) + 1}


def added(problem: Problem, partial: Tensor) -> Launch:
    """The launch that adds the rows of `partial`, workspace 0, in order to dscale and doffset, results 1 and 2."""
    rows, _, channels = partial.shape
    block = min(channels, 64)
    shape: dict[str, Constant] = {"rows": rows, "channels": channels}
    dtype = problem.operands[0].dtype
    schedule = problem.schedule("group_norm_parameters", dtype, shape=shape, tiles={"block": block})
    slots = ("workspace0", "result1", "result2")
    return Launch(schedule, slots, -(-channels // block), writes=(1, 2), bytes=partial.bytes)


PLANS: Mapping[str, Callable[[Problem], Plans]] = {
    "group_norm": _group_norm,
    "group_statistics": _group_statistics,
    "group_norm_gradient": _group_norm_gradient,
}
