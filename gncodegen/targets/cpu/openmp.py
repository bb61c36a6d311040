"""Numba's OpenMP threads without the rest of Numba, whose import takes as long as all else of a warm start.

Numba keeps them in an extension module of its own, which needs nothing of the others. Whoever imports Numba later
finds the same threads running.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.machinery import ExtensionFileLoader, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from gncodegen.targets.cpu.threads import starting

TBB = "libtbb.so.12"
"""Where this library is, Numba takes its threads."""


class OpenMPThreads:
    """What a run needs of `numba.np.ufunc.parallel`, from the module of OpenMP threads, which it starts.

    Args:
        pool: the module `numba.np.ufunc.omppool`.
    """

    def __init__(self, pool: Any) -> None:
        take, give = ctypes.CFUNCTYPE(None, ctypes.c_int), ctypes.CFUNCTYPE(ctypes.c_int)
        self.get_num_threads, self.set_num_threads = give(pool.get_num_threads), take(pool.set_num_threads)
        llvm.add_symbol("numba_parallel_for", pool.parallel_for)
        count = len(os.sched_getaffinity(0))
        take(pool.launch_threads)(count)
        self.set_num_threads(count)

    def threading_layer(self) -> str:
        """As Numba calls it."""
        return "omp"


def openmp_threads() -> OpenMPThreads | None:
    """The threads, started; None where Numba is imported, is set to something, or has or may prefer others."""
    is_set = any(name.startswith("NUMBA_") for name in os.environ) or Path(".numba_config.yaml").exists()
    if is_set or not sys.platform.startswith("linux") or "numba" in sys.modules or is_library(TBB):
        return None
    package = find_spec("numba")
    folders = [str(Path(each, "np", "ufunc")) for each in (package and package.submodule_search_locations) or ()]
    spec = PathFinder.find_spec("numba.np.ufunc.omppool", folders)
    if spec is None or not isinstance(spec.loader, ExtensionFileLoader):
        return None
    loader = spec.loader

    @cache
    def pool() -> Any:
        module = module_from_spec(spec)
        loader.exec_module(module)
        return module

    try:
        with starting(pool):
            return OpenMPThreads(pool())
    except ImportError:  # there is no OpenMP
        return None


def is_library(name: str) -> bool:
    """Whether there is a shared library of this name."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
