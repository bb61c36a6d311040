"""Random bits of generated CUDA kernels: the stream of the CPU's dropout, bit for bit."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.numba_cuda import intrinsic
from gncodegen.targets.cuda.values import INT64, WIDE


@intrinsic
def split_mix(context: Any, value: Any) -> Any:
    """`split_mix(z)`: the 64 mixed bits of a counter (SplitMix64: Steele, Lea & Flood 2014)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def folded(bits: Any, distance: int) -> Any:
            return builder.xor(bits, builder.lshr(bits, ir.Constant(INT64, distance)))

        bits = builder.mul(folded(args[0], 30), ir.Constant(INT64, 0xBF58476D1CE4E5B9))
        bits = builder.mul(folded(bits, 27), ir.Constant(INT64, 0x94D049BB133111EB))
        return folded(bits, 31)

    return WIDE(WIDE), generate
