"""Plans of softmax and the losses: rows of classes, and sums whose order depends on the shape only."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels import loss
from gncodegen.kernels.cpu import elementwise
from gncodegen.kernels.loss import NUMBERS, parts_launch, rows_of
from gncodegen.kernels.schedule import Constant, Launch, Plan, Problem, Schedule, Tensor

BLOCK = 4096
"""Elements of one tile, about: an exponential is worth several ordinary operations."""


def _schedule(problem: Problem, template: str, shape: Mapping[str, Constant]) -> tuple[Schedule, int]:
    """The schedule over blocks of rows, and the number of blocks."""
    rows, classes = rows_of(problem)
    dtype = problem.operands[0].dtype
    block = max(1, BLOCK // max(1, classes))
    schedule = problem.schedule(
        template,
        dtype,
        shape={"classes": classes, **shape},
        tiles={"block": block, "vector": problem.machine.lanes(dtype)},
        numbers=NUMBERS,
    )
    return schedule, -(-rows // block)


def _summed(
    problem: Problem,
    schedule: Schedule,
    grid: int,
    flops: int,
    in_place: tuple[tuple[int, int], ...] = (),
    numbers: tuple[int, ...] = (),
) -> Plan:
    """A launch whose tiles each write a part of result 0, the loss, and one that adds several parts."""
    grid = max(grid, 1)  # an empty batch still has a loss: zero
    main = parts_launch(problem, schedule, grid, flops, numbers, whole=grid == 1)
    if grid == 1:
        return Plan((main,), in_place=in_place)
    total = problem.schedule("sum", "float64", numbers=("count",))
    add = Launch(total, ("workspace0", "result0"), 1, writes=(1,), bytes=8 * grid, flops=grid, numbers=(grid,))
    return Plan((main, add), workspaces=(Tensor((grid,), "float64"),), in_place=in_place)


def _cross_entropy(problem: Problem) -> Plan:
    """Loss = −(1/N) ΣΣ w t ln y."""
    schedule, grid = _schedule(problem, "cross_entropy", {"class_weights": problem.numbers("class_weights")})
    return _summed(problem, schedule, grid, 4)


def _cross_entropy_gradient(problem: Problem) -> Plan:
    """Dy = −w t / (y N)."""
    weights = problem.numbers("class_weights")
    return loss.by_rows(problem, _schedule, "cross_entropy_gradient", 3, ((0, 0), (0, 1)), class_weights=weights)


def _half_squared_error(problem: Problem) -> Plan:
    """Loss = ½ Σ (y − t)² / N."""
    y, block = problem.operands[0], elementwise.BLOCK
    tiles: dict[str, Constant] = {"block": block, "vector": problem.machine.lanes(y.dtype)}
    schedule = problem.schedule("half_squared_error", y.dtype, tiles=tiles, numbers=("count", "batch"))
    return _summed(problem, schedule, -(-y.count // block), 3, numbers=(y.count, y.shape[0]))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    **loss.plans(_schedule, _summed),
    "cross_entropy": _cross_entropy,
    "cross_entropy_gradient": _cross_entropy_gradient,
    "half_squared_error": _half_squared_error,
}
