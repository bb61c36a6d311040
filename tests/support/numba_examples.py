"""numba-cuda's own examples: tests in its package that come with it, run on the emulator in place of a GPU."""

from __future__ import annotations

import sys
import unittest
from collections.abc import Callable
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gncodegen.targets.cuda.own_kernels import EmulatedKernel, emulated


class OnDevice(np.ndarray):
    """An array that numba-cuda's examples take for one on a GPU."""

    def copy_to_host(self, array: np.ndarray | None = None, **_: Any) -> np.ndarray:
        found = np.array(self)
        if array is not None:
            array[...] = found
        return found

    def copy_to_device(self, array: np.ndarray, **_: Any) -> None:
        self[...] = array


class Addressed(OnDevice):
    """One whose address an example hands to a kernel."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.__array_interface__


class _Testing(ModuleType):
    """Stands for numba.cuda.testing, which needs packages for tests of numba-cuda alone."""

    CUDATestCase = unittest.TestCase

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *given: given[0] if given and callable(given[0]) else lambda function: function


class _Launches:
    """Kernels by what numba.cuda.jit made of them, and the arrays whose addresses they may be given."""

    def __init__(self, kind: type[OnDevice], smaller: int) -> None:
        self._kind, self._smaller = kind, smaller
        self._kernels: dict[Any, EmulatedKernel] = {}
        self._signatures: dict[Any, Any] = {}
        self._arrays: dict[int, np.ndarray] = {}

    def declare(self, dispatcher: Any, signature: Any) -> None:
        self._signatures[dispatcher] = signature
        compiled = SimpleNamespace(max_cooperative_grid_blocks=lambda threads: 1 << 16)
        dispatcher.overloads = {signature: compiled}

    def to_device(self, array: Any, **_: Any) -> OnDevice:
        found = np.array(array, order="C").view(self._kind)
        self._arrays[found.ctypes.data] = found.view(np.ndarray)
        return found

    def launched(self, dispatcher: Any, sizes: Any) -> Callable[..., Any]:
        grid, *more = sizes
        if self._smaller > 1:
            sizes = tuple(extent // self._smaller for extent in grid), *more
        if dispatcher not in self._kernels or _captures(dispatcher):
            self._kernels[dispatcher] = emulated(dispatcher, leaving=True, signature=self._signatures.get(dispatcher))
        launch = self._kernels[dispatcher][sizes]
        return lambda *given: launch(*map(self._taken, given))

    def device_array(self, shape: Any, dtype: Any, **_: Any) -> OnDevice:
        extents = shape if isinstance(shape, tuple) else (shape,)
        return self.to_device(np.zeros(tuple(extent // self._smaller for extent in extents), dtype))

    def _taken(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.view(np.ndarray)
        return self._arrays.get(value, value) if isinstance(value, int) else value


def _captures(dispatcher: Any) -> bool:
    """Whether a kernel reads arrays of a GPU by their names: their values are those of the launch."""
    cells = dispatcher.py_func.__closure__ or ()
    return any(isinstance(cell.cell_contents, OnDevice) for cell in cells)


def cases(monkeypatch: pytest.MonkeyPatch, name: str) -> list[unittest.TestCase]:
    """The tests of an example; while `monkeypatch` lasts, what they launch is emulated.

    Args:
        monkeypatch: changed numba.cuda as a user sees it.
        name: of a module in numba.cuda.tests.doc_examples, without "test_".
    """
    from numba import cuda
    from numba.cuda.dispatcher import CUDADispatcher

    # The array of one is of 1.8 GB: a sixteenth of it along each axis, and of the grid.
    launches = _Launches(Addressed if name == "cpointer" else OnDevice, 16 if name == "random" else 1)
    to_device = launches.to_device

    def launched(dispatcher: Any, sizes: Any) -> Callable[..., Any]:
        return launches.launched(dispatcher, sizes)

    def declare(dispatcher: Any, signature: Any) -> None:
        launches.declare(dispatcher, signature)

    monkeypatch.setitem(sys.modules, "numba.cuda.testing", _Testing("numba.cuda.testing"))
    monkeypatch.setattr(cuda, "to_device", to_device)
    monkeypatch.setattr(cuda, "device_array", launches.device_array)
    monkeypatch.setattr(cuda, "device_array_like", lambda array: to_device(np.zeros_like(array)))
    monkeypatch.setattr(cuda, "synchronize", lambda: None)
    monkeypatch.setattr(CUDADispatcher, "__getitem__", launched)
    monkeypatch.setattr(CUDADispatcher, "forall", lambda self, count: self[-(-count // 128), 128])
    monkeypatch.setattr(CUDADispatcher, "compile", declare)
    module = import_module(f"numba.cuda.tests.doc_examples.test_{name}")
    found = [case for suite in unittest.defaultTestLoader.loadTestsFromModule(module) for case in suite]
    functions = (one for name, one in vars(module).items() if name.startswith("test_"))
    return [*found, *map(unittest.FunctionTestCase, functions)]
