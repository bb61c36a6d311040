"""Plans of group normalization: whole observations in a tile, or parts whose statistics are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from gncodegen.kernels.cpu.norm_tiling import NormTiling, launches_of, reading_of, scheduled, tiling_of, ways
from gncodegen.kernels.schedule import Constant, Launch, Order, Plan, Plans, Problem, Tensor


def _group_norm(problem: Problem) -> Iterator[Plan]:
    """y, statistics from x, scale, offset[, r]: x read and y written once where an observation stays in cache.

    Where it does not, x is read once more. A residual r is read once.
    """
    passes = 2 + problem.flag("residual")
    for tiling, stream in ways(problem, tiling_of(problem, 1), passes * problem.modelled.operands[0].bytes):
        yield _forward(problem, tiling, stream, passes)


def _forward(problem: Problem, tiling: NormTiling, stream: bool, passes: int) -> Plan:
    """The launches of one tiling of `_group_norm`, which read and write `passes` times what x has."""
    x = problem.operands[0]
    moved, modelled = (passes * each.operands[0].bytes for each in (problem, problem.modelled))
    slots = ("operand0", "operand1", "operand2", "result0", "result1")
    residual = problem.flag("residual")
    flops = residual * x.count
    more: dict[str, Constant] = {"stream": stream}
    if residual:
        more["residual_slot"] = len(slots)
        slots = (*slots, "operand3")
    in_place = ((0, 0), (0, 3)) if residual else ((0, 0),)
    apply = Launch(
        scheduled(problem, tiling, "group_norm_apply", **more), slots, tiling.parts, writes=(3,),
        bytes=moved, flops=3 * x.count + flops, order=Order(1, 1, tiling.parts),
    )  # fmt: skip
    if problem.integer("parts"):
        together = replace(tiling, wave=tiling.observations)
        return Plan(tuple(launches_of(together, (_joined(problem, tiling, "result1"), apply))), in_place=in_place)
    if tiling.wave == 0:
        columns = tiling.columns(problem.machine.lanes(x.dtype))
        sums: dict[str, Constant] = {"columns": columns, "turns": tiling.width // columns}
        reading = reading_of(problem, tiling, columns, modelled)
        schedule = scheduled(problem, tiling, "group_norm_whole", **reading, **sums, **more)
        grid = -(-tiling.observations // tiling.per_tile)
        order, flops = Order(tiling.per_tile), 8 * x.count + flops
        values = tuple(tiling.numbers.values())
        launch = Launch(schedule, slots, grid, writes=(3, 4), bytes=moved, flops=flops, order=order, numbers=values)
        return Plan((launch,), in_place=in_place)
    first, join, partials = _summed(problem, tiling, modelled, "result1")
    return Plan(tuple(launches_of(tiling, (first, join, apply))), workspaces=(partials,), in_place=in_place)


def _group_statistics(problem: Problem) -> Plan:
    """Statistics from x[, partials]: the first launches of `_group_norm`, of all observations at once."""
    tiling = tiling_of(problem, 1)
    tiling = replace(tiling, wave=tiling.observations)
    if problem.integer("parts"):
        return Plan(tuple(launches_of(tiling, (_joined(problem, tiling, "result0"),))))
    first, join, partials = _summed(problem, tiling, problem.modelled.operands[0].bytes, "result0")
    return Plan(tuple(launches_of(tiling, (first, join))), workspaces=(partials,))


def _summed(problem: Problem, tiling: NormTiling, moved: int, result: str) -> tuple[Launch, Launch, Tensor]:
    """The launches that find the statistics, of parts and of observations, and what the first leaves for the second."""
    x = problem.operands[0]
    columns = tiling.columns(problem.machine.lanes(x.dtype))
    sums: dict[str, Constant] = {"columns": columns, "turns": tiling.width // columns}
    reading = reading_of(problem, tiling, columns, moved)
    schedule = scheduled(problem, tiling, "group_norm_statistics", **reading, **sums)
    first = Launch(
        schedule, ("operand0", "workspace0"), tiling.parts, writes=(1,),
        bytes=x.bytes, flops=5 * x.count, order=Order(1, 1, tiling.parts),
    )  # fmt: skip
    join = _join(problem, tiling, "workspace0", result, **sums)
    return first, join, Tensor((tiling.observations, tiling.parts, 3, columns), "float64")


def _joined(problem: Problem, tiling: NormTiling, result: str) -> Launch:
    """The launch that finds the statistics from what a convolution left of the bands of its rows: the last operand."""
    x, partials = problem.operands[0], problem.operands[-1]
    cuts = replace(tiling, repeat=1, steps=x.shape[1], tail=0, parts=partials.shape[1])
    columns = {"columns": tiling.channels, "turns": tiling.rows // x.shape[1]}
    return _join(problem, cuts, f"operand{len(problem.operands) - 1}", result, **columns)


def _join(problem: Problem, tiling: NormTiling, partials: str, result: str, **tiles: Constant) -> Launch:
    """Per observation, the statistics from the partials of its parts."""
    x = problem.operands[0]
    tiles |= {"vector": problem.machine.lanes(x.dtype), **tiling.cuts}
    shape, numbers = tiling.shape(problem), tiling.numbers
    schedule = problem.schedule("group_norm_join", x.dtype, shape=shape, tiles=tiles, numbers=numbers)
    return Launch(schedule, ("operand0", partials, result), 1, writes=(2,), order=Order())


PLANS: Mapping[str, Callable[[Problem], Plans]] = {
    "group_norm": _group_norm,
    "group_statistics": _group_statistics,
}
