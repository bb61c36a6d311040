"""numba-cuda's own examples: tests in its package that come with it, run on the emulator in place of a GPU."""

from __future__ import annotations

import sys
import unittest
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gncodegen.targets.cuda.own_kernels import emulated


class OnDevice(np.ndarray):
    """An array that numba-cuda's examples take for one on a GPU."""

    def copy_to_host(self, array: np.ndarray | None = None, **_: Any) -> np.ndarray:
        found = np.array(self)
        if array is not None:
            array[...] = found
        return found

    def copy_to_device(self, array: np.ndarray, **_: Any) -> None:
        self[...] = array


class _Testing(ModuleType):
    """Stands for numba.cuda.testing, which needs packages for tests of numba-cuda alone."""

    CUDATestCase = unittest.TestCase

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *given: given[0] if given and callable(given[0]) else lambda function: function


def _launched(dispatcher: Any, sizes: Any) -> Any:
    launch = emulated(dispatcher)[sizes]
    return lambda *given: launch(*(one.view(np.ndarray) if isinstance(one, np.ndarray) else one for one in given))


def cases(monkeypatch: pytest.MonkeyPatch, name: str) -> list[unittest.TestCase]:
    """The tests of an example; while `monkeypatch` lasts, what they launch is emulated.

    Args:
        monkeypatch: changed numba.cuda as a user sees it.
        name: of a module in numba.cuda.tests.doc_examples, without "test_".
    """
    from numba import cuda
    from numba.cuda.dispatcher import CUDADispatcher

    def to_device(array: np.ndarray, **_: Any) -> OnDevice:
        return np.array(array, order="C").view(OnDevice)

    monkeypatch.setitem(sys.modules, "numba.cuda.testing", _Testing("numba.cuda.testing"))
    monkeypatch.setattr(cuda, "to_device", to_device)
    monkeypatch.setattr(cuda, "device_array", lambda shape, dtype, **_: to_device(np.zeros(shape, dtype)))
    monkeypatch.setattr(cuda, "device_array_like", lambda array: to_device(np.zeros_like(array)))
    monkeypatch.setattr(cuda, "synchronize", lambda: None)
    monkeypatch.setattr(CUDADispatcher, "__getitem__", _launched)
    monkeypatch.setattr(CUDADispatcher, "forall", lambda self, count: _launched(self, (-(-count // 128), 128)))
    module = import_module(f"numba.cuda.tests.doc_examples.test_{name}")
    found = [case for suite in unittest.defaultTestLoader.loadTestsFromModule(module) for case in suite]
    functions = (one for name, one in vars(module).items() if name.startswith("test_"))
    return [*found, *map(unittest.FunctionTestCase, functions)]
