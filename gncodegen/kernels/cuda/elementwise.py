"""CUDA plans of kernels that treat every element alike: a block does a run of elements, a thread 16 bytes at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd

from gncodegen.kernels.activations import FLOPS, checked
from gncodegen.kernels.elementwise import number, slots, text, traffic
from gncodegen.kernels.schedule import Constant, Launch, Plan, Problem, Schedule

THREADS = 256
"""Threads of a block."""

UNROLL = 4
"""Vectors of one thread: independent loads that hide the latency of memory."""


def flat(
    problem: Problem,
    template: str,
    shape: Mapping[str, Constant],
    flops: int,
    in_place: tuple[tuple[int, int], ...],
    *more: str,
) -> Plan:
    """One launch over the elements of the first result; `more` names further arguments."""
    y = problem.results[0]
    lanes = gcd(problem.machine.lanes(y.dtype), max(y.count, 1))
    block = THREADS * UNROLL * lanes
    schedule = Schedule(
        problem.op,
        template,
        problem.machine.target,
        y.dtype,
        shape={"count": y.count, **shape},
        tiles={"threads": THREADS, "lanes": lanes, "unroll": UNROLL, "block": block},
    )
    launch = Launch(
        schedule,
        (*slots(problem), *more),
        grid=-(-y.count // block),
        writes=(len(problem.operands),),
        bytes=traffic(problem),
        flops=flops * y.count,
    )
    return Plan((launch,), in_place=in_place)


def _activation(problem: Problem) -> Plan:
    """Y = f(x)."""
    function = checked(text(problem, "function"))
    shape: dict[str, Constant] = {"activation": function, "alpha": number(problem, "alpha")}
    return flat(problem, "activation", shape, FLOPS[function], ((0, 0),))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "activation": _activation,
}
