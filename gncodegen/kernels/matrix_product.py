"""What the Problem of a product of two arrays' last two axes says."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from gncodegen.kernels.schedule import Problem, Tensor


@dataclass(frozen=True)
class Matrices:
    """The products of one op: `count` of C (rows × columns) = A (rows × depth) · B (depth × columns).

    Args:
        count: how many; observations are among them.
        rows, columns, depth: of each.
        left_crosswise: A lies depth × rows.
        right_crosswise: B lies columns × depth.
        inner: extents of the axes that the products are numbered by, but for the first.
        left_steps, right_steps: values from matrix to matrix of A and of B along each of these axes; 0 = it repeats.
    """

    count: int
    rows: int
    columns: int
    depth: int
    left_crosswise: bool
    right_crosswise: bool
    inner: tuple[int, ...]
    left_steps: tuple[int, ...]
    right_steps: tuple[int, ...]

    @property
    def flops(self) -> int:
        """A product and a sum for each entry."""
        return 2 * self.count * self.rows * self.columns * self.depth


def _steps(tensor: Tensor, ahead: tuple[int, ...]) -> list[int]:
    """Values from one of its matrices to the next along each axis of the result that numbers them."""
    missing = len(ahead) - (len(tensor.shape) - 2)
    own = (*((1,) * missing), *tensor.shape[:-2])
    # The first axis is that of observations, of which there may be one.
    repeats = [extent == 1 and (axis > 0 or missing > 0) for axis, extent in enumerate(own)]
    return [0 if repeats[axis] else prod((*own[axis + 1 :], *tensor.shape[-2:])) for axis in range(len(own))]


def matrices(problem: Problem) -> Matrices:
    """The products of a problem."""
    a, b, y = *problem.operands, problem.results[0]
    model = problem.modelled.results[0]
    rows, columns = y.shape[-2:]
    crosswise = problem.flag("left_crosswise"), problem.flag("right_crosswise")
    steps = zip(model.shape[:-2], _steps(a, y.shape[:-2]), _steps(b, y.shape[:-2]), strict=True)
    kept: list[tuple[int, int, int]] = []
    for axis, (extent, left, right) in enumerate(steps):
        if axis and extent == 1:
            continue
        # An axis that goes on where the one behind it ends is one with it.
        if kept and (kept[-1][1], kept[-1][2]) == (left * extent, right * extent):
            kept[-1] = (kept[-1][0] * extent, left, right)
        else:
            kept.append((extent, left, right))
    return Matrices(
        count=prod(y.shape[:-2]),
        rows=rows,
        columns=columns,
        depth=a.shape[-2 if crosswise[0] else -1],
        left_crosswise=crosswise[0],
        right_crosswise=crosswise[1],
        inner=tuple(extent for extent, _, _ in kept[1:]),
        left_steps=tuple(left for _, left, _ in kept),
        right_steps=tuple(right for _, _, right in kept),
    )
