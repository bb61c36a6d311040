"""Register tiles whose last steps may lie outside, and the sums of neighbouring lanes: what normalizations need.

Only the last `guarded` steps of a tile compare their position with the limit, so that a tile that covers its data
exactly holds no comparison at all.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.arithmetic import from_lanes, lanes_of
from gncodegen.targets.cuda.memory import index_type, load_value, store_value
from gncodegen.targets.cuda.numba_cuda import cgutils, intrinsic_of_literals, types
from gncodegen.targets.cuda.values import SCALAR, Vec, literal


def _positions(builder: Any, index: Any, stride: Any, steps: int) -> list[Any]:
    """LLVM: index + k · stride for every step k."""
    constants = (ir.Constant(stride.type, step) for step in range(steps))
    return [builder.add(index, builder.mul(stride, constant)) for constant in constants]


@intrinsic_of_literals
def load_slab(
    context: Any, base: Any, index: Any, stride: Any, lanes: Any, count: Any, guarded: Any, limit: Any
) -> Any:
    """`load_slab(p, i, stride, lanes, count, guarded, limit)`: load_readonly_strided; guarded steps not below limit are 0."""
    width, steps, free = literal(lanes, "lanes"), literal(count, "count"), literal(count, "count")
    free -= literal(guarded, "guarded")
    vec, kind = Vec(SCALAR[base.element], width * steps), index_type(index)
    part = Vec(vec.dtype, width)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zeros = ir.Constant(part.llvm, [0.0] * width)
        scalars: list[Any] = []
        for step, at in enumerate(_positions(builder, args[1], args[2], steps)):
            if step < free:
                value = load_value(builder, base, args[0], at, width, True)
            else:
                slot = cgutils.alloca_once_value(builder, zeros)
                with builder.if_then(builder.icmp_unsigned("<", at, args[6])):
                    builder.store(load_value(builder, base, args[0], at, width, True), slot)
                value = builder.load(slot)
            scalars += lanes_of(builder, part, value)
        return from_lanes(builder, vec, scalars)

    return vec(base, kind, kind, lanes, count, guarded, kind), generate


@intrinsic_of_literals
def store_slab(
    context: Any, base: Any, index: Any, stride: Any, lanes: Any, value: Any, guarded: Any, limit: Any
) -> Any:
    """`store_slab(p, i, stride, lanes, v, guarded, limit)`: the reverse of load_slab; guarded steps stay unwritten."""
    width, kind = literal(lanes, "lanes"), index_type(index)
    steps = value.lanes // width
    free = steps - literal(guarded, "guarded")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalars = lanes_of(builder, value, args[4])
        for step, at in enumerate(_positions(builder, args[1], args[2], steps)):
            row = from_lanes(builder, Vec(value.dtype, width), scalars[step * width : (step + 1) * width])
            if step < free:
                store_value(builder, base, args[0], at, row)
            else:
                with builder.if_then(builder.icmp_unsigned("<", at, args[6])):
                    store_value(builder, base, args[0], at, row)
        return context.get_dummy_value()

    return types.void(base, kind, kind, lanes, value, guarded, kind), generate


@intrinsic_of_literals
def slab_mask(context: Any, index: Any, stride: Any, lanes: Any, count: Any, guarded: Any, limit: Any) -> Any:
    """`slab_mask(i, stride, lanes, count, guarded, limit)`: which lanes load_slab reads, as a mask for select."""
    width, steps, kind = literal(lanes, "lanes"), literal(count, "count"), index_type(index)
    free, vec = steps - literal(guarded, "guarded"), Vec(types.boolean, width * steps)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits: list[Any] = []
        for step, at in enumerate(_positions(builder, args[0], args[1], steps)):
            inside = ir.Constant(ir.IntType(1), 1) if step < free else builder.icmp_unsigned("<", at, args[5])
            bits += [inside] * width
        return from_lanes(builder, vec, bits)

    return vec(kind, kind, lanes, count, guarded, kind), generate


@intrinsic_of_literals
def add_neighbours(context: Any, value: Any, lanes: Any) -> Any:
    """`add_neighbours(v, lanes)`: `lanes` sums, each of v.lanes // lanes lanes side by side, first with last halves."""
    vec = Vec(value.dtype, literal(lanes, "lanes"))
    width = value.lanes // vec.lanes

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalars, sums = lanes_of(builder, value, args[0]), list[Any]()
        for begin in range(0, value.lanes, width):
            terms = scalars[begin : begin + width]
            while len(terms) > 1:
                half = (len(terms) + 1) // 2
                pairs = (terms[i : i + half + 1 : half] for i in range(half))
                terms = [builder.fadd(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
            sums += terms
        return from_lanes(builder, vec, sums)

    return vec(value, lanes), generate


@intrinsic_of_literals
def each(context: Any, value: Any, lanes: Any) -> Any:
    """`each(v, lanes)`: every lane of v repeated side by side until there are `lanes`."""
    vec = Vec(value.dtype, literal(lanes, "lanes"))
    times = vec.lanes // value.lanes

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalars = lanes_of(builder, value, args[0])
        return from_lanes(builder, vec, [scalar for scalar in scalars for _ in range(times)])

    return vec(value, lanes), generate

