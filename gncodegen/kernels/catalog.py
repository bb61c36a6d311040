"""The catalog: for every gn op, the function that plans its kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.errors import CompileError
from gncodegen.kernels import (
    bias,
    convolution,
    elementwise,
    fully_connected,
    loss,
    movement,
    normalization,
    pooling,
    update,
)
from gncodegen.kernels.schedule import Plan, Problem

Planner = Callable[[Problem], Plan]

PLANS: Mapping[str, Planner] = {
    **bias.PLANS,
    **convolution.PLANS,
    **fully_connected.PLANS,
    **elementwise.PLANS,
    **loss.PLANS,
    **movement.PLANS,
    **pooling.PLANS,
    **update.PLANS,
    **normalization.PLANS,
}


def plan(problem: Problem) -> Plan:
    """The launches that compute one gn op on one machine.

    Raises:
        CompileError: no kernel exists for the op or its dtype.
    """
    planner = PLANS.get(problem.op)
    if planner is None:
        raise CompileError(f"op {problem.op!r} has no kernel; ops with kernels are {', '.join(sorted(PLANS))}")
    return planner(problem)
