"""Register tiles whose last steps may lie outside, and the sums of neighbouring lanes: what normalizations need.

Only the last `guarded` steps of a tile compare their position with the limit, so that a tile that covers its data
exactly holds no comparison at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.arithmetic import from_lanes, lanes_of
from gncodegen.targets.cuda.memory import index_type, load_value, store_value
from gncodegen.targets.cuda.numba_cuda import cgutils, intrinsic, intrinsic_of_literals, types
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
def load_panel(
    context: Any, base: Any, index: Any, stride: Any, lanes: Any, count: Any, guarded: Any, limit: Any
) -> Any:
    """`load_panel(p, i, stride, lanes, count, guarded, limit)`: load_readonly_strided; 0 where a guarded step ends."""
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
def store_panel(
    context: Any, base: Any, index: Any, stride: Any, lanes: Any, value: Any, guarded: Any, limit: Any
) -> Any:
    """`store_panel(p, i, stride, lanes, v, guarded, limit)`: the reverse of load_panel; guarded steps are unwritten."""
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


# ---- sums over the rows of a tile ----------------------------------------------------------------------------------
#
# Rows come one after the other, each with its arithmetic: written as whole-tile arithmetic, the assembler would first
# compute the whole tile once more and keep it beside the tile.


def _summed(
    builder: Any, tiles: list[Any], kind: Any, width: int, guard: tuple[int, Any, Any, Any], term: Callable[..., Any]
) -> Any:
    """LLVM: over the rows inside, sum = term(sum, lane, values of the tiles), one row after the other."""
    guarded, index, stride, limit = guard
    columns = [lanes_of(builder, kind, tile) for tile in tiles]
    steps, sums = kind.lanes // width, [ir.Constant(LLVM[kind.dtype], 0.0)] * width
    for step in range(steps):
        rows = [column[step * width : (step + 1) * width] for column in columns]
        added = [term(sums[k], k, *(row[k] for row in rows)) for k in range(width)]
        if step >= steps - guarded:
            inside = builder.icmp_unsigned("<", _position(builder, index, stride, step), limit)
            added = [builder.select(inside, new, old) for new, old in zip(added, sums, strict=True)]
        sums = added
    return from_lanes(builder, Vec(kind.dtype, width), sums)


def _fused(builder: Any, kind: Any) -> Callable[..., Any]:
    """LLVM: a·b + c with one rounding."""
    scalar = LLVM[kind.dtype]
    name = {types.float32: "llvm.fma.f32", types.float64: "llvm.fma.f64"}[kind.dtype]
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(scalar, [scalar] * 3), name)
    return lambda a, b, c: builder.call(function, [a, b, c])


@intrinsic_of_literals
def add_deviations(context: Any, value: Any, centre: Any, index: Any, stride: Any, guarded: Any, limit: Any) -> Any:
    """`add_deviations(v, centre, i, stride, guarded, limit)`: the sum of the rows of v - centre, those inside."""
    kind, last = index_type(index), literal(guarded, "guarded")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        centres = lanes_of(builder, centre, args[1])

        def term(total: Any, k: int, x: Any) -> Any:
            return builder.fadd(total, builder.fsub(x, centres[k]))

        return _summed(builder, [args[0]], value, centre.lanes, (last, args[2], args[3], args[5]), term)

    return centre(value, centre, kind, kind, guarded, kind), generate


@intrinsic_of_literals
def add_squares(
    context: Any, value: Any, factor: Any, high: Any, low: Any, index: Any, stride: Any, guarded: Any, limit: Any
) -> Any:
    """`add_squares(v, factor, high, low, i, …)`: the sum of the rows of (factor·v - high - low)², those inside."""
    kind, last = index_type(index), literal(guarded, "guarded")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        fma, highs, lows = _fused(builder, value), lanes_of(builder, high, args[2]), lanes_of(builder, low, args[3])

        def term(total: Any, k: int, x: Any) -> Any:
            centred = builder.fsub(builder.fsub(builder.fmul(x, args[1]), highs[k]), lows[k])
            return fma(centred, centred, total)

        return _summed(builder, [args[0]], value, high.lanes, (last, args[4], args[5], args[7]), term)

    return high(value, value.dtype, high, high, kind, kind, guarded, kind), generate


@intrinsic_of_literals
def add_products(context: Any, a: Any, b: Any, lanes: Any, index: Any, stride: Any, guarded: Any, limit: Any) -> Any:
    """`add_products(a, b, lanes, i, stride, guarded, limit)`: the sum of the rows of a·b, those inside."""
    kind, last, width = index_type(index), literal(guarded, "guarded"), literal(lanes, "lanes")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        fma = _fused(builder, a)

        def term(total: Any, k: int, x: Any, y: Any) -> Any:
            return fma(x, y, total)

        return _summed(builder, list(args[:2]), a, width, (last, args[3], args[4], args[6]), term)

    return Vec(a.dtype, width)(a, a, lanes, kind, kind, guarded, kind), generate


@intrinsic_of_literals
def add_rows(context: Any, value: Any, lanes: Any) -> Any:
    """`add_rows(v, lanes)`: the sum of a tile's rows of `lanes` values."""
    width = literal(lanes, "lanes")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def term(total: Any, k: int, x: Any) -> Any:
            return builder.fadd(total, x)

        return _summed(builder, [args[0]], value, width, (0, None, None, None), term)

    return Vec(value.dtype, width)(value, lanes), generate


@intrinsic
def gate(context: Any, g: Any, value: Any, gain: Any, bias: Any, alpha: Any) -> Any:
    """`gate(g, v, gain, bias, alpha)`: g where v·gain + bias > 0, else g·alpha; gain and bias are one row's."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        gains, biases = (lanes_of(builder, gain, row) for row in args[2:4])
        return _gated(builder, g, gain.lanes, args, lambda fma, i, x: fma(x, gains[i], biases[i]))

    return g(g, g, gain, gain, g.dtype), generate


@intrinsic
def gate_sum(context: Any, g: Any, value: Any, gain: Any, bias: Any, alpha: Any, residual: Any) -> Any:
    """`gate_sum(g, v, gain, bias, alpha, r)`: g where v·gain + bias + r > 0, else g·alpha."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        gains, biases = (lanes_of(builder, gain, row) for row in args[2:4])
        added = iter(lanes_of(builder, g, args[5]))
        function = lambda fma, i, x: builder.fadd(fma(x, gains[i], biases[i]), next(added))  # noqa: E731
        return _gated(builder, g, gain.lanes, args, function)

    return g(g, g, gain, gain, g.dtype, g), generate


def _gated(builder: Any, kind: Any, width: int, args: Any, function: Callable[..., Any]) -> Any:
    """LLVM: g where the function of a lane is above 0, else g · alpha, lane after lane."""
    fma, zero = _fused(builder, kind), ir.Constant(LLVM[kind.dtype], 0.0)
    pairs = zip(lanes_of(builder, kind, args[0]), lanes_of(builder, kind, args[1]), strict=True)
    passed: list[Any] = []
    for i, (g, x) in enumerate(pairs):
        above = builder.fcmp_ordered(">", function(fma, i % width, x), zero)
        passed.append(builder.select(above, g, builder.fmul(g, args[4])))
    return from_lanes(builder, kind, passed)


# ---- between a row and the groups in it -----------------------------------------------------------------------------


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


@intrinsic
def beside(context: Any, a: Any, b: Any) -> Any:
    """`beside(a, b)`: the lanes of a, then those of b."""
    vec = Vec(a.dtype, a.lanes + b.lanes)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return from_lanes(builder, vec, lanes_of(builder, a, args[0]) + lanes_of(builder, b, args[1]))

    return vec(a, b), generate


@intrinsic_of_literals
def each(context: Any, value: Any, lanes: Any) -> Any:
    """`each(v, lanes)`: every lane of v repeated side by side until there are `lanes`."""
    vec = Vec(value.dtype, literal(lanes, "lanes"))
    times = vec.lanes // value.lanes

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalars = lanes_of(builder, value, args[0])
        return from_lanes(builder, vec, [scalar for scalar in scalars for _ in range(times)])

    return vec(value, lanes), generate


@intrinsic
def reciprocal_root(context: Any, value: Any) -> Any:
    """`reciprocal_root(v)`: 1 / sqrt(v); float32 within 1 ulp by a step of Newton, float64 by the library."""

    # Division and square root of the library are calls, which cost a tile's worth of registers.
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalar = LLVM[value.dtype]
        double = value.dtype == types.float64
        name = "llvm.sqrt.f64" if double else "llvm.nvvm.rsqrt.approx.f"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(scalar, [scalar]), name)
        half, fma, roots = ir.Constant(scalar, 0.5), _fused(builder, value), list[Any]()
        for x in lanes_of(builder, value, args[0]):
            root = builder.call(function, [x])
            if double:
                roots.append(builder.fdiv(ir.Constant(scalar, 1.0), root))
                continue
            error = fma(builder.fmul(x, root), builder.fmul(root, ir.Constant(scalar, -0.5)), half)
            roots.append(fma(root, error, root))
        return from_lanes(builder, value, roots)

    return value(value), generate


@intrinsic
def two_sum(context: Any, a: Any, b: Any) -> Any:
    """`two_sum(a, b)`: (high, low) with high = a + b rounded and low what the rounding left: high + low is exact.

    Source: Knuth, The Art of Computer Programming 2, 4.2.2, theorem B.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = args
        high = builder.fadd(left, right)
        back = builder.fsub(high, left)
        rest = builder.fsub(left, builder.fsub(high, back))
        return context.make_tuple(builder, sig.return_type, [high, builder.fadd(rest, builder.fsub(right, back))])

    return types.UniTuple(a, 2)(a, a), generate
