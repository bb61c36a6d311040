"""What the Problem of a sparse product along an axis says."""

from __future__ import annotations

from math import prod

from gncodegen.kernels.schedule import Constant, Problem


def constants(problem: Problem) -> dict[str, Constant]:
    """The matrix; extents of x and y along the axis; and the values side by side from one of its places to the next."""
    x, y = problem.operands[0], problem.results[0]
    axis = problem.integer("axis", -1) % len(y.shape)
    return {
        "inputs": x.shape[axis],
        "outputs": y.shape[axis],
        "width": prod(y.shape[axis + 1 :]),
        "starts": problem.integers("starts"),
        "columns": problem.integers("columns"),
        "weights": problem.numbers("weights"),
    }


def flops(problem: Problem) -> int:
    """A product and a sum for each entry, of every line."""
    lines = problem.results[0].count // max(1, len(problem.integers("starts")) - 1)
    return 2 * len(problem.integers("columns")) * lines
