"""Runs one gn op's plan on arrays, without IR: plan → render → compile → link → run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from gncodegen.kernels import catalog, store
from gncodegen.kernels.schedule import Problem, Tensor

Execute = Callable[..., list[np.ndarray]]


def _aligned(shape: Sequence[int], dtype: str, fill: float = np.nan) -> np.ndarray:
    """A 64-byte aligned array with guard elements behind it, filled so that a missed write shows."""
    dtype_ = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.zeros((count + 64) * dtype_.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    flat = raw[start : start + (count + 64) * dtype_.itemsize].view(dtype_)
    flat[:] = fill if dtype_.kind == "f" else 0
    flat[count:] = 77
    result = flat[:count].reshape(tuple(shape))
    _guards[id(result)] = (flat, count)
    return result


_guards: dict[int, tuple[np.ndarray, int]] = {}


@pytest.fixture
def execute() -> Execute:
    """`execute(op, operands, results, attributes, hyperparameters=None) -> list of result arrays`."""

    def run(
        op: str,
        operands: Sequence[np.ndarray],
        results: Sequence[tuple[Sequence[int], str]],
        attributes: dict[str, Any] | None = None,
        hyperparameters: Sequence[float] = (0.0,) * 8,
        in_place: dict[int, int] | None = None,
    ) -> list[np.ndarray]:
        from gncodegen.targets.cpu import compile as compiler
        from gncodegen.targets.cpu import host, objects, runner

        problem = Problem(
            op,
            tuple(Tensor(tuple(a.shape), str(a.dtype)) for a in operands),
            tuple(Tensor(tuple(shape), dtype) for shape, dtype in results),
            attributes or {},
            host.machine(),
        )
        plan = catalog.plan(problem)
        _guards.clear()
        named: dict[str, np.ndarray] = {"hyperparameters": np.array(hyperparameters, np.float64)}
        for i, operand in enumerate(operands):
            named[f"operand{i}"] = _aligned(operand.shape, str(operand.dtype))
            named[f"operand{i}"][...] = operand
        for i, (shape, dtype) in enumerate(results):
            source = (in_place or {}).get(i)
            named[f"result{i}"] = _aligned(shape, dtype) if source is None else named[f"operand{source}"]
        for i, tensor in enumerate(plan.workspaces):
            named[f"workspace{i}"] = _aligned(tensor.shape, tensor.dtype)
        sources = [store.write(launch.schedule, host.tag()).path for launch in plan.launches]
        compiler.compile_missing(sources)
        starts = np.cumsum([0] + [len(launch.arguments) for launch in plan.launches])[:-1].astype(np.int64)
        argv = np.array([named[a].ctypes.data for launch in plan.launches for a in launch.arguments], np.int64)
        grids = np.array([launch.grid for launch in plan.launches], np.int64)
        firsts = np.array([launch.first for launch in plan.launches], np.int64)
        costs = np.full(len(grids), 1 << 40)  # all threads, however small the test
        runner.run(np.array(objects.link(sources), np.int64), grids, firsts, costs, argv, starts)
        for flat, count in _guards.values():
            assert (flat[count:] == 77).all(), "a kernel wrote behind the end of a buffer"
        return [named[f"result{i}"].copy() for i in range(len(results))]

    return run
