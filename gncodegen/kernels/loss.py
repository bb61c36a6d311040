"""Plans of softmax and its losses, for every target: each brings its own launches over rows of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.schedule import Launch, Plan, Problem, Schedule

ByRows = Callable[..., Plan]
"""(problem, template, flops of an element, in place, **shape) → one launch over rows, each on its own."""

Scheduled = Callable[..., tuple[Schedule, int]]
"""(problem, template, shape) → a schedule over blocks of rows, and the number of blocks."""

Summed = Callable[..., Plan]
"""(problem, schedule, grid, flops of an element, in place) → launches that sum result 0, the loss, over blocks."""


def plans(by_rows: ByRows, scheduled: Scheduled, summed: Summed) -> Mapping[str, Callable[[Problem], Plan]]:
    """Op → its plan, with a target's launches."""
    return {
        "softmax": lambda problem: _softmax(problem, by_rows),
        "softmax_gradient": lambda problem: _softmax_gradient(problem, by_rows),
        "softmax_cross_entropy": lambda problem: _softmax_cross_entropy(problem, scheduled, summed),
        "softmax_cross_entropy_gradient": lambda problem: _softmax_cross_entropy_gradient(problem, by_rows),
    }


def rows_of(problem: Problem) -> tuple[int, int]:
    """(rows, classes) of the first operand."""
    x = problem.operands[0]
    classes = x.shape[-1]
    return (x.count // classes if classes else 0), classes


NUMBERS = ("rows", "batch")
"""What kernels over rows of classes read at run time."""


def numbers_of(problem: Problem) -> tuple[int, int]:
    """Their values."""
    return rows_of(problem)[0], problem.operands[0].shape[0]


def parts_launch(
    problem: Problem, schedule: Schedule, grid: int, flops: int, numbers: tuple[int, ...], *, whole: bool = False
) -> Launch:
    """The launch that sums result 0, the loss: each block leaves its part in workspace 0.

    Args:
        problem: of the loss.
        schedule: of the launch.
        grid: blocks.
        flops: of an element.
        numbers: that it reads; () = those of NUMBERS.
        whole: there is one block, whose part is the loss.
    """
    arguments, loss = list(slots(problem)), len(problem.operands)
    if not whole:
        arguments[loss] = "workspace0"
    return Launch(
        schedule,
        tuple(arguments),
        grid,
        writes=tuple(range(loss, len(arguments))),
        bytes=traffic(problem),
        flops=flops * problem.operands[0].count,
        numbers=numbers or numbers_of(problem),
    )


def _softmax(problem: Problem, by_rows: ByRows) -> Plan:
    """Y = exp(x − max) / Σ exp(x − max) per row."""
    return by_rows(problem, "softmax", 25, ((0, 0),))


def _softmax_gradient(problem: Problem, by_rows: ByRows) -> Plan:
    """Dx = y · (dy − Σ y·dy) per row."""
    return by_rows(problem, "softmax_gradient", 4, ((0, 1), (0, 0)))


def _softmax_cross_entropy(problem: Problem, scheduled: Scheduled, summed: Summed) -> Plan:
    """Loss = −(1/N) ΣΣ w t (z − ln Σ exp z), and y = softmax(z)."""
    schedule, grid = scheduled(problem, "softmax_cross_entropy", {"class_weights": problem.numbers("class_weights")})
    return summed(problem, schedule, grid, 30, ((1, 0),))


def _softmax_cross_entropy_gradient(problem: Problem, by_rows: ByRows) -> Plan:
    """Dz = (y · Σ w t − w t) / N per row."""
    return by_rows(
        problem, "softmax_cross_entropy_gradient", 5, ((0, 0), (0, 1)), class_weights=problem.numbers("class_weights")
    )
