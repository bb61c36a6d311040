"""CUDA plans of the pooling kernels: a thread has one window or one element; large windows have a block each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd, prod

from gncodegen.kernels.cuda.elementwise import THREADS
from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.pooling import WIDE_WINDOW, Windows, averages
from gncodegen.kernels.schedule import Constant, Launch, Order, Plan, Problem

MOST_ACROSS = 8
"""Threads that share a position of a large window: 128 bytes of neighbouring channels."""

MOST_DOWN = 32
"""Threads that share the positions of a large window."""


def _lanes(problem: Problem, windows: Windows) -> int:
    """Channels of one access."""
    return gcd(problem.machine.lanes(problem.results[0].dtype), max(windows.channels, 1))


def _launch(
    problem: Problem,
    template: str,
    shape: Mapping[str, Constant],
    tiles: Mapping[str, Constant],
    grid: int,
    flops: int,
    order: Order,
    **numbers: int,
) -> Plan:
    dtype = problem.results[0].dtype
    schedule = problem.schedule(template, dtype, shape=shape, tiles=tiles, numbers=numbers)
    launch = Launch(
        schedule, slots(problem), grid, (len(problem.operands),), traffic(problem), flops,
        order=order, numbers=tuple(numbers.values()),
    )  # fmt: skip
    return Plan((launch,))


def _per_thread(problem: Problem, template: str, windows: Windows, shape: Mapping[str, Constant], count: int) -> Plan:
    """A launch whose threads each have one vector of `count` values."""
    lanes = _lanes(problem, windows)
    vectors = count // lanes
    tiles: dict[str, Constant] = {"threads": THREADS, "lanes": lanes}
    order = Order(THREADS, vectors // problem.observations)
    constants = {**windows.shape, **shape}
    grid, flops = -(-vectors // THREADS), _flops(windows)
    return _launch(problem, template, constants, tiles, grid, flops, order, vectors=vectors)


def _per_block(problem: Problem, template: str, windows: Windows, shape: Mapping[str, Constant]) -> Plan:
    """A launch whose blocks each have one window of some channels; its shape alone fixes the tree of sums."""
    lanes = _lanes(problem, windows)
    vectors = windows.channels // lanes
    across = min(MOST_ACROSS, max(vectors, 1))
    chunks = -(-vectors // across)
    down = min(MOST_DOWN, prod(windows.window))
    tiles: dict[str, Constant] = {
        "threads": across * down,
        "lanes": lanes,
        "across": across,
        "chunks": chunks,
        "down": down,
    }
    pixels = windows.batch * prod(windows.outs)
    order = Order(1, pixels // problem.observations, chunks)
    return _launch(problem, template, {**windows.shape, **shape}, tiles, pixels * chunks, _flops(windows), order)


def _flops(windows: Windows) -> int:
    return windows.batch * prod(windows.outs) * windows.channels * prod(windows.window)


def _forward(problem: Problem, kind: str) -> Plan:
    """Y = the maximum or mean of every window."""
    windows = Windows.of(problem, problem.operands[0].shape, problem.results[0].shape)
    shape: dict[str, Constant] = {
        "kind": kind,
        **averages(problem, windows),
    }
    if prod(windows.window) >= WIDE_WINDOW:
        return _per_block(problem, "pool_wide", windows, shape)
    return _per_thread(problem, "pool", windows, shape, problem.results[0].count)


def _gradient(problem: Problem, kind: str) -> Plan:
    """Dx = dy, to the first maximum of its window or spread evenly over it.

    Windows that cover x once each write their own part of dx; else every element of dx gathers from its windows.
    """
    windows = Windows.of(problem, problem.results[0].shape, problem.operands[-1].shape)
    shape: dict[str, Constant] = {
        "kind": kind,
        **averages(problem, windows),
    }
    if kind == "max" and windows.covering and not windows.overlapping:
        if prod(windows.window) >= WIDE_WINDOW:
            return _per_block(problem, "max_pool_gradient_wide", windows, shape)
        return _per_thread(problem, "max_pool_gradient", windows, shape, problem.operands[-1].count)
    return _per_thread(problem, "pool_gradient", windows, shape, problem.results[0].count)


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "max_pool": lambda problem: _forward(problem, "max"),
    "max_pool_gradient": lambda problem: _gradient(problem, "max"),
    "average_pool": lambda problem: _forward(problem, "average"),
    "average_pool_gradient": lambda problem: _gradient(problem, "average"),
}
