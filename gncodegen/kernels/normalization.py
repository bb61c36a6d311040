"""What a normalization's Problem says."""

from __future__ import annotations

from math import prod

from gncodegen.kernels.schedule import Problem


def over_batch(problem: Problem) -> bool:
    """Whether statistics are over all observations."""
    return problem.text("reduced", "spatial-channel") == "batch-spatial"


def view(problem: Problem) -> tuple[int, int, int, int]:
    """(observations, rows, channels, groups) of x under the attribute `reduced`."""
    shape, groups = problem.operands[0].shape, problem.integer("groups")
    channels, positions = shape[-1], prod(shape[1:-1])
    reduced = problem.text("reduced", "spatial-channel")
    if reduced == "channel":
        return shape[0] * positions, 1, channels, groups
    if reduced == "batch-spatial":
        return 1, shape[0] * positions, channels, groups
    if reduced == "step":
        return shape[0] * shape[1], prod(shape[2:-1]), channels, groups
    return shape[0], positions, channels, groups
