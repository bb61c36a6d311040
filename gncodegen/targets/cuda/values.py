"""The Numba types of generated CUDA kernels: `Vec` of values, `Index` of 32 or 64 bits, `Pointer` into one memory.

An `Index` stays as wide as it is under arithmetic, where Numba's own integers become 64 bits wide and cost twice the
instructions. It is unsigned and wraps, so a negative number is one above every extent.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.numba_cuda import (
    AbstractTemplate,
    Conversion,
    PrimitiveModel,
    declarations,
    lower,
    lower_cast,
    register_model,
    signature,
    types,
)

INT32, INT64 = ir.IntType(32), ir.IntType(64)

STORAGE = {
    "float64": ir.DoubleType(),
    "float32": ir.FloatType(),
    "float16": ir.HalfType(),
    "bfloat16": ir.IntType(16),
    "int32": INT32,
    "uint32": INT32,
    "uint8": ir.IntType(8),
}
"""LLVM type of an element in memory."""

SCALAR: dict[str, Any] = {
    "float64": types.float64,
    "float32": types.float32,
    "float16": types.float32,
    "bfloat16": types.float32,
    "int32": types.int32,
    "uint32": types.uint32,
    "uint8": types.uint8,
}
"""Numba type that an element computes in: the half-precision types are storage only."""

LLVM = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.boolean: ir.IntType(1)} | {
    types.int32: INT32, types.uint32: INT32, types.uint8: ir.IntType(8),
}  # fmt: skip
"""LLVM type of a lane."""


class Storage(types.Type):
    """The name of an element type that is storage only: float16, bfloat16."""

    def __init__(self, name: str) -> None:
        super().__init__(name=f"Storage({name})")
        self.element = name


class Vec(types.Type):
    """A vector of `lanes` values of a scalar Numba type."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        super().__init__(name=f"Vec({dtype}, {lanes})")
        self.dtype, self.lanes = dtype, lanes

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM type."""
        return ir.VectorType(LLVM[self.dtype], self.lanes)


class Index(types.Type):
    """An unsigned integer of 32 or 64 bits that keeps its width."""

    def __init__(self, bits: int) -> None:
        super().__init__(name=f"Index{bits}")
        self.bits = bits

    def can_convert_to(self, typingctx: Any, other: Any) -> Any:
        """Lets an Index be stored where integers are."""
        return Conversion.unsafe if isinstance(other, types.Integer) else None


class Pointer(types.Type):
    """The address of elements of one storage type in global (1) or shared (3) memory."""

    def __init__(self, element: str, space: int) -> None:
        super().__init__(name=f"Pointer({element}, {space})")
        self.element, self.space = element, space

    @property
    def llvm(self) -> ir.PointerType:
        """The LLVM type."""
        return ir.PointerType(STORAGE[self.element], self.space)


INDEX, WIDE = Index(32), Index(64)


@register_model(Vec)
class _VecModel(PrimitiveModel):
    def __init__(self, manager: Any, kind: Vec) -> None:
        super().__init__(manager, kind, kind.llvm)


@register_model(Index)
class _IndexModel(PrimitiveModel):
    def __init__(self, manager: Any, kind: Index) -> None:
        super().__init__(manager, kind, ir.IntType(kind.bits))


@register_model(Pointer)
class _PointerModel(PrimitiveModel):
    def __init__(self, manager: Any, kind: Pointer) -> None:
        super().__init__(manager, kind, kind.llvm)


def element_of(dtype: Any) -> str:
    """The element type that an argument such as `float32` or `bfloat16` names."""
    return dtype.element if isinstance(dtype, Storage) else str(dtype.dtype)


def literal(value: Any, what: str) -> int:
    """The Python int behind a literal argument; Numba reports the text where it is not one."""
    if not isinstance(value, types.IntegerLiteral):
        raise TypeError(f"{what} must be a constant known when the kernel is compiled")
    return value.literal_value


def splat_value(builder: Any, scalar: Any, lanes: int) -> Any:
    """LLVM: `lanes` copies of a scalar."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes))


# ---- casts -------------------------------------------------------------------------------------------------------


@lower_cast(types.Float, Vec)
@lower_cast(types.Integer, Vec)
def _cast_scalar(context: Any, builder: Any, source: Any, target: Vec, value: Any) -> Any:
    return splat_value(builder, context.cast(builder, value, source, target.dtype), target.lanes)


@lower_cast(types.Integer, Index)
def _cast_integer(context: Any, builder: Any, source: Any, target: Index, value: Any) -> Any:
    return _resized(builder, value, target.bits, source.signed)


@lower_cast(types.IntegerLiteral, Index)
def _cast_literal(context: Any, builder: Any, source: Any, target: Index, value: Any) -> Any:
    return ir.Constant(ir.IntType(target.bits), source.literal_value % (1 << target.bits))


@lower_cast(Index, Index)
def _cast_index(context: Any, builder: Any, source: Index, target: Index, value: Any) -> Any:
    return _resized(builder, value, target.bits, False)


@lower_cast(Index, types.Integer)
def _cast_to_integer(context: Any, builder: Any, source: Index, target: Any, value: Any) -> Any:
    return _resized(builder, value, target.bitwidth, False)


@lower_cast(Index, types.Float)
def _cast_to_float(context: Any, builder: Any, source: Index, target: Any, value: Any) -> Any:
    return builder.uitofp(value, LLVM[target])


def _resized(builder: Any, value: Any, bits: int, signed: bool) -> Any:
    if value.type.width == bits:
        return value
    if value.type.width > bits:
        return builder.trunc(value, ir.IntType(bits))
    return (builder.sext if signed else builder.zext)(value, ir.IntType(bits))


# ---- operators: Vec with Vec or a scalar, Index with Index or an integer ------------------------------------------


def _operator(function: Any, on_vec: Any, on_index: Any, compares: bool) -> None:
    """Registers one binary operator; an emitter of None means that the type does not have it."""

    class _Operator(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if kws or len(args) != 2:
                return None
            vec = next((a for a in args if isinstance(a, Vec)), None)
            if vec is not None and on_vec is not None:
                if all(a == vec or isinstance(a, (types.Integer, types.Float)) for a in args):
                    return signature(Vec(types.boolean, vec.lanes) if compares else vec, vec, vec)
                return None
            indices = [a for a in args if isinstance(a, Index)]
            if indices and on_index is not None and all(isinstance(a, (Index, types.Integer)) for a in args):
                widest = max(indices, key=lambda index: index.bits)
                return signature(types.boolean if compares else widest, widest, widest)
            return None

    declarations.register_global(function)(_Operator)
    if on_vec is not None:

        @lower(function, Vec, Vec)
        def _vec(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return on_vec(builder, args[0], args[1])

    if on_index is not None:

        @lower(function, Index, Index)
        def _index(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return on_index(builder, args[0], args[1])


_ARITHMETIC: dict[Any, tuple[Any, Any]] = {
    operator.add: (lambda b, x, y: b.fadd(x, y), lambda b, x, y: b.add(x, y)),
    operator.sub: (lambda b, x, y: b.fsub(x, y), lambda b, x, y: b.sub(x, y)),
    operator.mul: (lambda b, x, y: b.fmul(x, y), lambda b, x, y: b.mul(x, y)),
    operator.truediv: (lambda b, x, y: b.fdiv(x, y), None),
    operator.floordiv: (None, lambda b, x, y: b.udiv(x, y)),
    operator.mod: (None, lambda b, x, y: b.urem(x, y)),
    operator.lshift: (None, lambda b, x, y: b.shl(x, y)),
    operator.rshift: (None, lambda b, x, y: b.lshr(x, y)),
    operator.xor: (None, lambda b, x, y: b.xor(x, y)),
    operator.and_: (lambda b, x, y: b.and_(x, y), lambda b, x, y: b.and_(x, y)),
    operator.or_: (lambda b, x, y: b.or_(x, y), lambda b, x, y: b.or_(x, y)),
}
_IN_PLACE = {
    operator.add: operator.iadd, operator.sub: operator.isub, operator.mul: operator.imul,
    operator.floordiv: operator.ifloordiv, operator.mod: operator.imod, operator.xor: operator.ixor,
    operator.lshift: operator.ilshift, operator.rshift: operator.irshift,
}  # fmt: skip
_COMPARISONS = {operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=", operator.eq: "=="}

for _function, (_on_vec, _on_index) in _ARITHMETIC.items():
    _operator(_function, _on_vec, _on_index, False)
    if _function in _IN_PLACE:
        _operator(_IN_PLACE[_function], _on_vec, _on_index, False)
for _function, _sign in _COMPARISONS.items():
    _operator(
        _function,
        lambda b, x, y, sign=_sign: b.fcmp_ordered(sign, x, y),
        lambda b, x, y, sign=_sign: b.icmp_unsigned(sign, x, y),
        True,
    )
_operator(operator.ne, lambda b, x, y: b.fcmp_unordered("!=", x, y), lambda b, x, y: b.icmp_unsigned("!=", x, y), True)
