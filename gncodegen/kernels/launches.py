"""What every plan says of a launch that takes all arrays of its op."""

from __future__ import annotations

from gncodegen.kernels.schedule import Problem


def slots(problem: Problem) -> tuple[str, ...]:
    """The argument table of a single launch: all operands, then all results."""
    operands = tuple(f"operand{i}" for i in range(len(problem.operands)))
    return operands + tuple(f"result{i}" for i in range(len(problem.results)))


def traffic(problem: Problem) -> int:
    """Bytes of every operand and result, each touched once."""
    return sum(tensor.bytes for tensor in (*problem.operands, *problem.results))
