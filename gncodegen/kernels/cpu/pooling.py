"""Plans of the pooling kernels: windows of one to three spatial axes, written as three."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from gncodegen.kernels.cpu.elementwise import slots, traffic
from gncodegen.kernels.schedule import Constant, Launch, Plan, Problem
from gncodegen.kernels.window_axis import three

BLOCK = 16384
"""Elements of the larger array that one tile works through, about."""

WIDE_WINDOW = 32
"""Elements of a window from which sums go to float64 row by row."""

AXES = ("depth", "height", "width")


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
            named |= {f"{prefix}{axis}": value for axis, value in zip(AXES, values, strict=True)}
        return named


def counts_padding(problem: Problem, windows: Windows) -> bool:
    """Whether every mean is over the whole window; so it is without padding."""
    return not windows.padded or problem.flag("count_padding", True)


def _channel_block(channels: int, lanes: int, tiles: int) -> int:
    """Channels of one tile: all of them, unless there are few tiles; then whole groups of four vectors."""
    unit = 4 * lanes
    if tiles >= 16 or channels % unit:
        return channels
    return next(unit * n for n in range(1, channels // unit + 1) if channels % (unit * n) == 0)


def _plan(
    problem: Problem, template: str, windows: Windows, rows: int, row_size: int, shape: Mapping[str, Constant]
) -> Plan:
    """One launch over `rows` rows that work through `row_size` elements each."""
    dtype = problem.results[0].dtype
    lanes = problem.machine.lanes(dtype)
    block = max(1, BLOCK // max(1, row_size))
    channels = _channel_block(windows.channels, lanes, -(-rows // block)) if row_size >= BLOCK else windows.channels
    tiles: dict[str, Constant] = {"rows": rows, "block": block, "vector": lanes, "block_channels": channels}
    schedule = problem.schedule(template, dtype, shape={**windows.shape, **shape}, tiles=tiles)
    outputs = windows.batch * prod(windows.outs) * windows.channels
    launch = Launch(
        schedule,
        slots(problem),
        grid=-(-rows // block) * (windows.channels // channels if channels else 1),
        writes=(len(problem.operands),),
        bytes=traffic(problem),
        flops=outputs * prod(windows.window),
    )
    return Plan((launch,))


def _forward(problem: Problem, kind: str) -> Plan:
    """Y = the maximum or mean of every window."""
    windows = Windows.of(problem, problem.operands[0].shape, problem.results[0].shape)
    shape: dict[str, Constant] = {
        "kind": kind,
        "count_padding": counts_padding(problem, windows),
        "wide": kind == "average" and prod(windows.window) >= WIDE_WINDOW,
    }
    row_size = windows.outs[2] * prod(windows.window) * windows.channels
    return _plan(problem, "pool", windows, windows.batch * windows.outs[0] * windows.outs[1], row_size, shape)


def _gradient(problem: Problem, kind: str) -> Plan:
    """Dx = dy, to the first maximum of its window or spread evenly over it.

    Windows apart: a tile is some rows of windows with the elements up to the next row. Overlapping windows: a tile
    is an observation, whose sums are in the order of the windows.
    """
    windows = Windows.of(problem, problem.results[0].shape, problem.operands[-1].shape)
    shape: dict[str, Constant] = {
        "kind": kind,
        "count_padding": counts_padding(problem, windows),
        "overlapping": windows.overlapping,
        "covering": windows.covering,
    }
    rows = windows.batch if windows.overlapping else windows.batch * windows.outs[0] * windows.outs[1]
    elements = windows.batch * prod(windows.extents) * windows.channels
    return _plan(problem, "pool_gradient", windows, rows, elements // max(1, rows), shape)


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "max_pool": lambda problem: _forward(problem, "max"),
    "max_pool_gradient": lambda problem: _gradient(problem, "max"),
    "average_pool": lambda problem: _forward(problem, "average"),
    "average_pool_gradient": lambda problem: _gradient(problem, "average"),
}
