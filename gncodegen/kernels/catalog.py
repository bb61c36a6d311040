"""The catalog: for every gn op, the function that plans its kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from itertools import islice
from typing import Protocol, cast

from gncodegen.errors import CompileError
from gncodegen.kernels.schedule import Plan, Plans, Problem

Planner = Callable[[Problem], Plans]

MOST_CANDIDATES = 4
"""Candidates that are worth measuring; the cost model is seldom further off."""


class Family(Protocol):
    """What a package kernels/<family> offers: plans for all targets that share them."""

    @property
    def PLANS(self) -> Mapping[str, Planner]:  # noqa: N802  a constant of the package
        """Op → its plan."""
        ...

    def parts(self, problem: Problem) -> int:
        """As `parts` below."""
        ...

    def takes_norm(self, problem: Problem) -> bool:
        """As `takes_norm` below."""
        ...


@cache
def family(name: str) -> Family:
    """The plans of a family of targets, imported when they are first asked for.

    Raises:
        CompileError: there is no such family.
    """
    try:
        return cast("Family", import_module(f"gncodegen.kernels.{name}"))
    except ModuleNotFoundError as error:
        raise CompileError(
            f"family {name!r} has no plans; allowed: a package in gncodegen/kernels, such as 'cpu'"
        ) from error


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
    return family(problem.machine.family).parts(problem)


def takes_norm(problem: Problem) -> bool:
    """Whether the kernel of a convolution should normalize what it reads."""
    return family(problem.machine.family).takes_norm(problem)


def candidates(problem: Problem) -> tuple[Plan, ...]:
    """The few best plans by the cost model, best first; all give the same bits.

    Raises:
        CompileError: no kernel exists for the op or its dtype.
    """
    found = _planned(problem)
    return (found,) if isinstance(found, Plan) else tuple(islice(found, MOST_CANDIDATES))


def _planned(problem: Problem) -> Plans:
    name = problem.machine.family
    plans = family(name).PLANS
    if problem.op not in plans:
        raise CompileError(f"op {problem.op!r} has no {name} kernel; ops with kernels are {', '.join(sorted(plans))}")
    return plans[problem.op](problem)
