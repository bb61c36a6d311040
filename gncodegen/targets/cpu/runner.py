"""The one runner: walks a list of launches and calls each kernel's address over its tiles, on all cores.

It is the only parallel Numba function, so it is compiled once per machine and kept in Numba's own cache.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import get_num_threads, njit, prange, set_num_threads, types
from numba.extending import intrinsic
from numba.np.ufunc import threading_layer
from numpy.typing import NDArray

from gncodegen.targets.cpu.host import cores

Int64Array = NDArray[np.int64]

# GNU OpenMP spins for about a millisecond at the end of every launch. On a machine that others use too, the thread that
# spins keeps the one it waits for off the core: steps took 10 times as long. It reads this when it loads.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@intrinsic
def _call_kernel(context: Any, function: Any, tile: Any, argv: Any) -> Any:
    """Call the kernel at an address: void(tile, argv)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word, word])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1], args[2]])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


_call: Any = _call_kernel


@njit(
    [types.void(*(types.int64[::1],) * 6, types.int64)],
    parallel=True,
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _run(functions: Any, grids: Any, firsts: Any, costs: Any, argv: Any, starts: Any, serial_below: int) -> None:
    base = argv.ctypes.data
    for launch in range(functions.size):
        function = functions[launch]
        arguments, first = base + 8 * starts[launch], firsts[launch]
        if grids[launch] < 2 or costs[launch] < serial_below:
            for tile in range(grids[launch]):
                _call(function, first + tile, arguments)
        else:
            for tile in prange(grids[launch]):
                _call(function, first + tile, arguments)


SERIAL_BELOW = 8_000
SERIAL_BELOW_WORKQUEUE = 200_000
"""Launches of less work, in nanoseconds of one core, run on the calling thread: waking the others takes longer."""


@cache
def _serial_below() -> int:
    """The bound for Numba's threading layer; the slow fallback makes the calling thread worth more often."""
    set_num_threads(min(cores(), get_num_threads()))
    none = np.zeros(0, np.int64)
    _run(none, none, none, none, np.zeros(1, np.int64), none, 0)
    try:
        layer = threading_layer()
    except ValueError:
        return SERIAL_BELOW
    if layer == "workqueue":
        warnings.warn(
            "Numba found neither OpenMP nor TBB and uses slow workqueue threads; install libgomp or `pip install tbb`",
            stacklevel=2,
        )
        return SERIAL_BELOW_WORKQUEUE
    return SERIAL_BELOW


def run(
    functions: Int64Array,
    grids: Int64Array,
    firsts: Int64Array,
    costs: Int64Array,
    argv: Int64Array,
    starts: Int64Array,
) -> None:
    """Runs launches in order, small ones on the calling thread.

    Args:
        functions: a kernel's address each.
        grids: tiles,
        firsts: the number of the first tile,
        costs: nanoseconds on one core, about.
        argv: addresses of all arguments.
        starts: where in `argv` each launch's arguments begin.
    """
    _run(functions, grids, firsts, costs, argv, starts, _serial_below())
