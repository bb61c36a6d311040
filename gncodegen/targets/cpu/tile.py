"""The register tile: rows × vectors accumulators as one Numba value.

`Tile` is an LLVM array of vectors that LLVM's SROA pass splits into registers, so that a whole outer-product update is
one call in the kernel's source and compiles in a fraction of the time of as many separate calls.
Keep rows·vectors + vectors + 1 within the machine's vector registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

from gncodegen.targets.cpu.half import as_computed
from gncodegen.targets.cpu.vector import (
    INT64,
    LLVM_TYPE,
    address,
    call_value,
    literal,
    load_value,
    splat_value,
    store_value,
)


class Tile(types.Type):
    """rows × vectors vectors of `lanes` values."""

    def __init__(self, dtype: Any, rows: int, vectors: int, lanes: int) -> None:
        self.dtype, self.rows, self.vectors, self.lanes = dtype, rows, vectors, lanes
        super().__init__(name=f"Tile({dtype}, {rows}, {vectors}, {lanes})")

    @property
    def llvm(self) -> ir.ArrayType:
        """The LLVM type."""
        return ir.ArrayType(ir.VectorType(LLVM_TYPE[self.dtype], self.lanes), self.rows * self.vectors)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, tile: Tile) -> None:
        super().__init__(manager, tile, tile.llvm)


def strided(builder: Any, first: int, *steps: tuple[int, Any]) -> Any:
    """LLVM: the index first + Σ count·stride of the steps (count, stride); a Python int where all counts are 0."""
    index: Any = ir.Constant(INT64, first) if first else None
    for count, stride in steps:
        if count:
            step = stride if count == 1 else builder.mul(stride, ir.Constant(INT64, count))
            index = step if index is None else builder.add(index, step)
    return 0 if index is None else index


@intrinsic(prefer_literal=True)
def tile_zero(context: Any, rows: Any, vectors: Any, lanes: Any, dtype: Any) -> Any:
    """`tile_zero(rows, vectors, lanes, dtype)`: a tile of zeros."""
    tile = Tile(dtype.dtype, literal(rows, "rows"), literal(vectors, "vectors"), literal(lanes, "lanes"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(tile.llvm, None)

    return tile(rows, vectors, lanes, dtype), generate


@intrinsic(prefer_literal=True)
def tile_fma(context: Any, tile: Any, a: Any, inner: Any, inner_stride: Any, outer_stride: Any, b: Any) -> Any:
    """`tile_fma(tile, a, inner, inner_stride, outer_stride, b)`: tile[r, :] += a[row r] · b[:].

    Row r = o·inner + i lies at a[o·outer_stride + i·inner_stride]; b is vectors·lanes contiguous values.
    """
    count = literal(inner, "inner")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        accumulators, left, _, step, jump, right = args
        vectors = [load_value(builder, right, q * tile.lanes, tile.lanes) for q in range(tile.vectors)]
        for row in range(tile.rows):
            at = address(builder, left, strided(builder, 0, (row // count, jump), (row % count, step)))
            scalar = splat_value(builder, as_computed(builder, builder.load(at)), tile.lanes)
            for q, vector in enumerate(vectors):
                i = row * tile.vectors + q
                product = call_value(builder, "llvm.fma", [scalar, vector, builder.extract_value(accumulators, i)])
                accumulators = builder.insert_value(accumulators, product, i)
        return accumulators

    return tile(tile, a, inner, types.intp, types.intp, b), generate


@intrinsic(prefer_literal=True)
def tile_fma_rows(context: Any, tile: Any, a: Any, inner: Any, inner_stride: Any, outer_stride: Any, b: Any) -> Any:
    """`tile_fma_rows(tile, a, inner, inner_stride, outer_stride, b)`: tile[r, :] += a[row r + :] · b[:], lane by lane.

    Row r = o·inner + i starts at a[o·outer_stride + i·inner_stride]; rows and b are vectors·lanes contiguous values.
    """
    count = literal(inner, "inner")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        accumulators, left, _, step, jump, right = args
        vectors = [load_value(builder, right, q * tile.lanes, tile.lanes) for q in range(tile.vectors)]
        for row in range(tile.rows):
            source = address(builder, left, strided(builder, 0, (row // count, jump), (row % count, step)))
            for q, vector in enumerate(vectors):
                value = load_value(builder, source, q * tile.lanes, tile.lanes)
                i = row * tile.vectors + q
                product = call_value(builder, "llvm.fma", [value, vector, builder.extract_value(accumulators, i)])
                accumulators = builder.insert_value(accumulators, product, i)
        return accumulators

    return tile(tile, a, inner, types.intp, types.intp, b), generate


@intrinsic(prefer_literal=True)
def tile_dot(context: Any, tile: Any, a: Any, a_stride: Any, b: Any, b_stride: Any, width: Any) -> Any:
    """`tile_dot(tile, a, a_stride, b, b_stride, width)`: tile[r, q] += a[r·a_stride + i]·b[q·b_stride + i], i < width.

    Lane i of every vector sums its own products; `tile_sum_lanes` adds the lanes at the end.
    """
    count = literal(width, "width")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        accumulators, left, left_stride, right, right_stride, _ = args

        def vector(base: Any, number: int, stride: Any) -> Any:
            value = load_value(builder, base, strided(builder, 0, (number, stride)), count)
            return value if count == tile.lanes else _widened(builder, value, tile.lanes)

        columns = [vector(right, q, right_stride) for q in range(tile.vectors)]
        for row in range(tile.rows):
            value = vector(left, row, left_stride)
            for q, column in enumerate(columns):
                i = row * tile.vectors + q
                product = call_value(builder, "llvm.fma", [value, column, builder.extract_value(accumulators, i)])
                accumulators = builder.insert_value(accumulators, product, i)
        return accumulators

    return tile(tile, a, types.intp, b, types.intp, width), generate


@intrinsic
def tile_sum_lanes(context: Any, tile: Any) -> Any:
    """`tile_sum_lanes(tile)`: rows × 1 vectors whose lane q is the sum of the lanes of tile[r, q], halves first."""
    result = Tile(tile.dtype, tile.rows, 1, tile.vectors)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = ir.Constant(result.llvm, ir.Undefined)
        for row in range(tile.rows):
            sums = ir.Constant(result.llvm.element, ir.Undefined)
            for q in range(tile.vectors):
                total = _sum_lanes(builder, builder.extract_value(args[0], row * tile.vectors + q))
                sums = builder.insert_element(sums, total, ir.Constant(ir.IntType(32), q))
            value = builder.insert_value(value, sums, row)
        return value

    return result(tile), generate


def _sum_lanes(builder: Any, vector: Any) -> Any:
    """LLVM: the sum of the lanes of a vector whose lane count is a power of two."""
    while vector.type.count > 1:
        half = vector.type.count // 2
        low, high = (ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(i, i + half))) for i in (0, half))
        vector = builder.fadd(builder.shuffle_vector(vector, vector, low), builder.shuffle_vector(vector, vector, high))
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@intrinsic
def tile_sum_rows(context: Any, tile: Any) -> Any:
    """`tile_sum_rows(tile)`: the tile of one row that is the sum of all rows, first with last halves."""
    result = Tile(tile.dtype, 1, tile.vectors, tile.lanes)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = ir.Constant(result.llvm, ir.Undefined)
        for q in range(tile.vectors):
            parts = [builder.extract_value(args[0], row * tile.vectors + q) for row in range(tile.rows)]
            while len(parts) > 1:
                half = (len(parts) + 1) // 2
                pairs = [parts[i : i + half + 1 : half] for i in range(half)]
                parts = [builder.fadd(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
            value = builder.insert_value(value, parts[0], q)
        return value

    return result(tile), generate


@intrinsic(prefer_literal=True)
def tile_load(context: Any, base: Any, row_stride: Any, rows: Any, vectors: Any, lanes: Any) -> Any:
    """`tile_load(p, row_stride, rows, vectors, lanes)`: the tile whose row r starts at p[r·row_stride]."""
    tile = Tile(base.dtype, literal(rows, "rows"), literal(vectors, "vectors"), literal(lanes, "lanes"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = ir.Constant(tile.llvm, ir.Undefined)
        for row in range(tile.rows):
            source = address(builder, args[0], strided(builder, 0, (row, args[1])))
            for q in range(tile.vectors):
                vector = load_value(builder, source, q * tile.lanes, tile.lanes)
                value = builder.insert_value(value, vector, row * tile.vectors + q)
        return value

    return tile(base, types.intp, rows, vectors, lanes), generate


@intrinsic(prefer_literal=True)
def tile_store(context: Any, base: Any, inner: Any, inner_stride: Any, outer_stride: Any, tile: Any, width: Any) -> Any:
    """`tile_store(p, inner, inner_stride, outer_stride, tile, width)`: the first `width` columns of every row.

    Row r = o·inner + i goes to p[o·outer_stride + i·inner_stride].
    """
    places = _places(tile, inner, width)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for i, place, keep in places:
            vector = builder.extract_value(args[4], i)
            if keep < tile.lanes:
                indices = ir.Constant(ir.VectorType(ir.IntType(32), keep), list(range(keep)))
                vector = builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), indices)
            store_value(builder, args[0], _index(builder, place, args[2], args[3]), vector)
        return context.get_dummy_value()

    return types.void(base, inner, types.intp, types.intp, tile, width), generate


_Place = tuple[int, int, int]
"""(column, inner row, outer row) of a vector's first element."""


def _places(tile: Tile, inner: Any, width: Any) -> list[tuple[int, _Place, int]]:
    """(vector of the tile, its place in memory, elements that lie there) of `tile_store`."""
    count, columns = literal(inner, "inner"), literal(width, "width")
    return [
        (row * tile.vectors + q, (first, row % count, row // count), min(tile.lanes, columns - first))
        for row in range(tile.rows)
        for q, first in enumerate(range(0, min(columns, tile.vectors * tile.lanes), tile.lanes))
    ]


@intrinsic
def tile_add(context: Any, left: Any, right: Any) -> Any:
    """`tile_add(s, t)`: the sum of two tiles of one shape."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = args[0]
        for i in range(left.rows * left.vectors):
            total = builder.fadd(builder.extract_value(args[0], i), builder.extract_value(args[1], i))
            value = builder.insert_value(value, total, i)
        return value

    return left(left, left), generate


@intrinsic
def tile_add_row(context: Any, tile: Any, base: Any) -> Any:
    """`tile_add_row(tile, p)`: add the vectors·lanes values at p to every row (a bias)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = args[0]
        for q in range(tile.vectors):
            vector = load_value(builder, args[1], q * tile.lanes, tile.lanes)
            for row in range(tile.rows):
                i = row * tile.vectors + q
                value = builder.insert_value(value, builder.fadd(builder.extract_value(value, i), vector), i)
        return value

    return tile(tile, base), generate


@intrinsic(prefer_literal=True)
def tile_add_rows(
    context: Any, tile: Any, base: Any, inner: Any, inner_stride: Any, outer_stride: Any, width: Any
) -> Any:
    """`tile_add_rows(tile, p, inner, inner_stride, outer_stride, width)`: add to each row what lies where it will go.

    Rows and width are those of `tile_store`; other columns stay as they are.
    """
    places = _places(tile, inner, width)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = args[0]
        for i, place, keep in places:
            vector = load_value(builder, args[1], _index(builder, place, args[3], args[4]), keep)
            if keep < tile.lanes:
                vector = _widened(builder, vector, tile.lanes)
            value = builder.insert_value(value, builder.fadd(builder.extract_value(value, i), vector), i)
        return value

    return tile(tile, base, inner, types.intp, types.intp, width), generate


def _index(builder: Any, place: _Place, inner_stride: Any, outer_stride: Any) -> Any:
    """LLVM: the index of a place."""
    column, inner, outer = place
    return strided(builder, column, (outer, outer_stride), (inner, inner_stride))


def _widened(builder: Any, vector: Any, lanes: int) -> Any:
    """LLVM: a vector with zeros behind it."""
    count = vector.type.count
    order = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [min(i, count) for i in range(lanes)])
    return builder.shuffle_vector(vector, ir.Constant(vector.type, None), order)


def _each(builder: Any, tile: Tile, value: Any, function: Any) -> Any:
    """LLVM: the tile of `function` of every vector."""
    for i in range(tile.rows * tile.vectors):
        value = builder.insert_value(value, function(builder.extract_value(value, i)), i)
    return value


@intrinsic
def tile_relu(context: Any, tile: Any) -> Any:
    """`tile_relu(tile)`: 0 where v < 0, else v; NaN stays NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = ir.Constant(tile.llvm.element, None)
        return _each(builder, tile, args[0], lambda v: builder.select(builder.fcmp_ordered("<", v, zero), zero, v))

    return tile(tile), generate


@intrinsic
def tile_leaky_relu(context: Any, tile: Any, alpha: Any) -> Any:
    """`tile_leaky_relu(tile, alpha)`: alpha·v where v < 0, else v; NaN stays NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = ir.Constant(tile.llvm.element, None)
        slope = splat_value(builder, context.cast(builder, args[1], sig.args[1], tile.dtype), tile.lanes)

        def leak(v: Any) -> Any:
            return builder.select(builder.fcmp_ordered("<", v, zero), builder.fmul(v, slope), v)

        return _each(builder, tile, args[0], leak)

    return tile(tile, alpha), generate


@intrinsic
def tile_ceiling(context: Any, tile: Any, ceiling: Any) -> Any:
    """`tile_ceiling(tile, c)`: c where v > c, else v; NaN stays NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        top = splat_value(builder, context.cast(builder, args[1], sig.args[1], tile.dtype), tile.lanes)
        return _each(builder, tile, args[0], lambda v: builder.select(builder.fcmp_ordered(">", v, top), top, v))

    return tile(tile, ceiling), generate
