"""The launch that adds what blocks summed side by side."""

from __future__ import annotations

from collections.abc import Mapping

from gncodegen.kernels.cuda.matrix_product import vector_lanes
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Problem, Tensor

THREADS = 256
"""Threads of a block."""

MANY_PARTS = 16
"""From so many parts on several threads share them, where the order is free."""

PLAIN: Mapping[str, Constant] = {"bias": False, "activation": "", "alpha": 0.0, "columns": 1}


def partial_sums(
    problem: Problem,
    parts: Tensor,
    slots: tuple[str, str, str, str],
    free: bool,
    epilogue: Mapping[str, Constant] = PLAIN,
) -> Launch:
    """The launch of y = activation(Σ parts + bias + residual), in order of the parts.

    Args:
        problem: the op it is part of.
        parts: (number of parts, values).
        slots: arguments for the parts, the bias, the residual ("" = none) and y.
        free: whether several threads may share the parts of a value, each adding its own in order first.
        epilogue: constants of bias, residual and activation, and "columns", the length of the bias.
    """
    number, count = parts.shape
    _, bias, residual, _ = slots
    columns = epilogue["columns"] if bias else 0
    assert isinstance(columns, int)
    lanes = vector_lanes(parts.dtype, count, columns)
    slices = 8 if free and number >= MANY_PARTS else 1
    shape: dict[str, Constant] = {"count": count, "parts": number, **epilogue}
    tiles: dict[str, Constant] = {"threads": THREADS, "lanes": lanes, "slices": slices}
    schedule = problem.schedule("partial_sums", parts.dtype, shape=shape, tiles=tiles)
    arguments = tuple(filter(None, slots))
    grid = -(-count // (THREADS // slices * lanes))
    moved = parts.bytes + (1 + bool(residual)) * count * ITEM_SIZE[parts.dtype]
    return Launch(schedule, arguments, grid, (len(arguments) - 1,), moved, parts.count)
