"""Values that the compiler may reason no further about."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.numba_cuda import intrinsic
from gncodegen.targets.cuda.values import INDEX, INT32


@intrinsic
def opaque(context: Any, value: Any) -> Any:
    """`opaque(i)`: a 32-bit Index that the compiler does not connect with its origin; costs no instruction."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        assembly = ir.InlineAsm(ir.FunctionType(INT32, [INT32]), "mov.u32 $0, $1;", "=r,r", side_effect=True)
        return builder.call(assembly, [args[0]])

    return INDEX(INDEX), generate
