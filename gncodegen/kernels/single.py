"""One op as a Program of its own, without IR: for function forms, tests and benchmarks."""

from __future__ import annotations

from gncodegen.kernels import catalog
from gncodegen.kernels.hyperparameters import BLOCK
from gncodegen.kernels.program import Buffer, Call, Program
from gncodegen.kernels.schedule import Plan, Problem, Schedule

ALIGNMENT = 256
"""Bytes; the widest that any target asks of a buffer's address."""


def program(problem: Problem, plan: Plan | None = None) -> Program:
    """The Program of one op: its operands are inputs, its results outputs, named operand0 …, result0 … in order.

    Args:
        problem: the op.
        plan: how to compute it; None = as the cost model likes best.

    Raises:
        CompileError: there is no kernel for the problem.
    """
    plan = plan or catalog.plan(problem)
    buffers: list[Buffer] = []
    order: dict[str, int] = {}

    def add(name: str, kind: str, shape: tuple[int, ...], dtype: str, offset: int = 0) -> None:
        order[name] = len(buffers)
        buffers.append(Buffer(kind, "" if kind == "arena" else name, shape, dtype, offset))

    for i, tensor in enumerate(problem.operands):
        add(f"operand{i}", "input", tensor.shape, tensor.dtype)
    for i, tensor in enumerate(problem.results):
        add(f"result{i}", "output", tensor.shape, tensor.dtype)
    arena_bytes = 0
    for i, tensor in enumerate(plan.workspaces):
        add(f"workspace{i}", "arena", tensor.shape, tensor.dtype, arena_bytes)
        arena_bytes += -(-tensor.bytes // ALIGNMENT) * ALIGNMENT
    if any("hyperparameters" in launch.arguments for launch in plan.launches):
        add("hyperparameters", "hyperparameters", BLOCK.shape, BLOCK.dtype)
    names: dict[Schedule, str] = {}
    for launch in plan.launches:
        names.setdefault(launch.schedule, f"{problem.op}_{len(names) + 1}")
    calls = tuple(
        Call(
            names[launch.schedule], tuple(order[slot] for slot in launch.arguments), launch.writes, launch.grid,
            bytes=launch.bytes, flops=launch.flops, first=launch.first, numbers=launch.numbers,
        )
        for launch in plan.launches
    )  # fmt: skip
    kernels = {name: schedule for schedule, name in names.items()}
    return Program(problem.op, kernels, tuple(buffers), calls, arena_bytes)
