"""Runs one gn op's plan on arrays on any target, without IR: plan → render → compile → check → run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gncodegen.kernels import catalog
from gncodegen.kernels.hyperparameters import COUNT
from gncodegen.kernels.schedule import Machine, Plan, Problem, Tensor
from support.targets import machine

Array = np.ndarray[Any, Any]
Execute = Callable[..., list[Array]]


@dataclass(frozen=True)
class Case:
    """One op with its arrays.

    Args:
        problem: the op, on the machine it is planned for.
        plan: its launches.
        operands: arrays; bfloat16 as uint16 bits.
        hyperparameters: what a run of a network would hand down.
        in_place: number of a result → number of the operand whose memory it takes.
    """

    problem: Problem
    plan: Plan
    operands: Sequence[Array]
    hyperparameters: Array
    in_place: Mapping[int, int] = field(default_factory=dict)

    def buffers(self) -> list[tuple[str, Tensor, Array | None]]:
        """Name, shape and content of every buffer that has memory of its own."""
        found = [
            (f"operand{i}", tensor, value)
            for i, (tensor, value) in enumerate(zip(self.problem.operands, self.operands, strict=True))
        ]
        results = [(f"result{i}", t, None) for i, t in enumerate(self.problem.results) if i not in self.in_place]
        return [*found, *results, *((f"workspace{i}", t, None) for i, t in enumerate(self.plan.workspaces))]


def problem_of(
    op: str,
    operands: Sequence[tuple[Sequence[int], str]],
    results: Sequence[tuple[Sequence[int], str]],
    attributes: Mapping[str, Any] | None = None,
    on: Machine | None = None,
) -> Problem:
    """The Problem of an op whose operands and results are (shape, dtype)."""

    def tensors(given: Sequence[tuple[Sequence[int], str]]) -> tuple[Tensor, ...]:
        return tuple(Tensor(tuple(shape), dtype) for shape, dtype in given)

    return Problem(op, tensors(operands), tensors(results), dict(attributes or {}), on or machine())


def modelled(problem: Problem, batch: int) -> Problem:
    """The problem for kernels that are specialised for `batch` observations, of which its first operand has others."""
    count = problem.operands[0].shape[0]

    def tensors(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(Tensor((batch, *t.shape[1:]), t.dtype) if t.shape[:1] == (count,) else t for t in given)

    model = replace(problem, operands=tensors(problem.operands), results=tensors(problem.results))
    return replace(problem, model=model)


def executor(target: str) -> Execute:
    """`execute(op, operands, results, attributes, …) -> list of result arrays` on a target."""

    def execute(
        op: str,
        operands: Sequence[Array],
        results: Sequence[tuple[Sequence[int], str]],
        attributes: Mapping[str, Any] | None = None,
        hyperparameters: Sequence[float] = (0.0,) * COUNT,
        in_place: Mapping[int, int] | None = None,
        dtypes: Sequence[str] | None = None,
        on: Machine | None = None,
        cores: int | None = None,
        batch: int | None = None,
    ) -> list[Array]:
        where = on or machine(target, **({} if cores is None else {"cores": cores}))
        types = dtypes or [str(a.dtype) for a in operands]
        given = [(a.shape, dtype) for a, dtype in zip(operands, types, strict=True)]
        problem = problem_of(op, given, results, attributes, where)
        if batch is not None:
            problem = modelled(problem, batch)
        case = Case(problem, catalog.plan(problem), operands, np.array(hyperparameters, np.float64), in_place or {})
        if where.family == "cpu":
            from support.cpu_execution import run
        else:
            from support.cuda_execution import run
        return run(case)

    return execute
