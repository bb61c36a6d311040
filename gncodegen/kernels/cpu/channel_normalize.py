"""Plans of the gradients of channel normalization, by given statistics per channel and by those of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from gncodegen.kernels.cpu.group_norm_gradient import added
from gncodegen.kernels.cpu.norm_tiling import CHUNK, PART_BYTES
from gncodegen.kernels.epilogue import norm_epilogue
from gncodegen.kernels.schedule import ITEM_SIZE, Launch, Plan, Problem, Tensor


def _channel_normalize_gradient(problem: Problem) -> Plan:
    """dx, dscale, doffset from x, dy, mean, variance, scale, offset."""
    x = problem.operands[0]
    channels, rows, block = _blocks(problem)
    partial = Tensor((-(-rows // block), 2, channels), "float64")
    schedule = problem.schedule(
        "channel_normalize_gradient",
        x.dtype,
        shape={"channels": channels, **norm_epilogue(problem)},
        tiles={"vector": problem.machine.lanes(x.dtype), "block": block, "chunk": CHUNK},
        numbers=("rows",),
    )
    slots = (*(f"operand{i}" for i in range(6)), "workspace0", "result0")
    grid, flops = partial.shape[0], 6 * x.count
    main = Launch(schedule, slots, grid, writes=(6, 7), bytes=3 * x.bytes, flops=flops, numbers=(rows,))
    return Plan((main, added(problem, partial)), workspaces=(partial,), in_place=((0, 1),))


def _statistics_gradient(problem: Problem) -> Plan:
    """Dx from dx by fixed statistics, x, mean, variance, scale, the averages of dscale and doffset, and steps."""
    x, reads = problem.operands[1], len(problem.operands)
    channels, rows, block = _blocks(problem)
    step_rows = prod(x.shape[2:-1]) if reads > 7 else 0
    length = x.shape[1] * step_rows
    schedule = problem.schedule(
        "statistics_gradient",
        x.dtype,
        shape={"channels": channels, "epsilon": problem.number("epsilon"), "step_rows": step_rows, "length": length},
        tiles={"vector": problem.machine.lanes(x.dtype), "block": block},
        numbers=("rows",),
    )
    slots = (*(f"operand{i}" for i in range(reads)), "result0")
    launch = Launch(
        schedule, slots, -(-rows // block), writes=(reads,), bytes=3 * x.bytes, flops=4 * x.count, numbers=(rows,)
    )
    return Plan((launch,), in_place=((0, 0),))


def _blocks(problem: Problem) -> tuple[int, int, int]:
    """Channels and rows of x, and how many rows a tile does."""
    x = problem.operands[0]
    channels = x.shape[-1]
    return channels, x.count // channels, max(CHUNK, PART_BYTES // (channels * ITEM_SIZE[x.dtype]))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "channel_normalize_gradient": _channel_normalize_gradient,
    "statistics_gradient": _statistics_gradient,
}
