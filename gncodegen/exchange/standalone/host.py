"""This computer, for a file that stands alone: its processor and its threads, whatever the environment says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from numba import get_num_threads, njit, typeof

from gncodegen.targets.cpu.processor import Processor, host
from gncodegen.targets.cpu.threads import quota, starting

__all__ = ["TARGET", "_parallel", "_turn", "_workers", "processor", "target_machine"]

TARGET = f"gncodegen-{__name__}"
"""As Numba knows this file's kernels: a process may have several such files."""


@cache
def processor() -> Processor:
    """This computer's processor."""
    return host()


@cache
def target_machine() -> Any:
    """LLVM's machine for it."""
    return processor().target_machine()


def _parallel(function: Callable[..., None]) -> Any:
    """The runner, compiled or from Numba's cache when it first runs; Numba starts its threads then."""
    compiled: Any = njit(parallel=True, nogil=True, error_model="numpy", cache=True)(function)

    def call(*arguments: Any) -> None:
        if not compiled.signatures:
            with starting():
                compiled.compile(tuple(map(typeof, arguments)))
        compiled(*arguments)

    return call


def _workers() -> int:
    """Threads of a run: NUMBA_NUM_THREADS, else the cores that this process may run on and its container pays for."""
    return min(get_num_threads(), quota() or get_num_threads())


def _turn() -> AbstractContextManager[Any]:
    """Nothing: one call at a time runs anyway."""
    return nullcontext()
