"""Plans of kernels that treat every element alike: activations, addition, dropout, affine maps of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd

from gncodegen.kernels import broadcast, elementwise
from gncodegen.kernels.activations import activation
from gncodegen.kernels.broadcast import Broadcast
from gncodegen.kernels.epilogue import fused
from gncodegen.kernels.launches import by_elements, over_all, row_size, slots, traffic
from gncodegen.kernels.schedule import Constant, Launch, Order, Plan, Problem

BLOCK = 16384
"""Elements of one tile; a multiple of every vector length."""

WIDEST_TABLE = 2048
"""Values per column that a tile keeps on its stack; longer rows read them from memory."""


def flat(
    problem: Problem,
    template: str,
    shape: Mapping[str, Constant],
    flops: int,
    in_place: tuple[tuple[int, int], ...],
    *more: str,
    numbers: Mapping[str, int] | None = None,
) -> Plan:
    """One launch over the elements of the first result, in blocks; `numbers` as Schedule.numbers, with their values."""
    tiles: dict[str, Constant] = {"block": BLOCK, "vector": problem.machine.lanes(problem.results[0].dtype)}
    return by_elements(problem, template, shape, tiles, flops, in_place, more, numbers)


def _columns(problem: Problem, template: str, shape: Mapping[str, Constant], flops: int) -> Plan:
    """One launch over rows as long as the statistics; short rows are joined until vectors are full."""
    y, period = problem.results[0], problem.operands[1].count
    lanes = problem.machine.lanes(y.dtype)
    if period > WIDEST_TABLE:
        repeat, block, parts = 1, BLOCK, -(-period // BLOCK)
        grid = y.count // period * parts
        order = Order(1, row_size(y) // period, parts)
    else:
        repeat = lanes // gcd(period, lanes)
        while period * repeat < 4 * lanes:
            repeat *= 2
        block = max(1, BLOCK // (period * repeat))
        grid = -(-y.count // (block * period * repeat))
        order = Order(block * period * repeat, row_size(y))
    width = period * repeat
    schedule = problem.schedule(
        template,
        y.dtype,
        shape={"period": period, **shape},
        tiles={
            "vector": lanes,
            "repeat": repeat,
            "width": width,
            "block": block,
            "tabled": period <= WIDEST_TABLE,
        },
        numbers=("count",),
    )
    launch = over_all(problem, schedule, grid, flops, order, (y.count,))
    return Plan((launch,), in_place=((0, 0),))


def _input_normalization(problem: Problem) -> Plan:
    """Y = (x − shift) · factor + added, by the statistics of its column."""
    return _columns(problem, "input_normalization", {"method": problem.text("method"), "gradient": False}, 3)


def _input_normalization_gradient(problem: Problem) -> Plan:
    """Dx = dy · factor."""
    return _columns(problem, "input_normalization", {"method": problem.text("method"), "gradient": True}, 1)


def channel_normalize(problem: Problem) -> Plan:
    """Y = f((x − mean) · scale / sqrt(variance + epsilon) + offset), per channel."""
    constants = fused(problem)
    shape = {"epsilon": problem.number("epsilon"), **constants}
    return _columns(problem, "channel_normalize", shape, 3 + activation(str(constants["activation"])).flops)


def by_rows(problem: Problem, walk: Broadcast, shape: Mapping[str, Constant], flops: int) -> Launch:
    """The launch over the rows of the result, whose operands repeat."""
    y, walk = problem.results[0], broadcast.modelled(problem, walk)
    rows = y.count // max(1, walk.length)
    # A tile is a part of one long row, or some short ones.
    single = walk.rows == 1
    block = BLOCK if single else max(1, BLOCK // max(1, walk.length))
    number = y.count if single else rows
    schedule = problem.schedule(
        "elementwise",
        y.dtype,
        shape={**walk.inner(), **shape},
        tiles={"block": block, "vector": problem.machine.lanes(y.dtype)},
        numbers=("count" if single else "rows",),
    )
    grid = -(-number // block)
    order = Order(block, row_size(y) if single else row_size(y) // walk.length)
    writes, flops = (len(problem.operands),), flops * y.count
    return Launch(schedule, slots(problem), grid, writes, traffic(problem), flops, order=order, numbers=(number,))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    **elementwise.plans(flat),
    **broadcast.plans(by_rows),
    "input_normalization": _input_normalization,
    "input_normalization_gradient": _input_normalization_gradient,
    "channel_normalize": channel_normalize,
}
