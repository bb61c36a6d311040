"""The catalog: for every gn op, the function that plans its kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.errors import CompileError
from gncodegen.kernels import (
    bias,
    convolution,
    cuda,
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

CPU_PLANS: Mapping[str, Planner] = {
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


PLANS: Mapping[str, Mapping[str, Planner]] = {"cpu": CPU_PLANS, "cuda": cuda.PLANS}
"""Family of targets → op → its plan."""


def plan(problem: Problem) -> Plan:
    """The launches that compute one gn op on one machine.

    Raises:
        CompileError: no kernel exists for the op or its dtype.
    """
    family = problem.machine.family
    planner = PLANS[family].get(problem.op)
    if planner is None:
        known = ", ".join(sorted(PLANS[family]))
        raise CompileError(f"op {problem.op!r} has no {family} kernel; ops with kernels are {known}")
    return planner(problem)
