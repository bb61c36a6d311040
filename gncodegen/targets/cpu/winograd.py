"""Winograd's one-dimensional transforms of register tiles, for F(m×m, 3×3): the one place that holds their formulas.

Points are 0, ±1 and ∞ for m = 2, and 0, ±NEAR, ±FAR and ∞ for m = 4. A transform maps the rows of a tile, lane by lane;
two of them, along columns and along rows, make the two-dimensional one. All roundings are fixed: nothing is contracted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gncodegen.targets.cpu.tile import Tile, strided
from gncodegen.targets.cpu.vector import address, call_value, literal, load_value, splat_value, store_value

NEAR, FAR = 0.75, 1.5
"""Magnitudes of the finite points besides 0: three to four times less error than 1 and 2 at the same cost."""


class _Lines:
    """Arithmetic on vectors and Python numbers, as LLVM instructions."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b)

    def subtract(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b)

    def scale(self, factor: float, a: Any) -> Any:
        return self.builder.fmul(self._constant(factor, a), a)

    def fma(self, factor: float, a: Any, b: Any) -> Any:
        """factor·a + b, rounded once."""
        return call_value(self.builder, "llvm.fma", [self._constant(factor, a), a, b])

    def both(self, factor: float, odd: Any, even: Any) -> list[Any]:
        """The pair even ± factor·odd."""
        return [self.fma(factor, odd, even), self.fma(-factor, odd, even)]

    @staticmethod
    def _constant(value: float, like: Any) -> Any:
        return ir.Constant(like.type, [value] * like.type.count)


def _input_points(e: _Lines, d: list[Any]) -> list[Any]:
    """Bᵀ·d."""
    if len(d) == 4:
        return [e.subtract(d[0], d[2]), e.add(d[1], d[2]), e.subtract(d[2], d[1]), e.subtract(d[1], d[3])]
    near, far = NEAR * NEAR, FAR * FAR

    def outer(a: Any, b: Any, c: Any) -> Any:
        return e.fma(near * far, a, e.fma(-near - far, b, c))

    return [
        outer(d[0], d[2], d[4]),
        *e.both(NEAR, e.fma(-far, d[1], d[3]), e.fma(-far, d[2], d[4])),
        *e.both(FAR, e.fma(-near, d[1], d[3]), e.fma(-near, d[2], d[4])),
        outer(d[1], d[3], d[5]),
    ]


def _outputs(e: _Lines, p: list[Any]) -> list[Any]:
    """Aᵀ·p."""
    if len(p) == 4:
        return [e.add(e.add(p[0], p[1]), p[2]), e.subtract(e.subtract(p[1], p[2]), p[3])]
    near_even, near_odd = e.add(p[1], p[2]), e.subtract(p[1], p[2])
    far_even, far_odd = e.add(p[3], p[4]), e.subtract(p[3], p[4])
    return [
        e.add(e.add(p[0], near_even), far_even),
        e.fma(FAR, far_odd, e.scale(NEAR, near_odd)),
        e.fma(FAR**2, far_even, e.scale(NEAR**2, near_even)),
        e.fma(FAR**3, far_odd, e.fma(NEAR**3, near_odd, p[5])),
    ]


def _filter_points(output: int) -> Callable[[_Lines, list[Any]], list[Any]]:
    """G·g for F(output × output, 3×3)."""

    def points(e: _Lines, g: list[Any]) -> list[Any]:
        if output == 2:
            return [g[0], *e.both(0.5, g[1], e.scale(0.5, e.add(g[0], g[2]))), g[2]]
        near, far = NEAR * NEAR, FAR * FAR
        pairs: list[Any] = []
        for point, mine, other in ((NEAR, near, far), (FAR, far, near)):
            factor = 1 / (2 * mine * (mine - other))
            pairs += e.both(factor * point, g[1], e.scale(factor, e.fma(mine, g[2], g[0])))
        return [e.scale(1 / (near * far), g[0]), *pairs, g[2]]

    return points


def _gradient_points(e: _Lines, y: list[Any]) -> list[Any]:
    """A·y, the adjoint of `_outputs`."""
    if len(y) == 2:
        return [y[0], e.add(y[0], y[1]), e.subtract(y[0], y[1]), e.scale(-1.0, y[1])]
    pairs: list[Any] = []
    for point in (NEAR, FAR):
        pairs += e.both(point, e.fma(point**2, y[3], y[1]), e.fma(point**2, y[2], y[0]))
    return [y[0], *pairs, y[3]]


def _taps(e: _Lines, p: list[Any]) -> list[Any]:
    """Gᵀ·p, the adjoint of `_filter_points`."""
    if len(p) == 4:
        even, odd = e.scale(0.5, e.add(p[1], p[2])), e.scale(0.5, e.subtract(p[1], p[2]))
        return [e.add(p[0], even), odd, e.add(even, p[3])]
    near, far = NEAR * NEAR, FAR * FAR
    near_even, near_odd = e.add(p[1], p[2]), e.subtract(p[1], p[2])
    far_even, far_odd = e.add(p[3], p[4]), e.subtract(p[3], p[4])
    by_near, by_far = 1 / (2 * near * (near - far)), 1 / (2 * far * (far - near))
    return [
        e.fma(by_far, far_even, e.fma(by_near, near_even, e.scale(1 / (near * far), p[0]))),
        e.fma(by_far * FAR, far_odd, e.scale(by_near * NEAR, near_odd)),
        e.fma(by_far * far, far_even, e.fma(by_near * near, near_even, p[5])),
    ]


def _mapped(tile: Tile, rows: int, function: Callable[[_Lines, list[Any]], list[Any]]) -> Any:
    """The typed intrinsic that maps the rows of a tile to `rows` rows by `function`."""
    result = Tile(tile.dtype, rows, tile.vectors, tile.lanes)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = ir.Constant(result.llvm, ir.Undefined)
        for q in range(tile.vectors):
            column = [builder.extract_value(args[0], row * tile.vectors + q) for row in range(tile.rows)]
            for row, vector in enumerate(function(_Lines(builder), column)):
                value = builder.insert_value(value, vector, row * tile.vectors + q)
        return value

    return result, generate


@intrinsic
def winograd_input(context: Any, tile: Any) -> Any:
    """`winograd_input(tile)`: m + 2 rows of inputs at the m + 2 points."""
    result, generate = _mapped(tile, tile.rows, _input_points)
    return result(tile), generate


@intrinsic
def winograd_output(context: Any, tile: Any) -> Any:
    """`winograd_output(tile)`: m rows of outputs from their values at the m + 2 points."""
    result, generate = _mapped(tile, tile.rows - 2, _outputs)
    return result(tile), generate


@intrinsic
def winograd_gradient(context: Any, tile: Any) -> Any:
    """`winograd_gradient(tile)`: m rows of gradients of outputs at the m + 2 points."""
    result, generate = _mapped(tile, tile.rows + 2, _gradient_points)
    return result(tile), generate


@intrinsic
def winograd_taps(context: Any, tile: Any) -> Any:
    """`winograd_taps(tile)`: three rows of gradients of taps from those of m + 2 points."""
    result, generate = _mapped(tile, 3, _taps)
    return result(tile), generate


@intrinsic(prefer_literal=True)
def winograd_filter(context: Any, tile: Any, output: Any) -> Any:
    """`winograd_filter(tile, m)`: three rows of taps at the m + 2 points."""
    m = literal(output, "output")
    result, generate = _mapped(tile, m + 2, _filter_points(m))
    return result(tile, output), generate


@intrinsic(prefer_literal=True)
def tile_load_between(context: Any, base: Any, stride: Any, rows: Any, lanes: Any, first: Any, last: Any) -> Any:
    """`tile_load_between(p, stride, rows, lanes, first, last)`: rows first … last − 1 from p[row·stride], else 0."""
    tile = Tile(base.dtype, literal(rows, "rows"), 1, literal(lanes, "lanes"))
    width = {types.float32: 32, types.float64: 64}[base.dtype]
    types_ = (base, types.intp, rows, lanes, types.unliteral(first), types.unliteral(last))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        low, high = args[4], builder.sub(args[5], ir.Constant(args[5].type, 1))
        value = ir.Constant(tile.llvm, ir.Undefined)
        for row in range(tile.rows):
            # Read some row that may be read, and mask it: no branch, and a NaN goes too.
            index = ir.Constant(low.type, row)
            above, below = builder.icmp_signed("<", index, low), builder.icmp_signed(">", index, high)
            at = builder.select(above, low, builder.select(below, high, index))
            source = address(builder, args[0], builder.mul(at, args[1]))
            vector = load_value(builder, source, 0, tile.lanes)
            inside = builder.not_(builder.or_(above, below))
            mask = splat_value(builder, builder.sext(inside, ir.IntType(width)), tile.lanes)
            bits = builder.and_(builder.bitcast(vector, mask.type), mask)
            value = builder.insert_value(value, builder.bitcast(bits, vector.type), row)
        return value

    return tile(*types_), generate


@intrinsic(prefer_literal=True)
def tile_store_first(context: Any, base: Any, stride: Any, tile: Any, rows: Any) -> Any:
    """`tile_store_first(p, stride, tile, rows)`: the first `rows` rows of a tile of one vector, at p[row·stride]."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for row in range(tile.rows):
            with builder.if_then(builder.icmp_signed(">", args[3], ir.Constant(args[3].type, row)), likely=True):
                store_value(builder, args[0], strided(builder, 0, (row, args[1])), builder.extract_value(args[2], row))
        return context.get_dummy_value()

    return types.void(base, types.intp, tile, types.unliteral(rows)), generate
