"""One op as compiled PTX in the emulator, after what must hold for every compiled kernel was checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.emulator import DeviceMemory, Traffic
from gncodegen.targets.cuda.emulated import arguments_of, launch_emulated
from gncodegen.targets.cuda.hyperparameters import device_block
from support.cuda_kernels import check_static, check_traffic, numpy_type
from support.execution import Case


def run(case: Case) -> list[np.ndarray[Any, Any]]:
    """The results of an op; bfloat16 as uint16 bits."""
    sources = check_static(case.problem, case.plan)
    memory, addresses = DeviceMemory(), dict[str, int]()
    for name, tensor, value in case.buffers():
        addresses[name] = memory.allocate(max(tensor.bytes, 1), name)
        if value is not None:
            memory.write(addresses[name], np.ascontiguousarray(value))
    addresses |= {f"result{i}": addresses[f"operand{source}"] for i, source in case.in_place.items()}
    block = device_block(case.hyperparameters)
    addresses["hyperparameters"] = memory.allocate(block.nbytes, "hyperparameters")
    memory.write(addresses["hyperparameters"], block)
    for launch, source in zip(case.plan.launches, sources, strict=True):
        places, traffic = [addresses[name] for name in launch.arguments], Traffic(memory)
        given = arguments_of(places, launch.first, launch.numbers)
        launch_emulated(source, launch.schedule, launch.grid, given, memory, traffic=traffic)
        check_traffic(case.problem.op, launch, source, traffic)
    return [
        memory.read(addresses[f"result{i}"], tensor.shape, numpy_type(tensor.dtype))
        for i, tensor in enumerate(case.problem.results)
    ]
