"""Plans of the gradient of group normalization, and of the sums over observations of both parameters' gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from gncodegen.kernels.cpu.norm_tiling import NormTiling, launches_of, reading_of, scheduled, tiling_of, ways
from gncodegen.kernels.schedule import Constant, Launch, Plan, Plans, Problem, Tensor, computed_in


def _group_norm_gradient(problem: Problem) -> Iterator[Plan]:
    """dx, dscale, doffset[, dr] from x, dy, scale, offset, statistics[, r]: each once where they stay in cache.

    Where they do not, x and the masked dy (dr, if there is a residual) are read once more.
    """
    residual = problem.flag("residual")
    # What is touched before an element is met again: x and dy, and with a residual r and dr.
    passes = 5 if residual else 3
    tiling = tiling_of(problem, 4 if residual else 2)
    for tiled, stream in ways(problem, tiling, passes * problem.modelled.operands[0].bytes):
        yield _backward(problem, tiled, stream, passes)


def _backward(problem: Problem, tiling: NormTiling, stream: bool, passes: int) -> Plan:
    """The launches of one tiling of `_group_norm_gradient`, which read and write `passes` times what x has."""
    x = problem.operands[0]
    moved, modelled = (passes * each.operands[0].bytes for each in (problem, problem.modelled))
    residual = problem.flag("residual")
    inputs = tuple(f"operand{i}" for i in range(5))
    rows = -(-tiling.observations // tiling.per_tile) if tiling.wave == 0 else tiling.observations
    partial = Tensor((rows, 2, tiling.channels), "float64")
    add = added(problem, partial)
    reading = reading_of(problem, tiling, tiling.width, modelled)
    # Every element of dy and r is read before dr, and every one of x and dy before dx, is written there.
    in_place = ((0, 0), (0, 1), (3, 1), (3, 5)) if residual else ((0, 1),)
    flops = residual * x.count
    if tiling.wave == 0:
        slots = (*inputs, "workspace0", "result0")
        more = _residual_slots(slots) if residual else {}
        schedule = scheduled(
            problem, tiling, "group_norm_gradient", "whole", dx_slot=6, stream=stream, **reading, **more
        )
        launch = Launch(
            schedule, (*slots, "operand5", "result3") if residual else slots, rows,
            writes=(5, 6, 8) if residual else (5, 6), bytes=moved, flops=14 * x.count + flops,
            numbers=tuple(tiling.numbers.values()),
        )  # fmt: skip
        return Plan((launch, add), workspaces=(partial,), in_place=in_place)
    slots = (*inputs, "workspace1")
    more = _residual_slots(slots) if residual else {}
    parts = Tensor((tiling.observations, tiling.parts, 2, tiling.width), "float64")
    means = Tensor((tiling.observations, tiling.groups, 2), computed_in(x.dtype))
    sums = scheduled(problem, tiling, "group_norm_gradient", "sums", dx_slot=0, **reading, **more)
    join = scheduled(problem, tiling, "group_norm_gradient", "join")
    first = Launch(
        sums, (*slots, "operand5", "result3") if residual else slots, tiling.parts,
        writes=(5, 7) if residual else (5,), bytes=moved - x.bytes, flops=7 * x.count + flops,
    )  # fmt: skip
    between = ("operand2", "operand4", "workspace1", "workspace0", "workspace2")
    second = Launch(join, between, 1, writes=(3, 4))
    if residual:  # dr is dy masked, so that what follows is the gradient of a norm alone
        problem = replace(problem, attributes={**problem.attributes, "activation": "", "alpha": 0.0})
        inputs = ("operand0", "result3", *inputs[2:])
    apply = scheduled(problem, tiling, "group_norm_gradient", "apply", dx_slot=6, stream=stream)
    slots = (*inputs, "workspace2", "result0")
    third = Launch(apply, slots, tiling.parts, writes=(6,), bytes=3 * x.bytes, flops=7 * x.count)
    launches = (*launches_of(tiling, (first, second, third)), add)
    return Plan(launches, workspaces=(partial, parts, means), in_place=in_place)


def _residual_slots(slots: tuple[str, ...]) -> dict[str, Constant]:
    """The places of r and dr behind the other arguments."""
    return {"residual_slot": len(slots), "dr_slot": len(slots) + 1}


def added(problem: Problem, partial: Tensor) -> Launch:
    """The launch that adds the rows of `partial`, workspace 0, in order to dscale and doffset, results 1 and 2."""
    rows, _, channels = partial.shape
    block = min(channels, 64)
    shape, tiles = {"channels": channels}, {"block": block}
    dtype = computed_in(problem.operands[0].dtype)
    schedule = problem.schedule("group_norm_parameters", dtype, shape=shape, tiles=tiles, numbers=("rows",))
    slots = ("workspace0", "result1", "result2")
    return Launch(schedule, slots, -(-channels // block), writes=(1, 2), bytes=partial.bytes, numbers=(rows,))


PLANS: Mapping[str, Callable[[Problem], Plans]] = {"group_norm_gradient": _group_norm_gradient}
