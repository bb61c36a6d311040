"""CUDA plans of kernels that only move elements; results are written in order, 16 bytes at a time if possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd, prod

from gncodegen.kernels.cuda.elementwise import THREADS, flat, unrolled
from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.movement import collapsed, padded_axes, run
from gncodegen.kernels.schedule import Constant, Launch, Plan, Problem

TURNED_COLUMNS = 32
"""Widest tile of a transposition in the order of x."""

TURNED_VALUES = 2048
"""Values of such a tile, about."""


def _gathered(problem: Problem, template: str, shape: Mapping[str, Constant], whole: tuple[int, ...]) -> Plan:
    """One launch whose threads write the result in order; `whole` are runs of elements that accesses must divide."""
    y = problem.results[0]
    lanes = gcd(problem.machine.lanes(y.dtype), *whole)
    vectors = y.count // lanes
    unroll = unrolled(vectors, problem.machine)
    tiles: dict[str, Constant] = {"threads": THREADS, "lanes": lanes, "unroll": unroll}
    constants: dict[str, Constant] = {"vectors": vectors, **shape}
    schedule = problem.schedule(template, y.dtype, shape=constants, tiles=tiles)
    grid, writes = -(-vectors // (THREADS * unroll)), (len(problem.operands),)
    return Plan((Launch(schedule, slots(problem), grid, writes, bytes=traffic(problem)),))


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
    x = problem.operands[0]
    extents, permutation = collapsed(x.shape, problem.integers("permutation"))
    if len(extents) <= 1 or x.count == 0:
        return flat(problem, "copy", {}, 0, ((0, 0),))
    strides = tuple(prod(extents[axis + 1 :]) for axis in range(len(extents)))
    outs = tuple(extents[axis] for axis in permutation)
    out_strides = tuple(prod(outs[axis + 1 :]) for axis in range(len(outs)))
    last, turned = len(extents) - 1, permutation[-1]
    # Besides the last axes of x and of y, every axis is an outer one, in the order of y.
    outer = [place for place, axis in enumerate(permutation) if axis not in (last, turned)]
    shape: dict[str, Constant] = {
        "outer": tuple(outs[place] for place in outer),
        "outer_from": tuple(strides[permutation[place]] for place in outer),
        "outer_to": tuple(out_strides[place] for place in outer),
    }
    if turned == last:
        return _gathered(problem, "permute_rows", {**shape, "width": extents[last]}, (extents[last],))
    shape |= {
        "rows": extents[turned],
        "columns": extents[last],
        "from_stride": strides[turned],
        "to_stride": out_strides[permutation.index(last)],
    }
    return _turned(problem, shape, prod(outs[place] for place in outer))


def _turned(problem: Problem, shape: Mapping[str, Constant], outers: int) -> Plan:
    """One launch over tiles of the matrices whose rows and columns change places."""
    dtype = problem.results[0].dtype
    rows, columns, from_stride, to_stride = (
        int(str(shape[name])) for name in ("rows", "columns", "from_stride", "to_stride")
    )
    tile_columns = min(columns, TURNED_COLUMNS)
    tile_rows = min(max(TURNED_VALUES // tile_columns, TURNED_COLUMNS), rows)
    lanes = problem.machine.lanes(dtype)
    blocks = -(-rows // tile_rows), -(-columns // tile_columns)
    starts_from = (from_stride, *_integers_of(shape["outer_from"]))
    starts_to = (to_stride, *_integers_of(shape["outer_to"]))
    tiles: dict[str, Constant] = {
        "threads": THREADS,
        "tile_rows": tile_rows,
        "tile_columns": tile_columns,
        "row_blocks": blocks[0],
        "column_blocks": blocks[1],
        "lanes_in": gcd(lanes, columns, tile_columns, *starts_from),
        "lanes_out": gcd(lanes, rows, tile_rows, *starts_to),
    }
    schedule = problem.schedule("transpose", dtype, shape=shape, tiles=tiles)
    return Plan((Launch(schedule, slots(problem), outers * blocks[0] * blocks[1], (1,), bytes=traffic(problem)),))


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
