"""Plans of the pooling kernels: windows of one to three spatial axes, written as three."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.pooling import WIDE_WINDOW, Windows, averages
from gncodegen.kernels.schedule import Constant, Launch, Order, Plan, Problem

BLOCK = 16384
"""Elements of the larger array that one tile works through, about."""


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
    modelled = rows * problem.modelled.results[0].count // max(1, problem.results[0].count)
    channels = _channel_block(windows.channels, lanes, -(-modelled // block)) if row_size >= BLOCK else windows.channels
    tiles: dict[str, Constant] = {"block": block, "vector": lanes, "block_channels": channels}
    schedule = problem.schedule(template, dtype, shape={**windows.shape, **shape}, tiles=tiles, numbers=("rows",))
    outputs = windows.batch * prod(windows.outs) * windows.channels
    launch = Launch(
        schedule,
        slots(problem),
        grid=-(-rows // block) * (windows.channels // channels if channels else 1),
        writes=(len(problem.operands),),
        bytes=traffic(problem),
        flops=outputs * prod(windows.window),
        order=Order(block, rows // problem.observations, windows.channels // channels) if outputs else (),
        numbers=(rows,),
    )
    return Plan((launch,))


def _forward(problem: Problem, kind: str) -> Plan:
    """Y = the maximum or mean of every window."""
    windows = Windows.of(problem, problem.operands[0].shape, problem.results[0].shape)
    shape: dict[str, Constant] = {
        "kind": kind,
        **averages(problem, windows),
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
        **averages(problem, windows),
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
