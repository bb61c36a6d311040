"""The launch that adds what blocks summed side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gncodegen.kernels.cuda.matrix_product import stored_types, vector_lanes
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Order, Problem, Tensor

THREADS = 256
"""Threads of a block."""

SLICES = 8
"""Threads that share the parts of values that are too few to fill the machine."""

PLAIN: Mapping[str, Constant] = {"bias": False, "activation": "", "alpha": 0.0, "columns": 1}


def partial_sums(
    problem: Problem,
    parts: Tensor,
    slots: tuple[str, str, str, str],
    epilogue: Mapping[str, Constant] = PLAIN,
    unit: int = 0,
) -> Launch:
    """The launch of y = activation(Σ parts + bias + residual), in order of the parts.

    Args:
        problem: the op it is part of.
        parts: (number of parts, values).
        slots: arguments for the parts, the bias, the residual ("" = none) and y.
        epilogue: constants of bias, residual and activation, and "columns", the length of the bias.
        unit: values of an observation, of which y has some; 0 = it has none, and several threads may share the parts
            of a value, each adding its own in order first.
    """
    number, count = parts.shape
    _, bias, residual, y = slots
    columns = epilogue["columns"] if bias else 0
    assert isinstance(columns, int)
    lanes = vector_lanes(parts.dtype, unit or count, columns)
    few = not unit and count < THREADS * lanes * problem.machine.cores
    slices = SLICES if few else 1
    tiles: dict[str, Constant] = {"threads": THREADS, "lanes": lanes, "slices": slices}
    # The parts of observations are as many for any number of them.
    fixed, numbers = ({"parts": number}, {"count": count}) if unit else ({}, {"count": count, "parts": number})
    shape = {**epilogue, "columns": max(columns, 1), **fixed, **stored_types(problem, residual=residual, y=y)}
    # Named for itself: equal sums of different ops are one kernel.
    schedule = replace(problem.schedule("partial_sums", parts.dtype, shape, tiles, numbers), op="partial_sums")
    arguments, block = tuple(filter(None, slots)), THREADS // slices * lanes
    moved = parts.bytes + (1 + bool(residual)) * count * ITEM_SIZE[parts.dtype]
    return Launch(
        schedule, arguments, -(-count // block), (len(arguments) - 1,), moved, parts.count,
        order=Order(block, unit) if unit else (), numbers=tuple(numbers.values()),
    )  # fmt: skip
