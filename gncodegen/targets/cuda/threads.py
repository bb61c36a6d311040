"""Threads of generated CUDA kernels: who am I, warp exchanges, barriers of warp, block and cluster."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.numba_cuda import cgutils, intrinsic, types
from gncodegen.targets.cuda.values import INDEX, INT32, LLVM, WIDE, Index, Vec

FULL = ir.Constant(INT32, 0xFFFFFFFF)


def _special(name: str, register: str, documentation: str) -> Any:
    def typed(context: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            function_type = ir.FunctionType(INT32, [])
            name = f"llvm.nvvm.read.ptx.sreg.{register}"
            return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [])

        return INDEX(), generate

    typed.__name__, typed.__doc__ = name, documentation
    return intrinsic(typed)


thread_index = _special("thread_index", "tid.x", "`thread_index()`: the thread's number in its block.")
block_index = _special("block_index", "ctaid.x", "`block_index()`: the block's number in its launch.")
lane_index = _special("lane_index", "laneid", "`lane_index()`: the thread's number in its warp.")


@intrinsic
def index(context: Any, value: Any) -> Any:
    """`index(i)`: an integer as a 32-bit Index."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return args[0]

    return INDEX(INDEX), generate


@intrinsic
def wide(context: Any, value: Any) -> Any:
    """`wide(i)`: an Index with 64 bits, for offsets that may pass 2³² elements."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return args[0]

    return WIDE(WIDE), generate


@intrinsic
def to_float(context: Any, value: Any, dtype: Any) -> Any:
    """`to_float(i, dtype)`: an Index as float32 or float64."""
    target = dtype.dtype

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.uitofp(args[0], LLVM[target])

    return target(value if isinstance(value, Index) else INDEX, dtype), generate


# ---- barriers ----------------------------------------------------------------------------------------------------


def _assembly(name: str, text: str, documentation: str) -> Any:
    def typed(context: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            function = ir.FunctionType(ir.VoidType(), [])
            builder.call(ir.InlineAsm(function, text, "~{memory}", side_effect=True), [])
            return context.get_dummy_value()

        return types.void(), generate

    typed.__name__, typed.__doc__ = name, documentation
    return intrinsic(typed)


@intrinsic
def barrier(context: Any) -> Any:
    """`barrier()`: every thread of the block arrives; what was written before is seen after."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function_type = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, function_type, "llvm.nvvm.barrier0"), [])
        return context.get_dummy_value()

    return types.void(), generate


cluster_barrier = _assembly(
    "cluster_barrier",
    "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;",
    "`cluster_barrier()`: all of the cluster arrive; what was written before is seen after (from sm_90).",
)


# ---- warp exchanges ----------------------------------------------------------------------------------------------


def _exchanged(builder: Any, value: Any, distance: Any) -> Any:
    """LLVM: the value of the lane whose number differs by the bits of `distance`."""
    if isinstance(value.type, ir.DoubleType):
        words = builder.bitcast(value, ir.VectorType(INT32, 2))
        for i in range(2):
            word = builder.extract_element(words, ir.Constant(INT32, i))
            words = builder.insert_element(words, _exchanged(builder, word, distance), ir.Constant(INT32, i))
        return builder.bitcast(words, ir.DoubleType())
    bits = builder.bitcast(value, INT32) if value.type != INT32 else value
    function_type = ir.FunctionType(INT32, [INT32] * 4)
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.nvvm.shfl.sync.bfly.i32")
    result = builder.call(function, [FULL, bits, distance, ir.Constant(INT32, 31)])
    return builder.bitcast(result, value.type) if value.type != INT32 else result


@intrinsic
def exchange(context: Any, value: Any, distance: Any) -> Any:
    """`exchange(v, d)`: v of the thread whose lane number is this one's xor d; all 32 threads take part."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _per_lane(builder, value, args[0], lambda part: _exchanged(builder, part, args[1]))

    return value(value, INDEX), generate


def _per_lane(builder: Any, kind: Any, value: Any, function: Any) -> Any:
    if not isinstance(kind, Vec):
        return function(value)
    for i in range(kind.lanes):
        at = ir.Constant(INT32, i)
        value = builder.insert_element(value, function(builder.extract_element(value, at)), at)
    return value


def _butterfly(name: str, join: Any, documentation: str) -> Any:
    """A reduction over the 32 threads of a warp; every thread gets the result, joined in one fixed order."""

    def typed(context: Any, value: Any) -> Any:
        kind = value if isinstance(value, Vec) else types.unliteral(value)

        def over(builder: Any, part: Any) -> Any:
            for distance in (16, 8, 4, 2, 1):
                part = join(builder, part, _exchanged(builder, part, ir.Constant(INT32, distance)))
            return part

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _per_lane(builder, kind, args[0], lambda part: over(builder, part))

        return kind(kind), generate

    typed.__name__, typed.__doc__ = name, documentation
    return intrinsic(typed)


warp_sum = _butterfly(
    "warp_sum",
    lambda b, x, y: b.fadd(x, y),
    "`warp_sum(v)`: the sum over the warp, in every thread, lane by lane of v.",
)
warp_max = _butterfly(
    "warp_max",
    lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), y, x),
    "`warp_max(v)`: the largest over the warp, in every thread; a NaN may be passed over.",
)
