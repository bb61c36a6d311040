"""What the Problems of slices, transposition and padding say."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from gncodegen.kernels.schedule import Problem, Tensor
from gncodegen.kernels.window_axis import SPATIAL, three


def run(problem: Problem, tensor: Tensor) -> int:
    """Elements side by side of an operand or result of a slice or concatenation: from its axis on."""
    return prod(tensor.shape[problem.integer("axis", -1) :])


def collapsed(shape: tuple[int, ...], permutation: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same transposition with the fewest axes: no axis of extent 1, and axes that stay neighbours are one."""
    runs: list[list[int]] = []
    for axis in (axis for axis in permutation if shape[axis] != 1):
        # Axes of extent 1 between two neighbours do not part them.
        if runs and all(shape[between] == 1 for between in range(runs[-1][-1] + 1, axis)) and runs[-1][-1] < axis:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    order = sorted(range(len(runs)), key=lambda i: runs[i])
    extents = tuple(prod(shape[axis] for axis in runs[i]) for i in order)
    return extents, tuple(order.index(i) for i in range(len(runs)))


def padded_axes(problem: Problem, shape: tuple[int, ...]) -> Iterator[tuple[str, int, int, int]]:
    """Name, extent and pads (before, after) of the axes of an array of `shape`; those it lacks have extent 1."""
    padding = problem.integers("padding")
    extents = three(shape[-1 - len(padding) // 2 : -1], 1)
    return zip(SPATIAL, extents, three(padding[::2], 0), three(padding[1::2], 0), strict=True)
