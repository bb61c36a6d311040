"""CUDA plans of kernels that only move elements; results are written in order, 16 bytes at a time if possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd

from gncodegen.kernels.cuda.elementwise import THREADS, flat, unrolled
from gncodegen.kernels.launches import row_size, slots, traffic
from gncodegen.kernels.movement import Transposition, padded_axes, run
from gncodegen.kernels.schedule import Constant, Launch, Order, Plan, Problem

TURNED_COLUMNS = 32
"""Widest tile of a transposition in the order of x."""

TURNED_VALUES = 2048
"""Values of such a tile, about."""


def _gathered(
    problem: Problem, template: str, shape: Mapping[str, Constant], whole: tuple[int, ...], ordered: bool = True
) -> Plan:
    """One launch whose threads write the result in order; `whole` are runs of elements that accesses must divide.

    `ordered` says that rows of the result need only the operands' rows in front of their ends.
    """
    y = problem.results[0]
    lanes = gcd(problem.machine.lanes(y.dtype), *whole)
    vectors = y.count // lanes
    unroll = unrolled(problem.modelled.results[0].count // lanes, problem.machine)
    block = THREADS * unroll
    tiles: dict[str, Constant] = {"threads": THREADS, "lanes": lanes, "unroll": unroll}
    schedule = problem.schedule(template, y.dtype, shape=shape, tiles=tiles, numbers=("vectors",))
    order = Order(block, row_size(y) // lanes) if ordered and row_size(y) % lanes == 0 else ()
    launch = Launch(
        schedule, slots(problem), -(-vectors // block), (len(problem.operands),), traffic(problem),
        order=order, numbers=(vectors,),
    )  # fmt: skip
    return Plan((launch,))


def _concatenate(problem: Problem) -> Plan:
    """Y = the rows of all operands side by side."""
    widths = tuple(run(problem, operand) for operand in problem.operands)
    shape: dict[str, Constant] = {"width": run(problem, problem.results[0]), "widths": widths}
    return _gathered(problem, "concatenate", shape, widths)


def _slice(problem: Problem) -> Plan:
    """Y = a run of x along one axis."""
    width, channels = run(problem, problem.results[0]), run(problem, problem.operands[0])
    start = width // problem.integer("length") * problem.integer("start")
    shape: dict[str, Constant] = {"width": width, "channels": channels, "start": start}
    return _gathered(problem, "slice", shape, (start, width, channels))


def _transpose(problem: Problem) -> Plan:
    """Y = x with its axes reordered: a copy, rows in another order, or tiles turned in shared memory."""
    found = Transposition.of(problem)
    if found is None:
        return flat(problem, "copy", {}, 0, ((0, 0),))
    if found.width:
        shape = found.shape | {"width": found.width}
        return _gathered(problem, "permute_rows", shape, (found.width,), found.share > 0)
    return _turned(problem, found)


def _turned(problem: Problem, found: Transposition) -> Plan:
    """One launch over tiles of the matrices whose rows and columns change places."""
    dtype, rows, columns = problem.results[0].dtype, found.number("rows"), found.number("columns")
    tile_columns = min(columns, TURNED_COLUMNS)
    tile_rows = min(max(TURNED_VALUES // tile_columns, TURNED_COLUMNS), rows)
    lanes = problem.machine.lanes(dtype)
    blocks = -(-rows // tile_rows), -(-columns // tile_columns)
    starts_from = (found.number("from_stride"), *_integers_of(found.shape["outer_from"]))
    starts_to = (found.number("to_stride"), *_integers_of(found.shape["outer_to"]))
    tiles: dict[str, Constant] = {
        "threads": THREADS,
        "tile_rows": tile_rows,
        "tile_columns": tile_columns,
        "row_blocks": blocks[0],
        "column_blocks": blocks[1],
        "lanes_in": gcd(lanes, columns, tile_columns, *starts_from),
        "lanes_out": gcd(lanes, rows, tile_rows, *starts_to),
    }
    schedule = problem.schedule("transpose", dtype, shape=found.shape, tiles=tiles)
    matrix = blocks[0] * blocks[1]
    order = Order(1, found.share, matrix) if found.share else ()
    return Plan((Launch(schedule, slots(problem), found.outers * matrix, (1,), traffic(problem), order=order),))


def _integers_of(value: Constant) -> tuple[int, ...]:
    assert isinstance(value, tuple)
    return tuple(int(item) for item in value)


def _padding(problem: Problem, shape: tuple[int, ...]) -> dict[str, Constant]:
    """The constants of padding an array of `shape`."""
    constants: dict[str, Constant] = {"channels": shape[-1], "mode": problem.text("mode") or "constant"}
    for axis, extent, before, after in padded_axes(problem, shape):
        constants |= {axis: extent, f"before_{axis}": before, f"after_{axis}": after}
        constants[f"out_{axis}"] = before + extent + after
    return constants


def _pad(problem: Problem) -> Plan:
    """Y = x with pads at both ends of every spatial axis."""
    shape = _padding(problem, problem.operands[0].shape)
    return _gathered(problem, "pad", {**shape, "value": problem.number("value")}, (problem.results[0].shape[-1],))


def _pad_gradient(problem: Problem) -> Plan:
    """Dx = the inside of dy, plus what mirrored or repeated pads copied."""
    dx = problem.results[0]
    return _gathered(problem, "pad_gradient", _padding(problem, dx.shape), (dx.shape[-1],))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "concatenate": _concatenate,
    "slice": _slice,
    "transpose": _transpose,
    "pad": _pad,
    "pad_gradient": _pad_gradient,
}
