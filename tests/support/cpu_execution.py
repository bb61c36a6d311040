"""One op on the CPU: guarded buffers, filled so that a missed write shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.kernels import store
from gncodegen.targets.cpu import compile as compiler
from gncodegen.targets.cpu import host, objects, runner
from support.execution import Case

GUARD = 64
"""Elements behind the end of a buffer that no kernel may write."""


def _buffer(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """A 64-byte aligned buffer with its guard, flat."""
    dtype_ = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.zeros((count + GUARD) * dtype_.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    flat = raw[start : start + (count + GUARD) * dtype_.itemsize].view(dtype_)
    flat[:count] = np.nan if dtype_.kind == "f" else 0
    flat[count:] = 77
    return flat


def run(case: Case) -> list[np.ndarray[Any, Any]]:
    """The results of an op."""
    flats, arrays = {}, {"hyperparameters": case.hyperparameters}
    for name, tensor, value in case.buffers():
        flats[name] = _buffer(tensor.shape, tensor.dtype)
        arrays[name] = flats[name][:-GUARD].reshape(tensor.shape)
        if value is not None:
            arrays[name][...] = value
    arrays |= {f"result{i}": arrays[f"operand{source}"] for i, source in case.in_place.items()}
    launches = case.plan.launches
    sources = [store.write(launch.schedule, host.tag()).path for launch in launches]
    compiler.compile_missing(sources)
    starts = np.cumsum([0] + [len(launch.arguments) for launch in launches])[:-1].astype(np.int64)
    argv = np.array([arrays[name].ctypes.data for launch in launches for name in launch.arguments], np.int64)
    grids = np.array([launch.grid for launch in launches], np.int64)
    firsts = np.array([launch.first for launch in launches], np.int64)
    costs = np.full(len(grids), 1 << 40)  # all threads, however small the test
    kernels = objects.link(sources)
    runner.run(np.array([kernel.address for kernel in kernels], np.int64), grids, firsts, costs, argv, starts)
    for name, flat in flats.items():
        assert (flat[-GUARD:] == 77).all(), f"a kernel wrote behind the end of {name}"
    return [arrays[f"result{i}"].copy() for i in range(len(case.problem.results))]
