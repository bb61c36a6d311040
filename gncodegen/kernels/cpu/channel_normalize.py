"""The plan of the gradient of channel normalization, which takes given statistics per channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cpu.group_norm_gradient import added
from gncodegen.kernels.cpu.norm_tiling import CHUNK, PART_BYTES
from gncodegen.kernels.epilogue import norm_epilogue
from gncodegen.kernels.schedule import ITEM_SIZE, Launch, Plan, Problem, Tensor


def _channel_normalize_gradient(problem: Problem) -> Plan:
    """dx, dscale, doffset from x, dy, mean, variance, scale, offset."""
    x = problem.operands[0]
    channels = x.shape[-1]
    rows = x.count // channels
    block = max(CHUNK, PART_BYTES // (channels * ITEM_SIZE[x.dtype]))
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


PLANS: Mapping[str, Callable[[Problem], Plan]] = {"channel_normalize_gradient": _channel_normalize_gradient}
