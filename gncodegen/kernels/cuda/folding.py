"""The CUDA plan of folded_parameters: a thread does one weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cuda.elementwise import THREADS
from gncodegen.kernels.folding import constants
from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.schedule import Launch, Plan, Problem


def _folded_parameters(problem: Problem) -> Plan:
    """The weights times factor, and shift, of what the steps do to a channel: v → factor·v + shift."""
    weights = problem.operands[0]
    shape = constants(problem) | {"count": weights.count}
    schedule = problem.schedule("folded_parameters", weights.dtype, shape=shape, tiles={"threads": THREADS})
    first = len(problem.operands)
    grid = -(-weights.count // THREADS)
    return Plan((Launch(schedule, slots(problem), grid, (first, first + 1), traffic(problem), weights.count),))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {"folded_parameters": _folded_parameters}
