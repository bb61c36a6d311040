"""Matrix products in registers: a thread's tile of sums, fed from shared memory, as one intrinsic.

One intrinsic instead of a thousand lines of Python keeps compilation short: Numba types a single call.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.memory import index_type, load_value, unpacked
from gncodegen.targets.cuda.numba_cuda import cgutils, intrinsic_of_literals, types
from gncodegen.targets.cuda.values import INT32, INT64, LLVM, SCALAR, Vec, literal
from gncodegen.targets.half import BITS, INT16, widened


def _fragment(builder: Any, kind: Any, base: Any, begin: int, count: int, group: int, step: int) -> list[Any]:
    """LLVM: `count` elements in groups of neighbours, `step` elements from group to group."""
    lanes = min(group, 16 // (8 if kind.element == "float64" else 4))
    elements: list[Any] = []
    for i in range(0, count, lanes):
        at = ir.Constant(INT32, begin + i // group * step + i % group)
        vector = load_value(builder, kind, base, at, lanes, False)
        elements += [builder.extract_element(vector, ir.Constant(INT32, k)) for k in range(lanes)]
    return elements


@intrinsic_of_literals
def outer_products(context: Any, a: Any, b: Any, sums: Any, depth: Any, a_lay: Any, b_lay: Any) -> Any:
    """`outer_products(a, b, sums, depth, a_lay, b_lay)`: sums + Σₖ aₖ·bₖᵀ for k < depth, in order.

    `sums` holds rows × columns values, row by row. aₖ and bₖ are elements of line k of two tiles in shared memory. A
    lay is (line, count, group, step): elements from line to line, how many the thread takes of a line, and that these
    lie in groups of neighbours, `step` elements apart.
    """
    lines = literal(depth, "depth")
    (a_line, height, *a_groups), (b_line, width, *b_groups) = (
        [literal(value, "a lay") for value in lay.types] for lay in (a_lay, b_lay)
    )

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalar = LLVM[sums.dtype]
        name = "llvm.fma.f64" if sums.dtype == types.float64 else "llvm.fma.f32"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(scalar, [scalar] * 3), name)
        parts = [builder.extract_element(args[2], ir.Constant(INT32, i)) for i in range(sums.lanes)]
        for line in range(lines):
            left = _fragment(builder, a, args[0], line * a_line, height, *a_groups)
            right = _fragment(builder, b, args[1], line * b_line, width, *b_groups)
            for i in range(height):
                for j in range(width):
                    parts[i * width + j] = builder.call(fma, [left[i], right[j], parts[i * width + j]])
        result = ir.Constant(sums.llvm, ir.Undefined)
        for i, value in enumerate(parts):
            result = builder.insert_element(result, value, ir.Constant(INT32, i))
        return result

    return sums(a, b, sums, depth, a_lay, b_lay), generate


_WORDS = {
    "double": ("f64", "d", "0d0000000000000000"),
    "float": ("f32", "f", "0f00000000"),
    "i32": ("u32", "r", "0"),
    "i16": ("u16", "h", "0"),
}
"""LLVM type → PTX type, letter of its registers in inline assembly, and zero."""


@intrinsic_of_literals
def load_where(context: Any, base: Any, index: Any, lanes: Any, condition: Any) -> Any:
    """`load_where(p, i, lanes, condition)`: p[i : i + lanes] where the condition holds, else zeros, without a branch.

    The memory is read-only during the launch (ld.global.nc); nothing is read where the condition fails.
    """
    vec = Vec(SCALAR[base.element], literal(lanes, "lanes"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = builder.gep(args[0], [args[1] if args[1].type.width == 64 else builder.zext(args[1], INT64)])
        flag = builder.zext(args[3], INT32)
        half = base.element in BITS
        # Halves come in pairs, as words.
        count = max(vec.lanes // 2, 1) if half else vec.lanes
        scalar = (INT32 if vec.lanes > 1 else INT16) if half else LLVM[vec.dtype]
        kind, letter, zero = _WORDS[str(scalar)]
        names = [f"${i}" for i in range(count)]
        target = f".v{count}.{kind} {{{', '.join(names)}}}" if count > 1 else f".{kind} $0"
        text = (
            f"{{ .reg .pred where; setp.ne.u32 where, ${count + 1}, 0; "
            + " ".join(f"mov.{kind} {name}, {zero};" for name in names)
            + f" @where ld.global.nc{target}, [${count}]; }}"
        )
        result = ir.LiteralStructType([scalar] * count) if count > 1 else scalar
        function = ir.FunctionType(result, [at.type, INT32])
        constraints = ",".join([f"=&{letter}"] * count + ["l", "r"])
        loaded = builder.call(ir.InlineAsm(function, text, constraints, side_effect=True), [at, flag])
        if half and vec.lanes == 1:
            loaded = widened(builder, base.element, loaded)
        vector = ir.Constant(ir.VectorType(loaded.type if count == 1 else scalar, count), ir.Undefined)
        for i in range(count):
            value = builder.extract_value(loaded, i) if count > 1 else loaded
            vector = builder.insert_element(vector, value, ir.Constant(INT32, i))
        return unpacked(builder, base.element, vector) if half and vec.lanes > 1 else vector

    return vec(base, index_type(index), lanes, types.boolean), generate
