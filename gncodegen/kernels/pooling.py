"""What a pooling op's Problem says: windows of one to three spatial axes, written as three."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from gncodegen.kernels.schedule import Constant, Problem
from gncodegen.kernels.window_axis import SPATIAL, three

WIDE_WINDOW = 32
"""Elements of a window from which sums go to float64 row by row."""


@dataclass(frozen=True)
class Windows:
    """Where the windows of a pooling op lie, with absent spatial axes as extent 1.

    Args:
        batch: observations, times the extents of axes that the window does not slide over.
        channels: extent of the last axis.
        extents, outs, window, stride, before: per axis depth, height, width; `before` is the padding at its start.
        padded: whether any window reaches outside.
    """

    batch: int
    channels: int
    extents: tuple[int, ...]
    outs: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]

    @classmethod
    def of(cls, problem: Problem, x: tuple[int, ...], y: tuple[int, ...]) -> Windows:
        """The windows between an input of shape `x` and an output of shape `y`."""
        window = problem.integers("window")
        rank = len(window)
        return cls(
            batch=prod(x[: -rank - 1]),
            channels=x[-1],
            extents=three(x[-rank - 1 : -1], 1),
            outs=three(y[-rank - 1 : -1], 1),
            window=three(window, 1),
            stride=three(problem.integers("stride"), 1),
            before=three(problem.integers("padding")[::2], 0),
        )

    @property
    def padded(self) -> bool:
        """Whether any window reaches outside the input."""
        ends = zip(self.outs, self.stride, self.window, self.before, self.extents, strict=True)
        return any(before > 0 or (out - 1) * step + size - before > extent for out, step, size, before, extent in ends)

    @property
    def overlapping(self) -> bool:
        """Whether an element can lie in two windows."""
        axes = zip(self.stride, self.window, self.outs, strict=True)
        return any(step < size and out > 1 for step, size, out in axes)

    @property
    def covering(self) -> bool:
        """Whether windows that do not overlap meet every element."""
        axes = zip(self.extents, self.outs, self.stride, self.window, strict=True)
        return not self.padded and all(
            extent == (out - 1) * step + size and (step == size or out == 1) for extent, out, step, size in axes
        )

    @property
    def shape(self) -> dict[str, Constant]:
        """The constants of the problem."""
        named: dict[str, Constant] = {"channels": self.channels, "padded": self.padded}
        for prefix, values in (
            ("", self.extents),
            ("out_", self.outs),
            ("window_", self.window),
            ("stride_", self.stride),
            ("before_", self.before),
        ):
            named |= {f"{prefix}{axis}": value for axis, value in zip(SPATIAL, values, strict=True)}
        return named


def averages(problem: Problem, windows: Windows) -> dict[str, Constant]:
    """The constants of means: whether each is over the whole window, and what its sum is divided by.

    Without padding they all are; of sums nothing is counted, and nothing divided.
    """
    total = problem.flag("total")
    whole = not windows.padded or total or problem.flag("count_padding", True)
    return {"count_padding": whole, "divisor": 1 if total else prod(windows.window)}
