"""Matrix products on tensor cores (mma.sync, sm_80 and later): a warp's tile of float32 sums as one intrinsic.

Source: PTX ISA, "Matrix Fragments for mma.m16n8k8" and "for mma.m16n8k16 with floating point type": thread 4g + t holds
rows g and g + 8 and columns 2t and 2t + 1 of the sums.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.numba_cuda import intrinsic_of_literals
from gncodegen.targets.cuda.values import INT32, STORAGE, literal

FLOAT = STORAGE["float32"]
DEPTHS = {"tf32": 8, "bf16": 16}
"""Products of one instruction."""

CENTRE = 1 + 0.72 * 2.0**-11
"""Tensor cores cut a float32 factor to tf32; multiplied by this before, it is right on average and within 0.64·2⁻¹⁰.

That is one instruction where cvt.rna.tf32 takes two on sm_90; values that tf32 holds stay exact, NaN and Inf too.
"""

MULTIPLY = (
    "mma.sync.aligned.m16n8k{depth}.row.col.f32.{kind}.{kind}.f32 "
    "{{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$10,$11,$12,$13}};"
)


def _values(builder: Any, pointer: Any, row_step: int, depth_step: int, places: list[tuple[int, int]]) -> list[Any]:
    """LLVM: the thread's float32 values at four (row, depth) places, from its own row and depth."""
    if depth_step != 1:
        elements = [row * row_step + depth * depth_step for row, depth in places]
        at = [builder.gep(pointer, [ir.Constant(INT32, element)], inbounds=True) for element in elements]
        return [builder.load(place, align=4) for place in at]
    # Rows of 16 bytes: one instruction brings four matrices of 8 rows × 4 values, each to the thread that needs it.
    row, depth = places[0]
    first = builder.gep(pointer, [ir.Constant(INT32, row * row_step + depth)], inbounds=True)
    text = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0,$1,$2,$3}, [$4];"
    function = ir.FunctionType(ir.LiteralStructType([INT32] * 4), [INT32])
    asm = ir.InlineAsm(function, text, "=r,=r,=r,=r,r,~{memory}", side_effect=True)
    words = builder.call(asm, [builder.ptrtoint(first, INT32)])
    return [builder.bitcast(builder.extract_value(words, i), FLOAT) for i in range(4)]


def _rounded(builder: Any, length: int, pair: tuple[Any, Any]) -> list[Any]:
    """LLVM: two values as two words of tf32, or as one pair of bf16."""
    if length == DEPTHS["tf32"]:
        return [builder.bitcast(builder.fmul(value, ir.Constant(FLOAT, CENTRE)), INT32) for value in pair]
    function = ir.FunctionType(INT32, [FLOAT] * 2)
    text = "cvt.rn.bf16x2.f32 $0, $2, $1;"
    return [builder.call(ir.InlineAsm(function, text, "=r,f,f", side_effect=False), pair)]


def _fragments(builder: Any, pointer: Any, steps: tuple[int, int], count: int, depth: int, length: int) -> list[Any]:
    """LLVM: registers of `count` blocks of 8 rows at a depth, (block, eighth of the depth) → one of tf32 or bf16.

    The two values of a bf16 register are 4 apart in depth; since A and B agree, the sum is the same.
    """
    registers: list[Any] = [[] for _ in range(count)]
    for eight in range(depth, depth + length, 8):
        for block in range(0, count, 2):
            places = [(8 * (block + i), eight + at) for at in (0, 4) for i in (0, 1)]
            values = _values(builder, pointer, *steps, places)
            for i in (0, 1):
                pair = values[i], values[2 + i]
                registers[block + i] += _rounded(builder, length, pair)
    return registers


@intrinsic_of_literals
def tensor_products(context: Any, a: Any, b: Any, sums: Any, rows: Any, depth: Any, a_lay: Any, b_lay: Any) -> Any:
    """`tensor_products(a, b, sums, rows, depth, a_lay, b_lay)`: sums + A·B for a warp, factors as tf32 or bf16.

    `sums` holds the thread's rows × columns of float32 sums, row by row: rows g, g + 8, … and columns 2t, 2t + 1,
    8 + 2t, …. A lay is (elements from row to row of A or column to column of B, elements from depth to depth, products
    of one instruction: 8 for tf32, 16 for bf16). a and b point into tiles in shared memory: at row g and depth t of
    thread 4g + t; where depths are neighbours, at row l % 16 and depth l // 16 · 4 of thread l.
    """
    height, lines = literal(rows, "rows"), literal(depth, "depth")
    a_row, a_depth, length = (literal(value, "a lay") for value in a_lay.types)
    b_column, b_depth, _ = (literal(value, "a lay") for value in b_lay.types)
    width = sums.lanes // height
    kind = next(name for name, products in DEPTHS.items() if products == length)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.LiteralStructType([FLOAT] * 4), [INT32] * 6 + [FLOAT] * 4)
        constraints = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)
        multiply = ir.InlineAsm(function, MULTIPLY.format(depth=length, kind=kind), constraints, side_effect=False)
        parts = [builder.extract_element(args[2], ir.Constant(INT32, i)) for i in range(sums.lanes)]
        for k in range(0, lines, length):
            left = _fragments(builder, args[0], (a_row, a_depth), height, k, length)
            right = _fragments(builder, args[1], (b_column, b_depth), width // 2, k, length)
            for i in range(0, height, 2):
                for j in range(0, width, 2):
                    places = [(i + row) * width + j + column for row in (0, 1) for column in (0, 1)]
                    factors = [left[i][0], left[i + 1][0], left[i][1], left[i + 1][1], *right[j // 2]]
                    products = builder.call(multiply, [*factors, *(parts[place] for place in places)])
                    for at, place in enumerate(places):
                        parts[place] = builder.extract_value(products, at)
        vector = ir.Constant(sums.llvm, ir.Undefined)
        for i, value in enumerate(parts):
            vector = builder.insert_element(vector, value, ir.Constant(INT32, i))
        return vector

    return sums(a, b, sums, rows, depth, a_lay, b_lay), generate
