"""What every plan says of a launch that takes all arrays of its op."""

from __future__ import annotations

from math import prod

from gncodegen.kernels.schedule import Problem, Tensor


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


def modelled_rows(problem: Problem, tensor: Tensor) -> Tensor:
    """An operand or result of the problem as its model has it, if only the first axis differs and is one of several."""
    model = problem.modelled
    pairs = zip((*problem.operands, *problem.results), (*model.operands, *model.results), strict=True)
    found = next((other for each, other in pairs if each is tensor), tensor)
    alike = found.shape[1:] == tensor.shape[1:] and found.count > 0
    return found if alike and found.shape[:1] > (1,) else tensor
