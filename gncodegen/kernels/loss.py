"""Plans of softmax and its losses, for every target: each brings its own launches over rows of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.launches import over_all, slots, traffic
from gncodegen.kernels.schedule import Constant, Launch, Order, Plan, Problem, Schedule

Scheduled = Callable[..., tuple[Schedule, int]]
"""(problem, template, shape) → a schedule over blocks of as many rows as its tile "block", and the number of blocks."""

Summed = Callable[..., Plan]
"""(problem, schedule, grid, flops of an element, in place) → launches that sum result 0, the loss, over blocks."""


def plans(scheduled: Scheduled, summed: Summed) -> Mapping[str, Callable[[Problem], Plan]]:
    """Op → its plan, with a target's launches."""
    return {
        "softmax": lambda problem: _softmax(problem, scheduled),
        "softmax_gradient": lambda problem: _softmax_gradient(problem, scheduled),
        "softmax_cross_entropy": lambda problem: _softmax_cross_entropy(problem, scheduled, summed),
        "softmax_cross_entropy_gradient": lambda problem: _softmax_cross_entropy_gradient(problem, scheduled),
    }


def by_rows(
    problem: Problem,
    scheduled: Scheduled,
    template: str,
    flops: int,
    in_place: tuple[tuple[int, int], ...],
    **shape: Constant,
) -> Plan:
    """One launch over rows of classes, each on its own; `flops` of an element."""
    schedule, grid = scheduled(problem, template, shape)
    x = problem.operands[0]
    order = Order(int(str(schedule.tiles["block"])), rows_of(problem)[0] // x.shape[0]) if x.count else ()
    launch = over_all(problem, schedule, grid, flops, order, numbers_of(problem))
    return Plan((launch,), in_place=in_place)


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


def _softmax(problem: Problem, scheduled: Scheduled) -> Plan:
    """Y = exp(x − max) / Σ exp(x − max) per row."""
    return by_rows(problem, scheduled, "softmax", 25, ((0, 0),))


def _softmax_gradient(problem: Problem, scheduled: Scheduled) -> Plan:
    """Dx = y · (dy − Σ y·dy) per row."""
    return by_rows(problem, scheduled, "softmax_gradient", 4, ((0, 1), (0, 0)))


def _softmax_cross_entropy(problem: Problem, scheduled: Scheduled, summed: Summed) -> Plan:
    """Loss = −(1/N) ΣΣ w t (z − ln Σ exp z), and y = softmax(z)."""
    schedule, grid = scheduled(problem, "softmax_cross_entropy", {"class_weights": problem.numbers("class_weights")})
    return summed(problem, schedule, grid, 30, ((1, 0),))


def _softmax_cross_entropy_gradient(problem: Problem, scheduled: Scheduled) -> Plan:
    """Dz = (y · Σ w t − w t) / N per row."""
    weights = problem.numbers("class_weights")
    return by_rows(problem, scheduled, "softmax_cross_entropy_gradient", 5, ((0, 0), (0, 1)), class_weights=weights)
