"""The vocabulary of the launch loop: calls of kernels, and counters by which the threads of a run know of others."""

from __future__ import annotations

import platform
import sys
import time
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_intrinsic: Any = intrinsic  # callers do not pass the typing context
_WORD = ir.IntType(64)
YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
_PAUSE = {"x86_64": "llvm.x86.sse2.pause", "AMD64": "llvm.x86.sse2.pause"}.get(platform.machine(), "")


@_intrinsic
def call(context: Any, function: Any, tile: Any, argv: Any) -> Any:
    """Calls the kernel at an address: void(tile, argv)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_WORD, _WORD])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1], args[2]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@_intrinsic
def fetch_add(context: Any, address: Any, value: Any) -> Any:
    """The int64 at an address, to which `value` is then added; who reads it after sees what was written before."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], _WORD.as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "acq_rel")

    return types.int64(types.int64, types.int64), generate


@_intrinsic
def fetch(context: Any, address: Any) -> Any:
    """The int64 at an address, and all that was written before it was."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(args[0], _WORD.as_pointer()), "acquire", 8)

    return types.int64(types.int64), generate


@_intrinsic
def pause(context: Any) -> Any:
    """A moment in which a core does nothing."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _PAUSE:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic(_PAUSE, fnty=kind), [])
        return context.get_dummy_value()

    return types.void(), generate


@_intrinsic
def give_way(context: Any) -> Any:
    """Lets another thread that waits for this core have it."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, YIELD), [])
        return context.get_dummy_value()

    return types.void(), generate


@_intrinsic
def nanoseconds(context: Any) -> Any:
    """The system's monotonic clock."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        span = ir.LiteralStructType([_WORD, _WORD])  # struct timespec: seconds, nanoseconds
        place = cgutils.alloca_once(builder, span)
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), span.as_pointer()])
        read = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        builder.call(read, [ir.Constant(ir.IntType(32), time.CLOCK_MONOTONIC), place])
        value = builder.load(place)
        seconds = builder.mul(builder.extract_value(value, 0), ir.Constant(_WORD, 10**9))
        return builder.add(seconds, builder.extract_value(value, 1))

    return types.int64(), generate
