"""Register tiles: `count` accesses of `lanes` elements, `stride` elements apart, as one wide vector.

All loads of a tile are independent instructions before any arithmetic, which is what hides the latency of memory; the
arithmetic on the wide vector is one line of source, and the assembler keeps every lane in its own register.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.arithmetic import from_lanes, lanes_of
from gncodegen.targets.cuda.memory import index_type, load_value, store_value
from gncodegen.targets.cuda.numba_cuda import cgutils, intrinsic_of_literals, types
from gncodegen.targets.cuda.values import SCALAR, Vec, literal


def _position(builder: Any, index: Any, stride: Any, step: int) -> Any:
    """LLVM: index + step · stride."""
    if not step:
        return index
    return builder.add(index, builder.mul(stride, ir.Constant(stride.type, step)))


def _loader(name: str, readonly: bool, documentation: str) -> Any:
    def typed(context: Any, base: Any, index: Any, stride: Any, lanes: Any, count: Any) -> Any:
        width, steps = literal(lanes, "lanes"), literal(count, "count")
        vec, kind = Vec(SCALAR[base.element], width * steps), index_type(index)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            parts: list[Any] = []
            for step in range(steps):
                at = _position(builder, args[1], args[2], step)
                parts += lanes_of(
                    builder, Vec(vec.dtype, width), load_value(builder, base, args[0], at, width, readonly)
                )
            return from_lanes(builder, vec, parts)

        return vec(base, kind, kind, lanes, count), generate

    typed.__name__, typed.__doc__ = name, documentation
    return intrinsic_of_literals(typed)


load_strided = _loader(
    "load_strided",
    False,
    "`load_strided(p, i, stride, lanes, count)`: p[i + k·stride : + lanes] for k < count, as one vector.",
)
load_readonly_strided = _loader(
    "load_readonly_strided",
    True,
    "`load_readonly_strided(p, i, stride, lanes, count)`: as load_strided, through ld.global.nc.",
)


def _guarded_loader(name: str, readonly: bool, documentation: str) -> Any:
    def typed(context: Any, base: Any, index: Any, stride: Any, lanes: Any, count: Any, limit: Any, other: Any) -> Any:
        width, steps = literal(lanes, "lanes"), literal(count, "count")
        vec, kind = Vec(SCALAR[base.element], width * steps), index_type(index)
        part = Vec(vec.dtype, width)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            filled = from_lanes(builder, part, [args[6]] * width)
            parts: list[Any] = []
            for step in range(steps):
                at = _position(builder, args[1], args[2], step)
                slot = cgutils.alloca_once_value(builder, filled)
                with builder.if_then(builder.icmp_unsigned("<", at, args[5])):
                    builder.store(load_value(builder, base, args[0], at, width, readonly), slot)
                parts += lanes_of(builder, part, builder.load(slot))
            return from_lanes(builder, vec, parts)

        return vec(base, kind, kind, lanes, count, kind, vec.dtype), generate

    typed.__name__, typed.__doc__ = name, documentation
    return intrinsic_of_literals(typed)


load_strided_below = _guarded_loader(
    "load_strided_below",
    False,
    "`load_strided_below(p, i, stride, lanes, count, limit, other)`: the parts from the limit on are `other`.",
)
load_readonly_strided_below = _guarded_loader(
    "load_readonly_strided_below",
    True,
    "`load_readonly_strided_below(…)`: as load_strided_below, through ld.global.nc.",
)


def _storer(name: str, guarded: bool, documentation: str) -> Any:
    def generator(base: Any, width: int, vec: Vec) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            scalars = lanes_of(builder, vec, args[4])
            for step in range(vec.lanes // width):
                at = _position(builder, args[1], args[2], step)
                part = from_lanes(builder, Vec(vec.dtype, width), scalars[step * width : (step + 1) * width])
                if guarded:
                    with builder.if_then(builder.icmp_unsigned("<", at, args[5])):
                        store_value(builder, base, args[0], at, part)
                else:
                    store_value(builder, base, args[0], at, part)
            return context.get_dummy_value()

        return generate

    def everywhere(context: Any, base: Any, index: Any, stride: Any, lanes: Any, value: Any) -> Any:
        kind = index_type(index)
        return types.void(base, kind, kind, lanes, value), generator(base, literal(lanes, "lanes"), value)

    def below(context: Any, base: Any, index: Any, stride: Any, lanes: Any, value: Any, limit: Any) -> Any:
        kind = index_type(index)
        return types.void(base, kind, kind, lanes, value, kind), generator(base, literal(lanes, "lanes"), value)

    typed = below if guarded else everywhere
    typed.__name__, typed.__doc__ = name, documentation
    return intrinsic_of_literals(typed)


store_strided = _storer("store_strided", False, "`store_strided(p, i, stride, lanes, v)`: the reverse of load_strided.")
store_strided_below = _storer(
    "store_strided_below",
    True,
    "`store_strided_below(p, i, stride, lanes, v, limit)`: the parts where i + k·stride < limit.",
)


# ---- between a tile and one of its rows ---------------------------------------------------------------------------


@intrinsic_of_literals
def repeat(context: Any, value: Any, count: Any) -> Any:
    """`repeat(v, count)`: v, count times after itself: one row's values for every row of a tile."""
    vec = Vec(value.dtype, value.lanes * literal(count, "count"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return from_lanes(builder, vec, lanes_of(builder, value, args[0]) * (vec.lanes // value.lanes))

    return vec(value, count), generate


@intrinsic_of_literals
def fold_add(context: Any, value: Any, lanes: Any) -> Any:
    """`fold_add(v, lanes)`: the sum of a tile's rows of `lanes` values, first with last halves."""
    width = literal(lanes, "lanes")
    vec = Vec(value.dtype, width)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalars = lanes_of(builder, value, args[0])
        rows = [from_lanes(builder, vec, scalars[i : i + width]) for i in range(0, value.lanes, width)]
        while len(rows) > 1:
            half = (len(rows) + 1) // 2
            rows = [builder.fadd(rows[i], rows[i + half]) if i + half < len(rows) else rows[i] for i in range(half)]
        return rows[0]

    return vec(value, lanes), generate


@intrinsic_of_literals
def part(context: Any, value: Any, begin: Any, lanes: Any) -> Any:
    """`part(v, begin, lanes)`: lanes begin … begin + lanes - 1; both are constants."""
    start, vec = literal(begin, "begin"), Vec(value.dtype, literal(lanes, "lanes"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return from_lanes(builder, vec, lanes_of(builder, value, args[0])[start : start + vec.lanes])

    return vec(value, begin, lanes), generate
