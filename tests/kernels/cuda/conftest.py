"""Runs one gn op's CUDA plan on arrays in the emulator, without IR: plan → render → compile → check → emulate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba.cuda", reason="the CUDA side is proved where `pip install 'gncodegen[cuda]'` is possible")

from support.cuda_kernels import check_static, check_traffic, numpy_type, problem_of

from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Machine, Tensor

Execute = Callable[..., list[np.ndarray]]


@pytest.fixture
def execute() -> Execute:
    """`execute(op, operands, results, attributes, …) -> list of result arrays`; bfloat16 as uint16 bits."""

    def run(
        op: str,
        operands: Sequence[np.ndarray],
        results: Sequence[tuple[Sequence[int], str]],
        attributes: dict[str, Any] | None = None,
        hyperparameters: Sequence[float] = (0.0,) * 8,
        in_place: dict[int, int] | None = None,
        dtypes: Sequence[str] | None = None,
        on: Machine | None = None,
    ) -> list[np.ndarray]:
        from gncodegen.emulator import DeviceMemory, Traffic
        from gncodegen.targets.cuda.emulated import arguments_of, launch_emulated
        from gncodegen.targets.cuda.hyperparameters import device_block

        types = dtypes or [str(a.dtype) for a in operands]
        given = [(a.shape, t) for a, t in zip(operands, types, strict=True)]
        problem = problem_of(op, given, results, attributes, on)
        plan = catalog.plan(problem)
        sources = check_static(problem, plan)
        memory, named = DeviceMemory(), dict[str, int]()

        def place(name: str, tensor: Tensor, value: np.ndarray | None = None) -> None:
            named[name] = memory.allocate(max(tensor.bytes, 1), name)
            if value is not None:
                memory.write(named[name], np.ascontiguousarray(value))

        for i, (tensor, value) in enumerate(zip(problem.operands, operands, strict=True)):
            place(f"operand{i}", tensor, value)
        for i, tensor in enumerate(problem.results):
            if i in (in_place or {}):
                named[f"result{i}"] = named[f"operand{(in_place or {})[i]}"]
            else:
                place(f"result{i}", tensor)
        for i, tensor in enumerate(plan.workspaces):
            place(f"workspace{i}", tensor)
        block = device_block(np.array(hyperparameters, np.float64))
        place("hyperparameters", Tensor((block.nbytes,), "uint8"), block)
        for launch, source in zip(plan.launches, sources, strict=True):
            addresses = [named[name] for name in launch.arguments]
            given, traffic = arguments_of(addresses, launch.first), Traffic(memory)
            launch_emulated(source, launch.schedule, launch.grid, given, memory, traffic=traffic)
            check_traffic(op, launch, source, traffic)
        return [
            memory.read(named[f"result{i}"], tensor.shape, numpy_type(tensor.dtype))
            for i, tensor in enumerate(problem.results)
        ]

    return run
