"""The block of numbers that a step reads at run time: what lies in which slot, on the host and on a device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

from gncodegen.errors import CompileError
from gncodegen.kernels.schedule import Tensor
from gncodegen.kernels.solvers import SOLVERS, Hyperparameter


def _whole(value: float) -> bool:
    return value >= 0 and value == value // 1


COMMON_NUMBERS = (
    Hyperparameter("learn_rate", 0.01, lambda value: value >= 0, "a finite number ≥ 0", "the step's size"),
    Hyperparameter("l2_regularization", 1e-4, lambda value: value >= 0, "a finite number ≥ 0", "share of decay"),
    Hyperparameter("gradient_threshold", math.inf, lambda value: value > 0, "a number > 0", "where clipping begins"),
    Hyperparameter("iteration", 0, _whole, "an int, 0 or more", "number of the step, which decides dropout"),
    Hyperparameter("seed", 0, _whole, "an int, 0 or more", "of dropout"),
)
"""The numbers that steps of all solvers read."""

COMMON = tuple(each.name for each in COMMON_NUMBERS)
"""The first slots; those of a solver's own numbers follow."""

COUNT = 16
"""Slots of the block, the same for every solver."""

PARTS: Mapping[str, int] = {"share": COUNT - 2, "summed": COUNT - 1}
"""Slots of what a part of a mini-batch tells kernels: its share of the observations, and that of the parts before."""

BLOCK = Tensor((COUNT,), "float64")
"""The block on the host, and as an operand of ops."""

DEVICE_START: Mapping[str, int] = {"float64": 0, "float32": 2 * COUNT, "uint32": 3 * COUNT}
"""On a device the numbers lie thrice, one element type after the other; where each starts, in its own elements."""


@cache
def slots(solver: str = "") -> Mapping[str, int]:
    """Name → slot of all the numbers of a solver; of those that all have in common for ""."""
    own = SOLVERS[solver].numbers if solver else ()
    names = (*COMMON, *own)
    most = COUNT - len(PARTS)
    if len(names) > most:
        raise CompileError(
            f"solver {solver!r} has {len(own)} numbers; allowed: {most - len(COMMON)}; raise COUNT in {__name__}"
        )
    return {name: slot for slot, name in enumerate(names)}


def slot(name: str, solver: str = "") -> int:
    """Where a number lies on the host, for templates."""
    return {**PARTS, **slots(solver)}[name]


def device_slot(name: str, dtype: str, solver: str = "") -> int:
    """Where a number lies on a device, in elements of `dtype`; the seed's high word follows its low one."""
    return DEVICE_START[dtype] + slot(name, solver)
