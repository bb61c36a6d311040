"""Pointers to half-precision elements: values are loaded as float32, and rounded to nearest even when stored."""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.core.imputils import lower_constant
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, register_model, typeof_impl

from gncodegen.targets.half import BITS, INT16, narrowed, widened

ELEMENTS = {str(kind): element for element, kind in BITS.items()}
"""LLVM type of an element in memory → storage type; no other array of kernels has such elements."""


class StorageName:
    """A half-precision element type as an argument of intrinsics; Numba's own types name the others."""

    def __init__(self, name: str) -> None:
        self.name = name


class Storage(types.Type):
    """The Numba type of such a name."""

    def __init__(self, name: str) -> None:
        super().__init__(name=f"Storage({name})")
        self.element = name

    @property
    def dtype(self) -> Storage:
        """What the name names, as Numba's own have it."""
        return self


class HalfPointer(types.Type):
    """The address of half-precision elements; `dtype` is the type that they compute in."""

    dtype = types.float32

    def __init__(self, element: str) -> None:
        super().__init__(name=f"HalfPointer({element})")
        self.element = element


@typeof_impl.register(StorageName)
def _type_of_name(value: StorageName, context: Any) -> Storage:
    return Storage(value.name)


register_model(Storage)(models.OpaqueModel)


@register_model(HalfPointer)
class _HalfPointerModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: HalfPointer) -> None:
        super().__init__(manager, kind, BITS[kind.element].as_pointer())


@lower_constant(Storage)
def _constant_name(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


def as_computed(builder: Any, value: Any) -> Any:
    """LLVM: what was loaded, a scalar or a vector, in the type that it computes in."""
    element = ELEMENTS.get(str(_scalar(value.type)))
    return widened(builder, element, value) if element else value


def as_stored(builder: Any, value: Any, pointee: Any) -> Any:
    """LLVM: a scalar or vector as it lies in memory of `pointee` elements."""
    element = ELEMENTS.get(str(pointee))
    if not element:
        return value
    bits = narrowed(builder, element, value)
    kind = ir.VectorType(pointee, bits.type.count) if isinstance(bits.type, ir.VectorType) else pointee
    return bits if pointee == INT16 else builder.bitcast(bits, kind)


def _scalar(kind: Any) -> Any:
    return kind.element if isinstance(kind, ir.VectorType) else kind


class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 2 and isinstance(args[0], HalfPointer) and isinstance(args[1], types.Integer):
            return signature(types.float32, args[0], types.intp)
        return None


class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 3 and isinstance(args[0], HalfPointer) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.intp, types.float32)
        return None


_infer_get: Any = infer_global(operator.getitem)
_infer_set: Any = infer_global(operator.setitem)
_infer_get(_GetItem)
_infer_set(_SetItem)


@lower_builtin(operator.getitem, HalfPointer, types.intp)
def _get(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return as_computed(builder, builder.load(builder.gep(args[0], [args[1]]), align=2))


@lower_builtin(operator.setitem, HalfPointer, types.intp, types.float32)
def _set(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    at = builder.gep(args[0], [args[1]])
    builder.store(as_stored(builder, args[2], at.type.pointee), at, align=2)
    return context.get_dummy_value()
