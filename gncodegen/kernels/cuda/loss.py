"""CUDA plans of softmax and the losses: lanes of a warp share a row, and sums are a fixed tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd

from gncodegen.kernels import loss
from gncodegen.kernels.cuda.elementwise import THREADS, flat
from gncodegen.kernels.launches import row_size
from gncodegen.kernels.loss import NUMBERS, parts_launch, rows_of
from gncodegen.kernels.schedule import Constant, Launch, Plan, Problem, Schedule, Tensor

WARP = 32
"""Lanes of a warp."""

MOST_HELD = 16
"""Most values of a row that a thread holds at once; longer rows are read in several goes."""

FEW_CLASSES = 4
"""Classes of a row for each lane before another lane joins in."""

LOSS_BLOCKS = 4
"""Blocks per multiprocessor of a sum over elements, at most."""


def _rows_tiles(classes: int) -> dict[str, Constant]:
    """How many lanes share a row, and how many of its values each holds."""
    lanes_per_row = 1
    while lanes_per_row < WARP and classes > FEW_CLASSES * lanes_per_row:
        lanes_per_row *= 2
    held = min(MOST_HELD, max(1, -(-classes // lanes_per_row)))
    return {
        "threads": THREADS,
        "lanes_per_row": lanes_per_row,
        "held": held,
        "goes": max(1, -(-classes // (lanes_per_row * held))),
        "block": THREADS // lanes_per_row,
    }


def _schedule(problem: Problem, template: str, shape: Mapping[str, Constant]) -> tuple[Schedule, int]:
    """The schedule over blocks of rows, and the number of blocks."""
    rows, classes = rows_of(problem)
    tiles = _rows_tiles(classes)
    constants: dict[str, Constant] = {"classes": classes, **shape}
    schedule = problem.schedule(template, problem.operands[0].dtype, shape=constants, tiles=tiles, numbers=NUMBERS)
    return schedule, -(-rows // int(str(tiles["block"])))


def _summed(
    problem: Problem,
    schedule: Schedule,
    grid: int,
    flops: int,
    in_place: tuple[tuple[int, int], ...] = (),
    numbers: tuple[int, ...] = (),
) -> Plan:
    """A launch whose blocks each write a part of result 0, the loss, and a small one that joins the parts."""
    grid = max(grid, 1)  # an empty batch still has a loss: zero
    dtype = problem.operands[0].dtype
    main = parts_launch(problem, schedule, grid, flops, numbers)
    total = problem.schedule("sum", dtype, tiles={"threads": THREADS}, numbers=("count",))
    parts = Tensor((grid,), dtype)
    add = Launch(total, ("workspace0", "result0"), 1, (1,), parts.bytes, grid, numbers=(grid,))
    return Plan((main, add), workspaces=(parts,), in_place=in_place)


def _elements(problem: Problem, template: str, shape: Mapping[str, Constant], flops: int) -> Plan:
    """A loss summed over the elements of both operands."""
    y = problem.operands[0]
    lanes = gcd(problem.machine.lanes(y.dtype), row_size(y))
    vectors = y.count // lanes
    grid = max(1, min(LOSS_BLOCKS * problem.machine.cores, -(-vectors // THREADS)))
    numbers = {"count": y.count, "batch": y.shape[0], "steps": -(-vectors // (grid * THREADS))}
    tiles: dict[str, Constant] = {"threads": THREADS, "lanes": lanes}
    schedule = problem.schedule(template, y.dtype, shape=shape, tiles=tiles, numbers=numbers)
    return _summed(problem, schedule, grid, flops, numbers=tuple(numbers.values()))


def _cross_entropy(problem: Problem) -> Plan:
    """Loss = −(1/N) ΣΣ w t ln y."""
    shape: dict[str, Constant] = {"classes": rows_of(problem)[1], "class_weights": problem.numbers("class_weights")}
    return _elements(problem, "cross_entropy", shape, 25)


def _cross_entropy_gradient(problem: Problem) -> Plan:
    """Dy = −w t / (y N)."""
    shape: dict[str, Constant] = {
        "classes": rows_of(problem)[1],
        "class_weights": problem.numbers("class_weights"),
    }
    numbers = {"batch": problem.operands[0].shape[0]}
    return flat(problem, "cross_entropy_gradient", shape, 3, ((0, 0), (0, 1)), numbers=numbers)


def _half_squared_error(problem: Problem) -> Plan:
    """Loss = ½ Σ (y − t)² / N."""
    return _elements(problem, "half_squared_error", {}, 3)


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    **loss.plans(_schedule, _summed),
    "cross_entropy": _cross_entropy,
    "cross_entropy_gradient": _cross_entropy_gradient,
    "half_squared_error": _half_squared_error,
}
