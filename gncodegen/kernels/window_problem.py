"""What a convolution's Problem says, for the op and both its gradients, with two spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gncodegen.errors import CompileError
from gncodegen.kernels.schedule import Problem, Tensor
from gncodegen.kernels.window_axis import Axis, forward_axis, gradient_axis


@dataclass(frozen=True)
class WindowProblem:
    """x (batch, rows, columns, channels) with weights (window, channels / groups, filters) gives y.

    Args:
        batch: observations.
        extents: rows and columns of x.
        out_extents: rows and columns of y.
        channels: channels of x.
        filters: channels of y.
        groups: both are cut into so many independent groups.
        window, stride, dilation, before: per axis; before is the padding in front.
        dtype: element type of all arrays.
    """

    batch: int
    extents: tuple[int, int]
    out_extents: tuple[int, int]
    channels: int
    filters: int
    groups: int
    window: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    dtype: str

    @property
    def group_channels(self) -> int:
        """Channels of x that one filter reads."""
        return self.channels // self.groups

    @property
    def group_filters(self) -> int:
        """Filters of one group."""
        return self.filters // self.groups

    @property
    def flops(self) -> int:
        """Multiplications and additions of the op and of either gradient."""
        pixels = self.batch * self.out_extents[0] * self.out_extents[1]
        return 2 * pixels * self.window[0] * self.window[1] * self.group_channels * self.filters

    @property
    def forward_axes(self) -> tuple[Axis, Axis]:
        """The axes of the convolution."""
        facts = (self.extents, self.out_extents, self.window, self.stride, self.dilation, self.before)
        rows, columns = (forward_axis(*axis) for axis in zip(*facts, strict=True))
        return rows, columns

    @property
    def gradient_axes(self) -> tuple[Axis, Axis]:
        """The axes of the input gradient, which reads dy and writes dx."""
        facts = (self.out_extents, self.extents, self.window, self.stride, self.dilation, self.before)
        rows, columns = (gradient_axis(*axis) for axis in zip(*facts, strict=True))
        return rows, columns


def describe(problem: Problem, x: Tensor, weights: Tensor, y: Tensor) -> WindowProblem:
    """The window problem of any of the three ops, from its tensors of x's, the weights' and y's shape.

    Raises:
        CompileError: more than two spatial axes, or another dtype than float32 and float64.
    """
    rank, family = len(x.shape) - 2, problem.machine.family
    if rank not in (1, 2):
        raise CompileError(f"{problem.op} of {rank} spatial axes has no {family} kernel; allowed: 1 and 2")
    if x.dtype not in ("float32", "float64"):
        raise CompileError(f"{problem.op} of {x.dtype} has no {family} kernel; allowed: float32 and float64")
    window = weights.shape[:rank]
    ones = (1,) * rank
    before = problem.integers("padding", (0,) * (2 * rank))[::2]
    return WindowProblem(
        batch=x.shape[0],
        extents=_two(x.shape[1:-1], 1),
        out_extents=_two(y.shape[1:-1], 1),
        channels=x.shape[-1],
        filters=weights.shape[-1],
        groups=problem.integer("groups", 1),
        window=_two(window, 1),
        stride=_two(problem.integers("stride", ones), 1),
        dilation=_two(problem.integers("dilation", ones), 1),
        before=_two(before, 0),
        dtype=x.dtype,
    )


def _two(values: Sequence[int], fill: int) -> tuple[int, int]:
    """Values of one or two axes as two: a single axis is that of the columns."""
    first, second = (fill, *values)[-2:]
    return first, second
