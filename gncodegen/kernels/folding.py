"""Weights that take in what follows their product channel by channel: the steps there are, and what templates name."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from math import prod

from gncodegen.kernels.schedule import Constant, Problem

STEPS: Mapping[str, int] = {"normalize": 4, "add": 1, "subtract": 1, "multiply": 1, "divide": 1}
"""What can be done to a channel → how many operands it takes; those of normalize: mean, variance, scale, offset."""


def constants(problem: Problem) -> dict[str, Constant]:
    """The constants of folded_parameters: weights as (outer, channels, inner), and the steps in order."""
    weights, *given = problem.operands
    axis, steps = problem.integer("axis"), problem.texts("steps")
    return {
        "outer": prod(weights.shape[:axis]),
        "channels": weights.shape[axis],
        "inner": prod(weights.shape[axis + 1 :]),
        "steps": steps,
        "epsilons": problem.numbers("epsilons"),
        "firsts": tuple(accumulate((STEPS[step] for step in steps[:-1]), initial=0)),
        "repeats": tuple(int(operand.count == 1) for operand in given),
    }
