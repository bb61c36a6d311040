"""The fixture `emulated` for tests of Numba CUDA kernels; `pytest_plugins` in a conftest.py names this module."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gncodegen.targets.cuda import own_kernels


@pytest.fixture
def emulated() -> Callable[..., own_kernels.EmulatedKernel]:
    """`emulated(kernel)[grid, block](x, y)` runs a kernel on NumPy arrays, with all checks of the emulator."""
    return own_kernels.emulated
