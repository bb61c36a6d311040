"""Numba CUDA kernels that are none of ours, run in the emulator: `emulated(kernel)[grid, block](x, y)`.

Tests get it as a fixture by `pytest_plugins = ["gncodegen.targets.cuda.pytest_plugin"]`; docs/emulator.md shows how.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from gncodegen.emulator import DeviceMemory, Executable, Statistics, run
from gncodegen.errors import ArrayError
from gncodegen.targets.cuda.architectures import architecture

Sizes = int | Sequence[int]


def emulated(kernel: Any, unwritten: Collection[str] = (), target: str = "sm_90") -> EmulatedKernel:
    """A kernel that runs in the emulator when it is launched as Numba's are.

    Args:
        kernel: a function decorated with `numba.cuda.jit`, or a plain one.
        unwritten: names of its parameters whose arrays nobody wrote yet: reading them first is a fault.
        target: the architecture that it is compiled for.
    """
    return EmulatedKernel(kernel, frozenset(unwritten), target)


class EmulatedKernel:
    """A kernel to be launched by `kernel[grid, block](…)`, `[grid, block, stream, shared bytes]` as in Numba.

    Args:
        kernel: as for `emulated`.
        unwritten: likewise.
        target: likewise.
    """

    def __init__(self, kernel: Any, unwritten: frozenset[str], target: str) -> None:
        self._kernel, self._unwritten = kernel, unwritten
        self._capability = architecture(target).capability
        self._names = list(inspect.signature(getattr(kernel, "py_func", kernel)).parameters)

    def __getitem__(self, sizes: tuple[Any, ...]) -> Callable[..., Statistics]:
        """The launch over a grid: of NumPy arrays, which it changes, and numbers."""
        grid, block, *more = sizes
        shared = int(more[1]) if len(more) > 1 else 0
        return lambda *arguments: self._launch(grid, block, shared, arguments)

    def _launch(self, grid: Sizes, block: Sizes, shared: int, arguments: tuple[Any, ...]) -> Statistics:
        """One launch.

        Raises:
            EmulationFault: the kernel does what a GPU would not do, or what it must not.
            ArrayError: an argument is neither a dense array nor a number.
        """
        from gncodegen.targets.cuda.numba_cuda import compile_own  # noqa: PLC0415  it imports Numba

        memory, passed, addresses = DeviceMemory(), list[Any](), dict[str, int]()
        given = dict(zip(self._names, arguments, strict=True))
        for name, value in given.items():
            if not isinstance(value, np.ndarray):
                passed.append(_number(name, value))
                continue
            if not value.flags.c_contiguous:
                raise ArrayError(f"{name} is not contiguous; allowed: C order; give np.ascontiguousarray({name})")
            addresses[name] = memory.allocate(max(value.nbytes, 1), name)
            if name not in self._unwritten:
                memory.write(addresses[name], value)
            # As Numba passes an array: two addresses of its owner, size, bytes of an element, data, shape, strides.
            passed += [0, 0, value.size, value.itemsize, addresses[name], *value.shape, *value.strides]
        module = Executable(compile_own(self._kernel, arguments, self._capability))
        statistics = run(module, grid=grid, block=block, arguments=passed, memory=memory, dynamic_shared=shared)
        for name, address in addresses.items():
            array = given[name]
            array[...] = memory.read(address, array.shape, array.dtype)
        return statistics


def _number(name: str, value: Any) -> Any:
    if isinstance(value, (bool, int, float, np.generic)):
        return value
    raise ArrayError(f"{name} is of type {type(value).__name__}; allowed: NumPy arrays and numbers; convert it")
