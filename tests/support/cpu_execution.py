"""One op on the CPU: guarded buffers, filled so that a missed write shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.kernels import store
from gncodegen.runtime.checking import Guarded
from gncodegen.targets.cpu import compile as compiler
from gncodegen.targets.cpu import host, objects, runner
from support.execution import Case


def run(case: Case) -> list[np.ndarray[Any, Any]]:
    """The results of an op."""
    places, arrays = {}, {"hyperparameters": case.hyperparameters}
    for name, tensor, value in case.buffers():
        places[name] = Guarded(tensor.bytes, tensor.dtype)
        arrays[name] = places[name].array(tensor.shape, "uint16" if tensor.dtype == "bfloat16" else tensor.dtype)
        if value is not None:
            arrays[name][...] = value
    arrays |= {f"result{i}": arrays[f"operand{source}"] for i, source in case.in_place.items()}
    launches = case.plan.launches
    sources = [store.write(launch.schedule, host.tag()).path for launch in launches]
    compiler.compile_missing(sources)
    # In front of the addresses of a launch stand its numbers, last first.
    table, starts = list[int](), list[int]()
    for launch in launches:
        table += reversed(launch.numbers)
        starts.append(len(table))
        table += [arrays[name].ctypes.data for name in launch.arguments]
    argv = np.array(table, np.int64)
    grids = np.array([launch.grid for launch in launches], np.int64)
    firsts = np.array([launch.first for launch in launches], np.int64)
    costs = np.full(len(grids), 1 << 40)  # all threads, however small the test
    kernels = objects.link(sources)
    functions = np.array([kernel.address for kernel in kernels], np.int64)
    runner.run(runner.Launches(functions, grids, firsts, costs, argv, np.array(starts, np.int64)))
    for name, place in places.items():
        assert not place.fault, f"a kernel wrote {place.fault}: {name}"
    return [arrays[f"result{i}"].copy() for i in range(len(case.problem.results))]
