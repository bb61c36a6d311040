"""One op on a GPU, through the runtime: a Program of its own, kernels loaded, run."""

from __future__ import annotations

import numpy as np

from gncodegen.kernels.single import program
from gncodegen.runtime.device_executor import DeviceArena, DeviceExecutor, DeviceHyperparameters
from gncodegen.targets.cuda.device.gpu import Gpu
from support.cuda_kernels import compiled
from support.execution import Case


def executor(case: Case, gpu: Gpu) -> DeviceExecutor:
    """The executor of an op's Program."""
    made = program(case.problem, case.plan)
    sources = compiled(list(made.kernels.values()))
    kernels = {
        name: gpu.load(source, schedule) for (name, schedule), source in zip(made.kernels.items(), sources, strict=True)
    }
    return DeviceExecutor(made, kernels, gpu, DeviceArena(gpu), {}, DeviceHyperparameters(gpu, case.hyperparameters))


def run(case: Case, gpu: Gpu) -> list[np.ndarray]:
    """The results of an op that reads no hyperparameters."""
    running = executor(case, gpu)
    running.run({("input", f"operand{i}"): np.ascontiguousarray(each) for i, each in enumerate(case.operands)})
    return [running.result(("output", f"result{i}")) for i in range(len(case.problem.results))]
