"""What a convolution's Problem says, for the op and both its gradients."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from gncodegen.errors import CompileError
from gncodegen.kernels.schedule import Problem, Tensor, computed_in
from gncodegen.kernels.window_axis import MOST_PHASES, Axes, forward_axis, gradient_axis, three

Extents = tuple[int, int, int]
"""One number each for depth, rows and columns."""


@dataclass(frozen=True)
class WindowProblem:
    """x (batch, depth, rows, columns, channels) with weights (window, channels / groups, filters) gives y.

    Args:
        batch: observations, times the extents of axes that the window does not slide over.
        extents: depth, rows and columns of x.
        out_extents: depth, rows and columns of y.
        channels: channels of x.
        filters: channels of y.
        groups: both are cut into so many independent groups.
        window, stride, dilation, before: per axis; before is the padding in front.
        dtype: that products and sums are computed in, and of weights.
    """

    batch: int
    extents: Extents
    out_extents: Extents
    channels: int
    filters: int
    groups: int
    window: Extents
    stride: Extents
    dilation: Extents
    before: Extents
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
    def pixels(self) -> int:
        """Positions of the window."""
        return self.batch * prod(self.out_extents)

    @property
    def taps(self) -> int:
        """Elements of the window."""
        return prod(self.window)

    @property
    def flops(self) -> int:
        """Multiplications and additions of the op and of either gradient."""
        return 2 * self.pixels * self.taps * self.group_channels * self.filters

    @property
    def forward_axes(self) -> Axes:
        """The axes of the convolution."""
        facts = (self.extents, self.out_extents, self.window, self.stride, self.dilation, self.before)
        depth, rows, columns = (forward_axis(*axis) for axis in zip(*facts, strict=True))
        return depth, rows, columns

    @property
    def gradient_axes(self) -> Axes:
        """The axes of the input gradient, which reads dy and writes dx."""
        facts = (self.out_extents, self.extents, self.window, self.stride, self.dilation, self.before)
        if prod(self.stride) > MOST_PHASES:
            raise CompileError(
                f"strides {self.stride} cut the input gradient into {prod(self.stride):,} interleaved convolutions; "
                f"allowed: strides whose product is up to {MOST_PHASES:,}; stride less"
            )
        depth, rows, columns = (gradient_axis(*axis) for axis in zip(*facts, strict=True))
        return depth, rows, columns


def describe(problem: Problem, x: Tensor, weights: Tensor, y: Tensor) -> WindowProblem:
    """The window problem of any of the three ops, from its tensors of x's, the weights' and y's shape.

    Raises:
        CompileError: a window of more than three axes, or a dtype that does not compute in float32 or float64.
    """
    rank, family = len(weights.shape) - 2, problem.machine.family
    if rank not in (1, 2, 3):
        raise CompileError(f"{problem.op} of {rank} spatial axes has no {family} kernel; allowed: 1, 2 and 3")
    if computed_in(x.dtype) not in ("float32", "float64"):
        raise CompileError(f"{problem.op} of {x.dtype} has no {family} kernel; allowed: float32 and float64")
    ones = (1,) * rank
    before = problem.integers("padding", (0,) * (2 * rank))[::2]
    return WindowProblem(
        batch=prod(x.shape[: -rank - 1]),
        extents=three(x.shape[-rank - 1 : -1], 1),
        out_extents=three(y.shape[-rank - 1 : -1], 1),
        channels=x.shape[-1],
        filters=weights.shape[-1],
        groups=problem.integer("groups", 1),
        window=three(weights.shape[:rank], 1),
        stride=three(problem.integers("stride", ones), 1),
        dilation=three(problem.integers("dilation", ones), 1),
        before=three(before, 0),
        dtype=computed_in(x.dtype),
    )
