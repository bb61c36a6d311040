"""What every plan says of a launch that takes all arrays of its op."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from gncodegen.kernels.schedule import Constant, Launch, Order, Plan, Problem, Schedule, Tensor


def slots(problem: Problem) -> tuple[str, ...]:
    """The argument table of a single launch: all operands, then all results."""
    operands = tuple(f"operand{i}" for i in range(len(problem.operands)))
    return operands + tuple(f"result{i}" for i in range(len(problem.results)))


def traffic(problem: Problem) -> int:
    """Bytes of every operand and result, each touched once."""
    return sum(tensor.bytes for tensor in (*problem.operands, *problem.results))


def row_size(tensor: Tensor) -> int:
    """Values of one observation, the first axis being that of observations; 1 where there are none."""
    return max(1, prod(tensor.shape[1:]))


def over_all(
    problem: Problem,
    schedule: Schedule,
    grid: int,
    flops: int,
    order: tuple[int, ...],
    numbers: tuple[int, ...],
    more: tuple[str, ...] = (),
) -> Launch:
    """A launch that takes all arrays of its op and writes the first result.

    Args:
        problem: the op.
        schedule: of the kernel.
        grid: its tiles.
        flops: of an element of the result.
        order: as Launch.order.
        numbers: the values of Schedule.numbers.
        more: arguments behind operands and results.
    """
    return Launch(
        schedule,
        (*slots(problem), *more),
        grid,
        writes=(len(problem.operands),),
        bytes=traffic(problem),
        flops=flops * problem.results[0].count,
        order=order,
        numbers=numbers,
    )


def by_elements(
    problem: Problem,
    template: str,
    shape: Mapping[str, Constant],
    tiles: Mapping[str, Constant],
    flops: int,
    in_place: tuple[tuple[int, int], ...],
    more: tuple[str, ...] = (),
    numbers: Mapping[str, int] | None = None,
) -> Plan:
    """One launch over the elements of the first result.

    Args:
        problem: whose operands are as large as that.
        template: as in Schedule.
        shape: as there.
        tiles: as there; "block" says how many elements a tile has.
        flops: of an element.
        in_place: as Plan.in_place.
        more: arguments behind operands and results.
        numbers: as Schedule.numbers, with their values; "count" stands in front of them.
    """
    y, block = problem.results[0], int(str(tiles["block"]))
    numbers = {"count": y.count, **(numbers or {})}
    schedule = problem.schedule(template, y.dtype, shape=shape, tiles=tiles, numbers=numbers)
    launch = over_all(
        problem, schedule, -(-y.count // block), flops, Order(block, row_size(y)), tuple(numbers.values()), more
    )
    return Plan((launch,), in_place=in_place)


def modelled_rows(problem: Problem, tensor: Tensor) -> Tensor:
    """An operand or result of the problem as its model has it, if only the first axis differs and is one of several."""
    model = problem.modelled
    pairs = zip((*problem.operands, *problem.results), (*model.operands, *model.results), strict=True)
    found = next((other for each, other in pairs if each is tensor), tensor)
    alike = found.shape[1:] == tensor.shape[1:] and found.count > 0
    return found if alike and found.shape[:1] > (1,) else tensor
