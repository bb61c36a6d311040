"""The spatial axes of a convolution or of its input gradient, in one form that a single kernel template serves.

Kernels have three axes: depth, rows, columns. An axis that a problem lacks has extent 1 and stands in front.

The input gradient of a convolution of stride s is s interleaved convolutions of stride 1 (phases):
output phase + s·j of the gradient meets only the filter taps r with (phase + before − r·d) divisible by s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from gncodegen.kernels.schedule import Constant

AXES = {"d": "depth", "h": "rows", "w": "columns"}
"""The ending of an axis' constants, and the name of its extent."""

SPATIAL = ("depth", "height", "width")
"""The axes, as the constants of pooling and padding name them."""


@dataclass(frozen=True)
class Axis:
    """Output phase + step·j reads inputs stride·j + offset + dilation·t for t < taps, times tap first + tap_step·t.

    Args:
        inputs: extent of what is read; beyond it there are zeros.
        outputs: extent of what is written.
        step: number of phases, and the distance of the outputs of one phase.
        stride: distance of the windows of neighbouring outputs of a phase.
        dilation: distance of the elements of a window.
        taps: elements of the window, per phase.
        first: filter tap of the first element, per phase.
        tap_step: distance of the filter taps of neighbouring elements.
        offsets: input position of the first element of output 0, per phase.
    """

    inputs: int
    outputs: int
    step: int
    stride: int
    dilation: int
    taps: tuple[int, ...]
    first: tuple[int, ...]
    tap_step: int
    offsets: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Outputs of phase 0, which has the most."""
        return -(-self.outputs // self.step)

    @property
    def low(self) -> int:
        """The lowest input position of outputs 0 of all phases."""
        return min(self.offsets)

    @property
    def span(self) -> int:
        """Inputs from `low` that outputs 0 of all phases read."""
        ends = [offset + (taps - 1) * self.dilation for offset, taps in zip(self.offsets, self.taps, strict=True)]
        return max(*ends, self.low) - self.low + 1

    @property
    def inside(self) -> bool:
        """Whether every window lies inside the input, so that no zeros are needed."""
        return self.low >= 0 and self.low + (self.positions - 1) * self.stride + self.span <= self.inputs

    @property
    def pointwise(self) -> bool:
        """Whether output i reads input i and nothing else."""
        same = self.inputs == self.outputs and self.step == self.stride == 1
        return same and self.taps == (1,) and self.offsets == (0,)

    @property
    def absent(self) -> bool:
        """Whether it stands for an axis that the problem lacks."""
        return self.inputs == 1 and self.pointwise

    def read(self, positions: int) -> int:
        """Inputs that `positions` neighbouring positions read."""
        return (positions - 1) * self.stride + self.span


MOST_PHASES = 1 << 16
"""Phases that a kernel has a table of."""

Axes = tuple[Axis, Axis, Axis]
"""Depth, rows, columns."""


def three(values: Sequence[int], fill: int) -> tuple[int, int, int]:
    """One value per axis: `fill` for those that are missing in front."""
    depth, rows, columns = (fill, fill, *values)[-3:]
    return depth, rows, columns


def named(stem: str, axes: Axes, values: Sequence[Constant]) -> dict[str, Constant]:
    """The constants stem_d, stem_h, stem_w; without stem_d where there is no depth."""
    there = zip(AXES, axes, values, strict=True)
    return {f"{stem}_{ending}": value for ending, axis, value in there if ending != "d" or not axis.absent}


def per_axis(axes: Axes, *facts: str) -> dict[str, Constant]:
    """The constants of these facts of every axis, by the names that Axis gives them."""
    constants: dict[str, Constant] = {}
    for fact in facts:
        constants |= named(fact, axes, [getattr(axis, fact) for axis in axes])
    return constants


def extents(axes: Axes) -> dict[str, Constant]:
    """The constants rows, columns, out_rows, out_columns; and depth, out_depth where there is one."""
    there = {name: axis for name, axis in zip(AXES.values(), axes, strict=True) if name != "depth" or not axis.absent}
    inputs: dict[str, Constant] = {name: axis.inputs for name, axis in there.items()}
    return inputs | {f"out_{name}": axis.outputs for name, axis in there.items()}


def forward_axis(inputs: int, outputs: int, window: int, stride: int, dilation: int, before: int) -> Axis:
    """The axis of a convolution: one phase."""
    return Axis(inputs, outputs, 1, stride, dilation, (window,), (0,), 1, (-before,))


def gradient_axis(inputs: int, outputs: int, window: int, stride: int, dilation: int, before: int) -> Axis:
    """The axis of the input gradient: `inputs` is the extent of dy and `outputs` that of dx."""
    common = gcd(stride, dilation)
    taps: list[int] = []
    first: list[int] = []
    offsets: list[int] = []
    for phase in range(stride):
        met = [tap for tap in range(window) if (phase + before - tap * dilation) % stride == 0]
        taps.append(len(met))
        first.append(met[-1] if met else 0)
        offsets.append((phase + before - met[-1] * dilation) // stride if met else 0)
    if not all(taps):
        lowest = min((offset for offset, count in zip(offsets, taps, strict=True) if count), default=0)
        offsets = [offset if count else lowest for offset, count in zip(offsets, taps, strict=True)]
    step, dilation = stride // common, dilation // common
    return Axis(inputs, outputs, stride, 1, dilation, tuple(taps), tuple(first), -step, tuple(offsets))
