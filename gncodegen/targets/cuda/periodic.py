"""Values that repeat along a row, such as one per channel, as the vector that belongs to a thread's columns."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.arithmetic import from_lanes
from gncodegen.targets.cuda.memory import load_value
from gncodegen.targets.cuda.numba_cuda import intrinsic_of_literals
from gncodegen.targets.cuda.values import INDEX, INT32, SCALAR, Vec, literal


@intrinsic_of_literals
def load_periodic(context: Any, base: Any, index: Any, period: Any, lanes: Any) -> Any:
    """`load_periodic(p, i, period, lanes)`: p[(i + k) % period] for k < lanes, through ld.global.nc; i % lanes is 0."""
    count = literal(period, "period")
    vec = Vec(SCALAR[base.element], literal(lanes, "lanes"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def wrapped(k: int) -> Any:
            moved = builder.add(args[1], ir.Constant(INT32, k)) if k else args[1]
            return builder.urem(moved, ir.Constant(INT32, count))

        if count % vec.lanes == 0:
            return load_value(builder, base, args[0], wrapped(0), vec.lanes, True)
        scalars = [load_value(builder, base, args[0], wrapped(k), 0, True) for k in range(vec.lanes)]
        return from_lanes(builder, vec, scalars)

    return vec(base, INDEX, period, lanes), generate
