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


def emulated(
    kernel: Any, unwritten: Collection[str] = (), target: str = "sm_90", signature: Any = None, leaving: bool = False
) -> EmulatedKernel:
    """A kernel that runs in the emulator when it is launched as Numba's are.

    Args:
        kernel: a function decorated with `numba.cuda.jit`, or a plain one.
        unwritten: names of its parameters whose arrays nobody wrote yet: reading them first is a fault.
        target: the architecture that it is compiled for.
        signature: Numba's, or types of its parameters, where they do not follow from the arguments: an array is given
            for a pointer, too.
        leaving: whether threads may end before a barrier that others of their block reach.
    """
    return EmulatedKernel(kernel, frozenset(unwritten), target, signature, leaving)


class EmulatedKernel:
    """A kernel to be launched by `kernel[grid, block](…)`, `[grid, block, stream, shared bytes]` as in Numba.

    It is compiled once for arguments of the same types. A barrier of the whole grid makes its launch cooperative.

    Args:
        kernel: as for `emulated`.
        unwritten: likewise.
        target: likewise.
        signature: likewise.
        leaving: likewise.
    """

    def __init__(self, kernel: Any, unwritten: frozenset[str], target: str, signature: Any, leaving: bool) -> None:
        self._kernel, self._unwritten, self._signature, self._leaving = kernel, unwritten, signature, leaving
        self._capability = architecture(target).capability
        self._names = list(inspect.signature(getattr(kernel, "py_func", kernel)).parameters)
        self._known: dict[tuple[Any, ...], Executable] = {}

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
        from gncodegen.targets.cuda import numba_cuda  # noqa: PLC0415  it imports Numba

        memory, passed, addresses = DeviceMemory(), list[Any](), dict[str, int]()
        given = dict(zip(self._names, arguments, strict=True))
        for name, value in given.items():
            if not isinstance(value, np.ndarray):
                _check_number(name, value)
                continue
            if not value.flags.c_contiguous:
                raise ArrayError(f"{name} is not contiguous; allowed: C order; give np.ascontiguousarray({name})")
            addresses[name] = memory.allocate(max(value.nbytes, 1), name)
            if name not in self._unwritten:
                memory.write(addresses[name], value)
        types = numba_cuda.types_of(arguments, self._signature)
        if types not in self._known:
            self._known[types] = Executable(numba_cuda.compile_own(self._kernel, types, self._capability))
        for (name, value), kind in zip(given.items(), types, strict=True):
            if name not in addresses:
                passed.append(value)
            elif numba_cuda.is_pointer(kind):
                passed.append(addresses[name])
            else:
                # As Numba passes an array: two addresses of its owner, size, bytes of an element, data, shape, strides.
                passed += [0, 0, value.size, value.itemsize, addresses[name], *value.shape, *value.strides]
        module = self._known[types]
        statistics = run(
            module, grid=grid, block=block, arguments=passed, memory=memory, dynamic_shared=shared,
            cooperative=module.meets, leaving=self._leaving,
        )  # fmt: skip
        for name, address in addresses.items():
            array = given[name]
            array[...] = memory.read(address, array.shape, array.dtype)
        return statistics


def _check_number(name: str, value: Any) -> None:
    if not isinstance(value, (bool, int, float, np.generic)):
        raise ArrayError(f"{name} is of type {type(value).__name__}; allowed: NumPy arrays and numbers; convert it")
