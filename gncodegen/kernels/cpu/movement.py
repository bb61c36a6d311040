"""Plans of kernels that only move elements: concatenation, slices, transposition, padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from gncodegen.kernels.cpu.elementwise import BLOCK, flat
from gncodegen.kernels.launches import row_size, slots, traffic
from gncodegen.kernels.movement import Transposition, padded_axes, run
from gncodegen.kernels.schedule import Constant, Launch, Order, Plan, Problem


def _plan(
    problem: Problem,
    template: str,
    shape: Mapping[str, Constant],
    tiles: Mapping[str, Constant],
    grid: int,
    order: tuple[int, ...] = (),
    **numbers: int,
) -> Plan:
    """One launch that reads and writes everything once; `numbers` as Schedule.numbers, with their values."""
    dtype = problem.results[0].dtype
    tiles = {**tiles, "vector": problem.machine.lanes(dtype)}
    schedule = problem.schedule(template, dtype, shape=shape, tiles=tiles, numbers=numbers)
    writes, values = (len(problem.operands),), tuple(numbers.values())
    return Plan((Launch(schedule, slots(problem), grid, writes, traffic(problem), order=order, numbers=values),))


def _by_rows(problem: Problem, template: str, shape: Mapping[str, Constant]) -> Plan:
    """One launch over blocks of rows of the result, which are side by side from the op's axis on."""
    y = problem.results[0]
    width = run(problem, y)
    rows, block = (y.count // width if width else 0), max(1, BLOCK // max(1, width))
    order = Order(block, rows // y.shape[0]) if width <= row_size(y) and y.count else ()
    return _plan(problem, template, {"width": width, **shape}, {"block": block}, -(-rows // block), order, rows=rows)


def _concatenate(problem: Problem) -> Plan:
    """Y = the rows of all operands side by side."""
    return _by_rows(problem, "concatenate", {"widths": tuple(run(problem, operand) for operand in problem.operands)})


def _slice(problem: Problem) -> Plan:
    """Y = a run of x along one axis."""
    channels, length = run(problem, problem.operands[0]), problem.integer("length")
    start = run(problem, problem.results[0]) // length * problem.integer("start")
    return _by_rows(problem, "slice", {"channels": channels, "start": start})


def _transpose(problem: Problem) -> Plan:
    """Y = x with its axes reordered: a copy, rows in another order, or blocks turned about their diagonal."""
    found = Transposition.of(problem)
    if found is None:
        return flat(problem, "copy", {}, 0, ((0, 0),))
    if found.width:
        block = max(1, BLOCK // found.width)
        order = Order(block, found.share) if found.share else ()
        shape, grid = found.shape | {"width": found.width}, -(-found.outers // block)
        return _plan(problem, "permute_rows", shape, {"block": block}, grid, order, rows=found.outers)
    block = max(64, BLOCK // found.number("columns") // 64 * 64)
    blocks = -(-found.number("rows") // block)
    order = Order(1, found.share, blocks) if found.share else ()
    tiles = {"block": block, "blocks": blocks}
    return _plan(problem, "transpose", found.shape, tiles, found.outers * blocks, order)


def source(extent: int, before: int, after: int, mode: str) -> tuple[int, ...]:
    """For every place of a padded axis, the element that it copies; −1 where it is the constant."""
    places = range(-before, extent + after)
    match mode:
        case "symmetric-include-edge":
            return tuple(min(place % (2 * extent), 2 * extent - 1 - place % (2 * extent)) for place in places)
        case "symmetric-exclude-edge":
            period = max(1, 2 * (extent - 1))
            return tuple(min(place % period, period - place % period) for place in places)
        case "replicate":
            return tuple(min(max(place, 0), extent - 1) for place in places)
        case _:
            return tuple(place if 0 <= place < extent else -1 for place in places)


def _padding(problem: Problem, shape: tuple[int, ...]) -> dict[str, Constant]:
    """The constants of padding an array of `shape`."""
    constants: dict[str, Constant] = {"channels": shape[-1], "constant": problem.text("mode") in ("", "constant")}
    for axis, extent, before, after in padded_axes(problem, shape):
        constants |= {axis: extent, f"before_{axis}": before, f"out_{axis}": before + extent + after}
        constants[f"source_{axis}"] = source(extent, before, after, problem.text("mode"))
    return constants


def _pad(problem: Problem) -> Plan:
    """Y = x with pads at both ends of every spatial axis."""
    x, y = problem.operands[0], problem.results[0]
    row_size = y.shape[-2] * y.shape[-1]
    rows, block = y.count // max(1, row_size), max(1, BLOCK // max(1, row_size))
    shape: dict[str, Constant] = {**_padding(problem, x.shape), "value": problem.number("value")}
    order = Order(block, rows // y.shape[0]) if rows else ()
    return _plan(problem, "pad", shape, {"block": block}, -(-rows // block), order, rows=rows)


def _pad_gradient(problem: Problem) -> Plan:
    """Dx = the inside of dy, plus what mirrored or repeated pads copied; a tile is a block of observations."""
    dx = problem.results[0]
    # Axes before those that are padded are more observations.
    batch = prod(dx.shape[: -1 - len(problem.integers("padding")) // 2])
    block = max(1, BLOCK // max(1, dx.count // max(1, batch)))
    return _plan(
        problem, "pad_gradient", _padding(problem, dx.shape), {"block": block}, -(-batch // block), batch=batch
    )


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "concatenate": _concatenate,
    "slice": _slice,
    "transpose": _transpose,
    "pad": _pad,
    "pad_gradient": _pad_gradient,
}
