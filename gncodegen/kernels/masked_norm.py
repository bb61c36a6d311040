"""Plans of group norms of sequences that have padding behind them, of both targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.schedule import Constant, Launch, Order, Plan, Problem


def plans(tiles: Callable[[Problem], dict[str, Constant]], by_group: bool) -> Mapping[str, Callable[[Problem], Plan]]:
    """Op → its plan.

    Args:
        tiles: of a schedule.
        by_group: whether a tile does one group of an observation, or all of them.
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

    return {"masked_group_norm": forward, "masked_group_norm_gradient": gradient}
