"""The Numba vector type: `Vec(dtype, lanes)` is an LLVM `<lanes x dtype>`; vectors are certain, not hoped for.

Any lane count is allowed; LLVM legalises the odd ones, so the tail of a row is simply a shorter vector.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.imputils import lower_cast
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

from gncodegen.environment import environment
from gncodegen.targets.cpu.half import HalfPointer, Storage, as_computed, as_stored
from gncodegen.targets.cpu.placeholders import meaning
from gncodegen.targets.half import BITS

INT32, INT64 = ir.IntType(32), ir.IntType(64)
LLVM_TYPE = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.boolean: ir.IntType(1),
    types.int32: INT32,
    types.int64: INT64,
    types.uint8: ir.IntType(8),
}

BYTES = {"float": 4, "double": 8, "half": 2, "i8": 1, "i16": 2, "i32": 4, "i64": 8}
"""Size of an element of an LLVM type."""


class Vec(types.Type):
    """A vector of `lanes` values of a scalar Numba type."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vec({dtype}, {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM type."""
        return ir.VectorType(LLVM_TYPE[self.dtype], self.lanes)


@register_model(Vec)
class _VecModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vec: Vec) -> None:
        super().__init__(manager, vec, vec.llvm)


def splat_value(builder: Any, scalar: Any, lanes: int) -> Any:
    """LLVM: `lanes` copies of a scalar."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes))


def address(builder: Any, pointer: Any, index: Any) -> Any:
    """LLVM: pointer + index elements; `index` is a Python int or an LLVM value."""
    if isinstance(index, int):
        return pointer if index == 0 else builder.gep(pointer, [ir.Constant(INT64, index)])
    return builder.gep(pointer, [index])


def load_value(builder: Any, pointer: Any, index: Any, lanes: int) -> Any:
    """LLVM: an element-aligned vector load."""
    at = address(builder, pointer, index)
    vector = ir.VectorType(pointer.type.pointee, lanes)
    return as_computed(builder, builder.load(builder.bitcast(at, vector.as_pointer()), align=element_bytes(vector)))


def store_value(builder: Any, pointer: Any, index: Any, value: Any) -> None:
    """LLVM: an element-aligned vector store."""
    at, value = address(builder, pointer, index), as_stored(builder, value, pointer.type.pointee)
    builder.store(value, builder.bitcast(at, value.type.as_pointer()), align=element_bytes(value.type))


def element_bytes(vector: ir.VectorType) -> int:
    """The size of one lane."""
    return BYTES[str(vector.element)]


def call_value(builder: Any, name: str, arguments: list[Any]) -> Any:
    """LLVM: a call of an intrinsic overloaded on its first argument's type, such as llvm.fma.v8f32."""
    kind = arguments[0].type
    scalar = kind.element if isinstance(kind, ir.VectorType) else kind
    suffix = {"float": "f32", "double": "f64"}.get(str(scalar), str(scalar))
    if isinstance(kind, ir.VectorType):
        suffix = f"v{kind.count}{suffix}"
    function_type = ir.FunctionType(kind, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, function_type, f"{name}.{suffix}")
    return builder.call(function, arguments)


def literal(value: Any, what: str) -> int:
    """The Python int behind a literal argument; Numba reports the text where it is not one."""
    return meaning(_literal(value, what))


def _literal(value: Any, what: str) -> int:
    """The same, or the placeholder that stands for it: good for what only writes it into the IR."""
    if not isinstance(value, types.IntegerLiteral):
        raise TypeError(f"{what} must be a constant known when the kernel is compiled")
    return value.literal_value


# ---- memory ------------------------------------------------------------------------------------------------------


@intrinsic
def pointer(context: Any, argv: Any, slot: Any, dtype: Any) -> Any:
    """`pointer(argv, slot, dtype)`: the address in slot `slot` of the argument table, as a typed pointer."""
    half = isinstance(dtype, Storage)
    kind: Any = HalfPointer(dtype.element) if half else types.CPointer(dtype.dtype)
    element = BITS[dtype.element] if half else LLVM_TYPE[dtype.dtype]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        table = builder.inttoptr(args[0], INT64.as_pointer())
        value = builder.load(builder.gep(table, [args[1]]))
        return builder.inttoptr(value, element.as_pointer())

    return kind(types.intp, types.intp, dtype), generate


@intrinsic
def number(context: Any, argv: Any, slot: Any) -> Any:
    """`number(argv, slot)`: what a run says of its observations; such numbers stand in front of the addresses."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        table = builder.inttoptr(args[0], INT64.as_pointer())
        return builder.load(builder.gep(table, [builder.sub(ir.Constant(INT64, -1), args[1])]))

    return types.intp(types.intp, types.intp), generate


@intrinsic
def offset(context: Any, base: Any, index: Any) -> Any:
    """`offset(p, i)`: the pointer i elements further on."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return base(base, types.intp), generate


def _poison(builder: Any, pointer: Any, size: int) -> None:
    """LLVM: fills memory with what runtime/checking.py knows again."""
    byte, flag = ir.IntType(8), ir.IntType(1)
    kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), byte, INT64, flag])
    fill = cgutils.get_or_insert_function(builder.module, kind, "llvm.memset.p0.i64")
    start = builder.bitcast(pointer, byte.as_pointer())
    builder.call(fill, [start, ir.Constant(byte, 255), ir.Constant(INT64, size), ir.Constant(flag, 0)])


@intrinsic(prefer_literal=True)
def local(context: Any, count: Any, dtype: Any) -> Any:
    """`local(count, dtype)`: `count` uninitialised elements on the tile's stack, 64-byte aligned."""
    element, size = dtype.dtype, _literal(count, "count")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(LLVM_TYPE[element], size))
        memory.align = 64
        pointer = builder.bitcast(memory, LLVM_TYPE[element].as_pointer())
        if environment().check:
            _poison(builder, pointer, literal(count, "count") * element_bytes(memory.type.pointee))
        return pointer

    return types.CPointer(element)(count, dtype), generate


@intrinsic(prefer_literal=True)
def load(context: Any, base: Any, index: Any, lanes: Any) -> Any:
    """`load(p, i, lanes)`: the vector p[i : i + lanes]."""
    vec = Vec(base.dtype, literal(lanes, "lanes"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return load_value(builder, args[0], args[1], vec.lanes)

    return vec(base, types.intp, lanes), generate


@intrinsic
def store(context: Any, base: Any, index: Any, value: Any) -> Any:
    """`store(p, i, v)`: p[i : i + lanes] = v."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        store_value(builder, args[0], args[1], args[2])
        return context.get_dummy_value()

    return types.void(base, types.intp, value), generate


# ---- values ------------------------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def splat(context: Any, scalar: Any, lanes: Any) -> Any:
    """`splat(s, lanes)`: lanes copies of the scalar."""
    vec = Vec(types.unliteral(scalar), literal(lanes, "lanes"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return splat_value(builder, args[0], vec.lanes)

    return vec(types.unliteral(scalar), lanes), generate


def _elementwise(name: str, arity: int, documentation: str) -> Any:
    """An intrinsic over vectors or scalars that is one LLVM intrinsic."""

    def typed(context: Any, *operands: Any) -> Any:
        kind = operands[0]

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return call_value(builder, name, list(args))

        return kind(*[kind] * arity), generate

    def one(context: Any, a: Any) -> Any:
        return typed(context, a)

    def three(context: Any, a: Any, b: Any, c: Any) -> Any:
        return typed(context, a, b, c)

    function = {1: one, 3: three}[arity]
    function.__name__, function.__doc__ = name.rsplit(".", 1)[-1], documentation
    return intrinsic(function)


fma = _elementwise("llvm.fma", 3, "`fma(a, b, c)`: a·b + c with one rounding.")
sqrt = _elementwise("llvm.sqrt", 1, "`sqrt(v)`: the square root of every lane.")
absolute = _elementwise("llvm.fabs", 1, "`absolute(v)`: the magnitude of every lane.")
floor = _elementwise("llvm.floor", 1, "`floor(v)`: the largest whole number that is no larger.")
ceil = _elementwise("llvm.ceil", 1, "`ceil(v)`: the least whole number that is no less.")
rint = _elementwise("llvm.rint", 1, "`rint(v)`: the nearest whole number, of two the even one.")


@intrinsic
def maximum(context: Any, a: Any, b: Any) -> Any:
    """`maximum(a, b)`: per lane b where a < b, else a; a NaN in `a` stays, so `maximum(x, zero)` keeps NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = args
        return builder.select(builder.fcmp_ordered("<", left, right), right, left)

    return a(a, a), generate


@intrinsic
def minimum(context: Any, a: Any, b: Any) -> Any:
    """`minimum(a, b)`: per lane b where a > b, else a; a NaN in `a` stays."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = args
        return builder.select(builder.fcmp_ordered(">", left, right), right, left)

    return a(a, a), generate


@intrinsic
def select(context: Any, mask: Any, a: Any, b: Any) -> Any:
    """`select(mask, a, b)`: per lane a where mask, else b; one of them may be a scalar."""
    kind = a if isinstance(a, Vec) else b

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(args[0], args[1], args[2])

    return kind(mask, kind, kind), generate


@intrinsic(prefer_literal=False)
def convert(context: Any, value: Any, dtype: Any) -> Any:
    """`convert(v, dtype)`: every lane as float32 or float64."""
    source, target = value, Vec(dtype.dtype, value.lanes)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if source.dtype == target.dtype:
            return args[0]
        if target.dtype == types.float64:
            return builder.fpext(args[0], target.llvm)
        return builder.fptrunc(args[0], target.llvm)

    return target(value, dtype), generate


@intrinsic(prefer_literal=True)
def lane(context: Any, value: Any, index: Any) -> Any:
    """`lane(v, i)`: lane i as a scalar."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], args[1])

    return value.dtype(value, types.intp), generate


@intrinsic
def reduce_add(context: Any, value: Any) -> Any:
    """`reduce_add(v)`: the sum of the lanes, first with last halves, always in the same order."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts = [builder.extract_element(args[0], ir.Constant(INT32, i)) for i in range(value.lanes)]
        while len(parts) > 1:
            half = (len(parts) + 1) // 2
            parts = [
                builder.fadd(parts[i], parts[i + half]) if i + half < len(parts) else parts[i] for i in range(half)
            ]
        return parts[0]

    return value.dtype(value), generate


@intrinsic
def reduce_max(context: Any, value: Any) -> Any:
    """`reduce_max(v)`: the largest lane; a NaN may be passed over."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts = [builder.extract_element(args[0], ir.Constant(INT32, i)) for i in range(value.lanes)]
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=False)
            larger = [builder.select(builder.fcmp_ordered("<", a, b), b, a) for a, b in pairs]
            parts = larger + parts[len(larger) * 2 :]
        return parts[0]

    return value.dtype(value), generate


@intrinsic
def reduce_any(context: Any, mask: Any) -> Any:
    """`reduce_any(mask)`: True if any lane of the mask is set."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(mask.lanes))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), generate


# ---- operators: Vec with Vec, and Vec with a scalar of the same type -----------------------------------------------


@lower_cast(types.Float, Vec)
@lower_cast(types.Integer, Vec)
def _cast_scalar(context: Any, builder: Any, source: Any, target: Vec, value: Any) -> Any:
    return splat_value(builder, context.cast(builder, value, source, target.dtype), target.lanes)


def _operator(function: Any, emit: Any, result: Any) -> None:
    class _Operator(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if kws or len(args) != 2:
                return None
            left, right = args
            vec = left if isinstance(left, Vec) else right
            if not isinstance(vec, Vec):
                return None
            if all(isinstance(a, (types.Number, Vec)) and (not isinstance(a, Vec) or a == vec) for a in args):
                return signature(result(vec), vec, vec)
            return None

    register: Any = infer_global(function)
    register(_Operator)

    @lower_builtin(function, Vec, Vec)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit(builder, args[0], args[1])


def _same(vec: Vec) -> Vec:
    return vec


def _mask(vec: Vec) -> Vec:
    return Vec(types.boolean, vec.lanes)


_operator(operator.add, lambda b, x, y: b.fadd(x, y), _same)
_operator(operator.sub, lambda b, x, y: b.fsub(x, y), _same)
_operator(operator.mul, lambda b, x, y: b.fmul(x, y), _same)
_operator(operator.truediv, lambda b, x, y: b.fdiv(x, y), _same)
_operator(operator.iadd, lambda b, x, y: b.fadd(x, y), _same)
_operator(operator.isub, lambda b, x, y: b.fsub(x, y), _same)
_operator(operator.imul, lambda b, x, y: b.fmul(x, y), _same)
_operator(operator.lt, lambda b, x, y: b.fcmp_ordered("<", x, y), _mask)
_operator(operator.gt, lambda b, x, y: b.fcmp_ordered(">", x, y), _mask)
_operator(operator.ge, lambda b, x, y: b.fcmp_ordered(">=", x, y), _mask)
_operator(operator.le, lambda b, x, y: b.fcmp_ordered("<=", x, y), _mask)
_operator(operator.eq, lambda b, x, y: b.fcmp_ordered("==", x, y), _mask)
_operator(operator.ne, lambda b, x, y: b.fcmp_unordered("!=", x, y), _mask)
_operator(operator.and_, lambda b, x, y: b.and_(x, y), _same)
_operator(operator.or_, lambda b, x, y: b.or_(x, y), _same)
