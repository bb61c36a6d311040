"""Plans of norms of sequences that have padding behind them, of both targets: by group, and by channel over a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.schedule import Constant, Launch, Order, Plan, Problem


def plans(
    tiles: Callable[[Problem], dict[str, Constant]],
    by_group: bool,
    block: Callable[[Problem], int],
    channel_normalize: Callable[[Problem], Plan],
) -> Mapping[str, Callable[[Problem], Plan]]:
    """Op → its plan.

    Args:
        tiles: of a schedule.
        by_group: whether a tile of a group norm does one group of an observation, or all of them.
        block: channels that a tile of a batch norm does.
        channel_normalize: the plan of normalization by given statistics.
    """

    def plan(problem: Problem, flops: int, groups: int, **more: Constant) -> Plan:
        x = problem.operands[0]
        steps, channels = x.shape[1], x.shape[-1]
        step_rows = prod(x.shape[2:-1])
        shape: dict[str, Constant] = {
            "rows": steps * step_rows, "step_rows": step_rows, "channels": channels, "groups": groups,
            "group_channels": channels // groups, **more,
        }  # fmt: skip
        schedule = problem.schedule(problem.op, x.dtype, shape=shape, tiles=tiles(problem))
        each = groups if by_group else 1
        reads = len(problem.operands)
        launch = Launch(
            schedule, slots(problem), x.shape[0] * each, tuple(range(reads, reads + len(problem.results))),
            bytes=traffic(problem), flops=flops * x.count, order=Order(1, 1, each),
        )  # fmt: skip
        return Plan((launch,))

    def forward(problem: Problem) -> Plan:
        """Y and statistics, x read three times."""
        return plan(problem, 8, problem.results[1].shape[1], epsilon=problem.number("epsilon"))

    def gradient(problem: Problem) -> Plan:
        """Dx and the sums of each observation, x and dy read twice."""
        return plan(problem, 14, problem.integer("groups"))

    def of_batch(problem: Problem, flops: int, **more: Constant) -> Plan:
        x = problem.operands[0]
        step_rows, reads, each = prod(x.shape[2:-1]), len(problem.operands), block(problem)
        shape: dict[str, Constant] = {
            "rows": x.shape[1] * step_rows, "step_rows": step_rows, "channels": x.shape[-1], **more
        }  # fmt: skip
        given = {**tiles(problem), "block": each}
        schedule = problem.schedule(problem.op, x.dtype, shape=shape, tiles=given, numbers=("observations",))
        launch = Launch(
            schedule, slots(problem), -(-x.shape[-1] // each), tuple(range(reads, reads + len(problem.results))),
            bytes=traffic(problem), flops=flops * x.count, numbers=(x.shape[0],),
        )  # fmt: skip
        return Plan((launch,))

    def batch_forward(problem: Problem) -> Plan:
        """Y and statistics of channels, x read three times."""
        return of_batch(problem, 8, epsilon=problem.number("epsilon"))

    def batch_gradient(problem: Problem) -> Plan:
        """Dx, dscale and doffset, x and dy read twice."""
        return of_batch(problem, 14)

    def normalize(problem: Problem) -> Plan:
        """By given statistics each step stands alone; what tells the steps is for the gradient."""
        return channel_normalize(replace(problem, operands=problem.operands[:5]))

    return {
        "masked_channel_normalize": normalize,
        "masked_group_norm": forward,
        "masked_group_norm_gradient": gradient,
        "masked_batch_norm": batch_forward,
        "masked_batch_norm_gradient": batch_gradient,
    }
