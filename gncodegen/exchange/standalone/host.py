"""This computer, for a file that stands alone: its processor and its threads, whatever the environment says."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from numba.core.target_extension import target_registry
from numba.np.ufunc import parallel

from gncodegen.targets.cpu.processor import Processor, host
from gncodegen.targets.cpu.threads import quota, starting

__all__ = ["TARGET", "Uninterrupted", "numba_threads", "processor", "target_machine", "turn", "workers"]

TARGET = f"gncodegen-{len(target_registry)}"
"""As Numba knows this file's kernels: a process may have several such files, and import one of them again."""


@cache
def processor() -> Processor:
    """This computer's processor."""
    return host()


@cache
def target_machine() -> Any:
    """LLVM's machine for it."""
    return processor().target_machine()


@cache
def numba_threads() -> Any:
    """Numba's module of threads, which it starts then."""
    threads: Any = parallel
    with starting():
        threads._launch_threads()
    return threads


@cache
def workers() -> int:
    """Threads of a run: NUMBA_NUM_THREADS, else the cores that this process may run on and its container pays for."""
    most = numba_threads().get_num_threads()
    return min(most, quota() or most)


def turn() -> AbstractContextManager[Any]:
    """Nothing: one call at a time runs anyway."""
    return nullcontext()


class Uninterrupted(nullcontext[None]):
    """Nothing: what a signal cuts off is done again by the next call."""
