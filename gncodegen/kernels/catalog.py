"""The catalog: for every gn op, the function that plans its kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

from gncodegen.errors import CompileError
from gncodegen.kernels import cpu, cuda
from gncodegen.kernels.cpu import convolution
from gncodegen.kernels.schedule import Plan, Plans, Problem

Planner = Callable[[Problem], Plans]

MOST_CANDIDATES = 4
"""Candidates that are worth measuring; the cost model is seldom further off."""

PLANS: Mapping[str, Mapping[str, Planner]] = {"cpu": cpu.PLANS, "cuda": cuda.PLANS}
"""Family of targets → op → its plan."""


def plan(problem: Problem, choice: int = 0) -> Plan:
    """The launches that compute one gn op on one machine.

    Args:
        problem: the op.
        choice: number of the candidate; 0 is the one that the cost model likes best.

    Raises:
        CompileError: no kernel exists for the op or its dtype, or there is no such candidate.
    """
    if choice:
        offered = candidates(problem)
        if not 0 <= choice < len(offered):
            raise CompileError(
                f"op {problem.op!r}: candidate {choice}; allowed: 0 … {len(offered) - 1}; leave the choice out"
            )
        return offered[choice]
    found = _planned(problem)
    return found if isinstance(found, Plan) else next(found)


def parts(problem: Problem) -> int:
    """The parts of an observation whose partials the kernel of a convolution should leave; 0 = none.

    The number follows from one observation's shape, and from the machine without its cores.
    """
    return convolution.parts(problem) if problem.machine.family == "cpu" else 0


def takes_norm(problem: Problem) -> bool:
    """Whether the kernel of a convolution should normalize what it reads."""
    return problem.machine.family == "cpu" and convolution.takes_norm(problem)


def candidates(problem: Problem) -> tuple[Plan, ...]:
    """The few best plans by the cost model, best first; all give the same bits.

    Raises:
        CompileError: no kernel exists for the op or its dtype.
    """
    found = _planned(problem)
    return (found,) if isinstance(found, Plan) else tuple(islice(found, MOST_CANDIDATES))


def _planned(problem: Problem) -> Plans:
    family = problem.machine.family
    planner = PLANS[family].get(problem.op)
    if planner is None:
        known = ", ".join(sorted(PLANS[family]))
        raise CompileError(f"op {problem.op!r} has no {family} kernel; ops with kernels are {known}")
    return planner(problem)
