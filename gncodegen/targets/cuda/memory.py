"""Memory of generated CUDA kernels: typed pointers, vector loads and stores, shared memory, asynchronous copies.

A vector access of `lanes` elements is one instruction, so its address must be a multiple of its size. Half-precision
storage is converted on the way: values compute in float32.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.numba_cuda import (
    AbstractTemplate,
    OpaqueModel,
    cgutils,
    declarations,
    intrinsic,
    intrinsic_of_literals,
    lower,
    lower_constant,
    register_model,
    signature,
    typeof_impl,
    types,
)
from gncodegen.targets.cuda.values import (
    INT32,
    INT64,
    SCALAR,
    STORAGE,
    WIDE,
    Index,
    Pointer,
    Storage,
    Vec,
    element_of,
    literal,
)
from gncodegen.targets.half import BITS, INT16, narrowed, widened

GLOBAL, SHARED = 1, 3


class StorageName:
    """A half-precision element type as an argument of intrinsics; Numba's own types name the others."""

    def __init__(self, name: str) -> None:
        self.name = name


@typeof_impl.register(StorageName)
def _type_of_name(value: StorageName, context: Any) -> Storage:
    return Storage(value.name)


register_model(Storage)(OpaqueModel)


@lower_constant(Storage)
def _constant_name(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


# ---- element values ----------------------------------------------------------------------------------------------


def unpacked(builder: Any, element: str, words: Any) -> Any:
    """Half-precision elements in pairs, as a vector of float32."""
    result = ir.Constant(ir.VectorType(ir.FloatType(), 2 * words.type.count), ir.Undefined)
    for i in range(2 * words.type.count):
        word = builder.extract_element(words, ir.Constant(INT32, i // 2))
        half = builder.trunc(builder.lshr(word, ir.Constant(INT32, 16)) if i % 2 else word, INT16)
        result = builder.insert_element(result, widened(builder, element, half), ir.Constant(INT32, i))
    return result


def _packed(builder: Any, element: str, value: Any) -> Any:
    """A vector of float32 as half-precision elements in pairs."""
    result = ir.Constant(ir.VectorType(INT32, value.type.count // 2), ir.Undefined)
    for i in range(0, value.type.count, 2):
        scalars = (builder.extract_element(value, ir.Constant(INT32, i + k)) for k in range(2))
        low, high = (builder.zext(narrowed(builder, element, scalar), INT32) for scalar in scalars)
        word = builder.or_(low, builder.shl(high, ir.Constant(INT32, 16)))
        result = builder.insert_element(result, word, ir.Constant(INT32, i // 2))
    return result


def _at(builder: Any, base: Any, index: Any) -> Any:
    """The address of element `index`, an LLVM integer without sign."""
    if index.type.width < 64 and base.type.addrspace == GLOBAL:
        index = builder.zext(index, INT64)
    return builder.gep(base, [index], inbounds=True)


def load_value(builder: Any, kind: Pointer, base: Any, index: Any, lanes: int, readonly: bool) -> Any:
    """LLVM: a scalar (lanes = 0) or a vector, in the type it computes in."""
    at, half = _at(builder, base, index), kind.element in BITS
    if lanes:
        at = builder.bitcast(at, ir.PointerType(_access(kind.element, lanes), kind.space))
    value = builder.load(at, align=_size(kind.element) * max(lanes, 1))
    if readonly:
        value.set_metadata("invariant.load", builder.module.add_metadata([]))
    if not half:
        return value
    if not lanes:
        return widened(builder, kind.element, builder.bitcast(value, INT16))
    if lanes == 1:
        bits = builder.bitcast(builder.extract_element(value, ir.Constant(INT32, 0)), INT16)
        single = ir.Constant(ir.VectorType(ir.FloatType(), 1), ir.Undefined)
        return builder.insert_element(single, widened(builder, kind.element, bits), ir.Constant(INT32, 0))
    return unpacked(builder, kind.element, value)


def store_value(builder: Any, kind: Pointer, base: Any, index: Any, value: Any) -> None:
    """LLVM: stores a scalar or a vector of the type it computes in."""
    lanes = value.type.count if isinstance(value.type, ir.VectorType) else 0
    at = _at(builder, base, index)
    if lanes:
        at = builder.bitcast(at, ir.PointerType(_access(kind.element, lanes), kind.space))
    if kind.element in BITS:
        if lanes > 1:
            value = _packed(builder, kind.element, value)
        else:
            scalar = builder.extract_element(value, ir.Constant(INT32, 0)) if lanes else value
            at = builder.bitcast(at, ir.PointerType(INT16, kind.space))
            value = narrowed(builder, kind.element, scalar)
    builder.store(value, at, align=_size(kind.element) * max(lanes, 1))


def _access(element: str, lanes: int) -> ir.VectorType:
    """What one access moves: halves in pairs, since LLVM splits vectors of halves."""
    if element in BITS and lanes > 1:
        return ir.VectorType(INT32, lanes // 2)
    return ir.VectorType(STORAGE[element], lanes)


def _size(element: str) -> int:
    return {"float64": 8, "float16": 2, "bfloat16": 2, "uint8": 1}.get(element, 4)


def index_type(index: Any) -> Any:
    """The type an index argument is taken in."""
    return index if isinstance(index, Index) else WIDE


# ---- pointers ----------------------------------------------------------------------------------------------------


@intrinsic
def pointer(context: Any, address: Any, dtype: Any) -> Any:
    """`pointer(argument, dtype)`: a kernel argument as the address of elements in global memory."""
    kind = Pointer(element_of(dtype), GLOBAL)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], kind.llvm)

    return kind(types.uint64, dtype), generate


@intrinsic
def offset(context: Any, base: Any, index: Any) -> Any:
    """`offset(p, i)`: the pointer i elements further on."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _at(builder, args[0], args[1])

    return base(base, index_type(index)), generate


@intrinsic_of_literals
def shared(context: Any, count: Any, dtype: Any) -> Any:
    """`shared(count, dtype)`: `count` elements of the block's shared memory, 16-byte aligned, at most 48 KB in all."""
    kind, size = Pointer(element_of(dtype), SHARED), literal(count, "count")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = ir.ArrayType(STORAGE[kind.element], size)
        name = builder.module.get_unique_name("shared")
        memory: Any = ir.GlobalVariable(builder.module, array, name, SHARED)
        memory.linkage, memory.align = "internal", 16
        memory.initializer = ir.Constant(array, ir.Undefined)
        return builder.bitcast(memory, kind.llvm)

    return kind(count, dtype), generate


@intrinsic
def dynamic_shared(context: Any, dtype: Any) -> Any:
    """`dynamic_shared(dtype)`: the start of the shared memory that the schedule's `dynamic_shared` bytes ask for."""
    kind = Pointer(element_of(dtype), SHARED)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name = "gncodegen_dynamic_shared"
        memory: Any = builder.module.globals.get(name)
        if memory is None:
            memory = ir.GlobalVariable(builder.module, ir.ArrayType(ir.IntType(8), 0), name, SHARED)
            memory.linkage, memory.align = "external", 16
        return builder.bitcast(memory, kind.llvm)

    return kind(dtype), generate


# ---- loads and stores --------------------------------------------------------------------------------------------


@intrinsic_of_literals
def load(context: Any, base: Any, index: Any, lanes: Any) -> Any:
    """`load(p, i, lanes)`: the vector p[i : i + lanes]."""
    vec = Vec(SCALAR[base.element], literal(lanes, "lanes"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return load_value(builder, base, args[0], args[1], vec.lanes, False)

    return vec(base, index_type(index), lanes), generate


@intrinsic_of_literals
def load_readonly(context: Any, base: Any, index: Any, lanes: Any) -> Any:
    """`load_readonly(p, i, lanes)`: as load, from memory that nobody writes during the launch (ld.global.nc)."""
    vec = Vec(SCALAR[base.element], literal(lanes, "lanes"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return load_value(builder, base, args[0], args[1], vec.lanes, True)

    return vec(base, index_type(index), lanes), generate


@intrinsic
def read(context: Any, base: Any, index: Any) -> Any:
    """`read(p, i)`: the scalar p[i], from memory that nobody writes during the launch (ld.global.nc)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return load_value(builder, base, args[0], args[1], 0, True)

    return SCALAR[base.element](base, index_type(index)), generate


@intrinsic
def store(context: Any, base: Any, index: Any, value: Any) -> Any:
    """`store(p, i, v)`: p[i : i + lanes] = v."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        store_value(builder, base, args[0], args[1], args[2])
        return context.get_dummy_value()

    return types.void(base, index_type(index), value), generate


class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 2 and isinstance(args[0], Pointer) and isinstance(args[1], (Index, types.Integer)):
            return signature(SCALAR[args[0].element], args[0], index_type(args[1]))
        return None


class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 3 and isinstance(args[0], Pointer) and isinstance(args[1], (Index, types.Integer)):
            return signature(types.none, args[0], index_type(args[1]), SCALAR[args[0].element])
        return None


declarations.register_global(operator.getitem)(_GetItem)
declarations.register_global(operator.setitem)(_SetItem)


@lower(operator.getitem, Pointer, Index)
def _get(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return load_value(builder, sig.args[0], args[0], args[1], 0, False)


@lower(operator.setitem, Pointer, Index, types.Any)
def _set(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    store_value(builder, sig.args[0], args[0], args[1], args[2])
    return context.get_dummy_value()


# ---- flags, for barriers between blocks -----------------------------------------------------------------------------

MOST_READS = 1 << 26
"""How often a thread reads a flag before it stops the launch: half a minute at 500 ns each, where it waits for µs."""


@intrinsic
def set_flag(context: Any, base: Any, index: Any) -> Any:
    """`set_flag(p, i)`: p[i] = 1 for uint32, after everything that the thread's block wrote before its barrier."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = _at(builder, args[0], args[1])
        function = ir.FunctionType(ir.VoidType(), [at.type, INT32])
        # A release is cumulative (PTX ISA 8.8): a fence before it would be the same barrier twice.
        text = "st.release.gpu.global.u32 [$0], $1;"
        builder.call(ir.InlineAsm(function, text, "l,r,~{memory}", side_effect=True), [at, ir.Constant(INT32, 1)])
        return context.get_dummy_value()

    return types.void(base, index_type(index)), generate


@intrinsic
def await_flag(context: Any, base: Any, index: Any) -> Any:
    """`await_flag(p, i)`: waits until p[i] of uint32 is set, before everything that the thread reads later.

    The kernel traps where that takes half a minute: blocks that wait for one that never came would wait for ever.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at, before = _at(builder, args[0], args[1]), builder.block
        names = ("wait", "again", "stop", "met")
        wait, again, stop, met = (builder.append_basic_block(name) for name in names)
        # The compiler would unroll a loop whose end it knows.
        number = ir.FunctionType(INT32, [])
        most = builder.call(ir.InlineAsm(number, f"mov.u32 $0, {MOST_READS};", "=r", side_effect=False), [])
        builder.branch(wait)
        builder.position_at_end(wait)
        reads = builder.phi(INT32)
        reads.add_incoming(ir.Constant(INT32, 0), before)
        acquire = ir.FunctionType(INT32, [at.type])
        text = "ld.acquire.gpu.global.u32 $0, [$1];"
        flag = builder.call(ir.InlineAsm(acquire, text, "=r,l,~{memory}", side_effect=True), [at])
        builder.cbranch(builder.icmp_unsigned("!=", flag, ir.Constant(INT32, 0)), met, again)
        builder.position_at_end(again)
        more = builder.add(reads, ir.Constant(INT32, 1))
        reads.add_incoming(more, again)
        builder.cbranch(builder.icmp_unsigned("<", more, most), wait, stop)
        builder.position_at_end(stop)
        trap = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, trap, "llvm.trap"), [])
        builder.unreachable()
        builder.position_at_end(met)
        return context.get_dummy_value()

    return types.void(base, index_type(index)), generate
