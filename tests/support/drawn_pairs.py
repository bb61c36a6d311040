"""A layer and its float64 twin of NumPy, and the numbers that drawn ones have."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import reference as ref

from gncodegen.layers.base import Size

CHANNELS = (1, 2, 3, 4, 6, 7, 8, 13, 16, 17)
HUGE = (31, 61, 64, 127, 129, 257)
WEIGHTED, AFFINE = ("weights", "bias"), ("scale", "offset")


@dataclass(frozen=True)
class Pair:
    """A layer and its twin.

    Args:
        layer: of the product, with a name.
        operation: of the oracle; called with the inputs, then the parameters.
        parameters: their names behind the dot.
        options: keyword arguments of the operation.
        prediction: the operation in prediction, where it is another one.
    """

    layer: Any
    operation: Callable[..., Any]
    parameters: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    prediction: Callable[..., Any] | None = None


Make = Callable[[random.Random, Size, str], Pair | None]
"""(draw, the size of the input, a name) → a layer that may fit, or nothing. What does not fit, the product refuses."""


def channels(draw: random.Random) -> int:
    """How many a layer makes, at times many."""
    return draw.choice(HUGE if draw.random() < 0.05 else CHANNELS)


def stepped(size: Size, operation: Callable[..., Any]) -> Callable[..., Any]:
    """The operation, at each step of sequences."""
    return ref.each_step(operation) if "T" in size.format else operation
