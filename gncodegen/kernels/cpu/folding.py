"""The plan of folded_parameters: a tile does a block of channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.folding import constants
from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.schedule import Launch, Plan, Problem

BLOCK = 64
"""Channels of one tile."""


def _folded_parameters(problem: Problem) -> Plan:
    """The weights times factor, and shift, of what the steps do to a channel: v → factor·v + shift."""
    weights, shape = problem.operands[0], constants(problem)
    schedule = problem.schedule("folded_parameters", weights.dtype, shape=shape, tiles={"block": BLOCK})
    first = len(problem.operands)
    grid = -(-problem.results[1].count // BLOCK)
    return Plan((Launch(schedule, slots(problem), grid, (first, first + 1), traffic(problem), weights.count),))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {"folded_parameters": _folded_parameters}
