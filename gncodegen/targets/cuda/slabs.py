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
from gncodegen.targets.cuda.values import INT64, LLVM, SCALAR, Vec, literal


def _position(builder: Any, index: Any, stride: Any, step: int) -> Any:
    """LLVM: index + step · stride."""
    return builder.add(index, builder.mul(stride, ir.Constant(stride.type, step)))


def _distances(builder: Any, stride: Any, steps: int) -> list[Any]:
    """LLVM: step · stride with 64 bits; of a constant stride they become offsets inside the instructions."""
    wide = builder.zext(stride, INT64) if stride.type.width < INT64.width else stride
    return [builder.mul(wide, ir.Constant(INT64, step)) for step in range(steps)]


def _at(builder: Any, base: Any, index: Any) -> Any:
    """LLVM: the address of element `index`."""
    wide = builder.zext(index, INT64) if index.type.width < INT64.width else index
    return builder.gep(base, [wide], inbounds=True)


@intrinsic_of_literals
def load_slab(
    context: Any, base: Any, index: Any, stride: Any, lanes: Any, count: Any, guarded: Any, limit: Any
) -> Any:
    """`load_slab(p, i, stride, lanes, count, guarded, limit)`: load_readonly_strided; 0 where a guarded step ends."""
    width, steps, free = literal(lanes, "lanes"), literal(count, "count"), literal(count, "count")
    free -= literal(guarded, "guarded")
    vec, kind = Vec(SCALAR[base.element], width * steps), index_type(index)
    part = Vec(vec.dtype, width)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zeros = ir.Constant(part.llvm, [0.0] * width)
        scalars: list[Any] = []
        first = _at(builder, args[0], args[1])
        for step, distance in enumerate(_distances(builder, args[2], steps)):
            if step < free:
                value = load_value(builder, base, first, distance, width, True)
            else:
                slot = cgutils.alloca_once_value(builder, zeros)
                with builder.if_then(builder.icmp_unsigned("<", _position(builder, args[1], args[2], step), args[6])):
                    builder.store(load_value(builder, base, first, distance, width, True), slot)
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
        first = _at(builder, args[0], args[1])
        for step, distance in enumerate(_distances(builder, args[2], steps)):
            row = from_lanes(builder, Vec(value.dtype, width), scalars[step * width : (step + 1) * width])
            if step < free:
                store_value(builder, base, first, distance, row)
            else:
                with builder.if_then(builder.icmp_unsigned("<", _position(builder, args[1], args[2], step), args[6])):
                    store_value(builder, base, first, distance, row)
        return context.get_dummy_value()

    return types.void(base, kind, kind, lanes, value, guarded, kind), generate


@intrinsic_of_literals
def slab_mask(context: Any, index: Any, stride: Any, lanes: Any, count: Any, guarded: Any, limit: Any) -> Any:
    """`slab_mask(i, stride, lanes, count, guarded, limit)`: which lanes load_slab reads, as a mask for select."""
    width, steps, kind = literal(lanes, "lanes"), literal(count, "count"), index_type(index)
    free, vec = steps - literal(guarded, "guarded"), Vec(types.boolean, width * steps)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits: list[Any] = []
        for step in range(steps):
            inside = ir.Constant(ir.IntType(1), 1)
            if step >= free:
                inside = builder.icmp_unsigned("<", _position(builder, args[0], args[1], step), args[5])
            bits += [inside] * width
        return from_lanes(builder, vec, bits)

    return vec(kind, kind, lanes, count, guarded, kind), generate


@intrinsic_of_literals
def add_rows(context: Any, value: Any, lanes: Any) -> Any:
    """`add_rows(v, lanes)`: the sum of a tile's rows of `lanes` values, one after the other, in few registers."""
    vec = Vec(value.dtype, literal(lanes, "lanes"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalars = lanes_of(builder, value, args[0])
        for i in range(vec.lanes, value.lanes):
            scalars[i % vec.lanes] = builder.fadd(scalars[i % vec.lanes], scalars[i])
        return from_lanes(builder, vec, scalars[: vec.lanes])

    return vec(value, lanes), generate


@intrinsic_of_literals
def add_product_rows(context: Any, a: Any, b: Any, lanes: Any) -> Any:
    """`add_product_rows(a, b, lanes)`: the sum of the rows of a·b, one after the other, each step rounded once."""
    vec = Vec(a.dtype, literal(lanes, "lanes"))
    function_type = ir.FunctionType(LLVM[a.dtype], [LLVM[a.dtype]] * 3)
    name = {types.float32: "llvm.fma.f32", types.float64: "llvm.fma.f64"}[a.dtype]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        fma = cgutils.get_or_insert_function(builder.module, function_type, name)
        left, right = (lanes_of(builder, a, value) for value in args[:2])
        sums = [builder.fmul(left[i], right[i]) for i in range(vec.lanes)]
        for i in range(vec.lanes, a.lanes):
            sums[i % vec.lanes] = builder.call(fma, [left[i], right[i], sums[i % vec.lanes]])
        return from_lanes(builder, vec, sums)

    return vec(a, a, lanes), generate


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
