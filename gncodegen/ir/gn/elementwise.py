"""Functions of several operands, element by element; operands repeat along axes they lack, and so do constants."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from xdsl.builder import Builder
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition
from xdsl.utils.exceptions import VerifyException

from gncodegen.errors import CompileError
from gncodegen.ir.gn.base import Cotangents, GnOperation, expect, shape_text
from gncodegen.ir.gn.forward import AveragePool, shape_of
from gncodegen.ir.gn.gradient import BiasGradient
from gncodegen.ir.gn.pointwise import Reshape, Transpose
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import Values
from gncodegen.kernels.arithmetic import ARITHMETIC, arithmetic
from gncodegen.kernels.schedule import Tensor

FUNCTION = Declared("function", "text", None, ARITHMETIC)


@irdl_op_definition
class Elementwise(GnOperation):
    """x1 … xN → f(x1, …, xN), a row of kernels.arithmetic; shapes broadcast as in NumPy."""

    name = "gn.elementwise"
    ATTRIBUTES: ClassVar = (FUNCTION,)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        _expect_function(values, len(operands))
        return (Tensor(broadcast(operands), operands[0].dtype),)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        found: list[SSAValue | None] = []
        row = arithmetic(str(self.attribute("function")), len(self.operands))
        for place, operand in enumerate(self.operands):
            if row.flat(place):
                found.append(None)
                continue
            attributes = {"function": self.attribute("function"), "operand": place}
            whole = builder.insert(ElementwiseGradient((*self.operands, dy), attributes, self.layers)).results[0]
            found.append(summed(builder, whole, shape_of(operand), self.layers))
        return found


@irdl_op_definition
class ElementwiseGradient(GnOperation):
    """(x1, …, xN, dy) → the cotangent of operand number `operand`, in dy's shape, not yet summed over what repeats."""

    name = "gn.elementwise_gradient"
    ATTRIBUTES: ClassVar = (FUNCTION, Declared("operand", "int"))

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        *given, dy = operands
        _expect_function(values, len(given))
        place = values.integer("operand")
        expect(0 <= place < len(given), f"operand = {place} of {len(given)}")
        function = values.text("function")
        expect(not arithmetic(function, len(given)).flat(place), f"{function!r} has no gradient for operand {place}")
        shape = broadcast(tuple(given))
        expect(shape == dy.shape, f"dy is {shape_text(dy)}; the operands give {list(shape)}")
        return (dy,)


def _expect_function(values: Values, operands: int) -> None:
    try:
        arithmetic(values.text("function"), operands)
    except CompileError as error:
        raise VerifyException(str(error)) from error


def broadcast(operands: tuple[Tensor, ...]) -> tuple[int, ...]:
    """The shape that all operands repeat to."""
    rank = max(len(operand.shape) for operand in operands)
    result = [1] * rank
    for operand in operands:
        expect(operand.dtype == operands[0].dtype, f"operands are {operands[0].dtype} and {operand.dtype}")
        for axis, extent in enumerate(operand.shape, rank - len(operand.shape)):
            expect(
                1 in (extent, result[axis]) or extent == result[axis],
                f"{', '.join(map(shape_text, operands))} do not fit: axes are equal or 1, from the last on",
            )
            result[axis] = extent if result[axis] == 1 else result[axis]
    return tuple(result)


def summed(builder: Builder, value: SSAValue, shape: tuple[int, ...], layers: tuple[str, ...]) -> SSAValue:
    """The sums of `value` over the axes along which an operand of this shape repeats."""
    whole = shape_of(value)
    ahead = len(whole) - len(shape)  # summed also where one has extent 1 now: a batch may be of any size
    kept = [axis for axis, extent in enumerate(shape, ahead) if whole[axis] == extent]
    order = (*(axis for axis in range(len(whole)) if axis not in kept), *kept)
    if 0 in kept and len(kept) < len(whole):
        value = _summed_alone(builder, value, [axis for axis in range(len(whole)) if axis not in kept], layers)
    elif len(kept) < len(whole):
        if order != tuple(range(len(whole))):
            value = builder.insert(Transpose((value,), {"permutation": order}, layers)).results[0]
        size = Tensor(shape, "float32").count
        rows = Tensor(whole, "float32").count // max(size, 1)
        value = builder.insert(Reshape((value,), {"shape": (rows, size)}, layers)).results[0]
        value = builder.insert(BiasGradient((value,), {}, layers)).results[0]
    if shape_of(value) != shape:
        value = builder.insert(Reshape((value,), {"shape": shape}, layers)).results[0]
    return value


def _summed_alone(builder: Builder, value: SSAValue, axes: list[int], layers: tuple[str, ...]) -> SSAValue:
    """The sums over axes behind the first, each observation's alone, so that kernels serve any number of them."""
    while axes:
        whole, last = shape_of(value), axes.pop()
        first = last
        while axes and axes[-1] == first - 1:
            first = axes.pop()
        count = prod(whole[first : last + 1])
        sizes = whole[0], prod(whole[1:first]), count, prod(whole[last + 1 :])
        value = builder.insert(Reshape((value,), {"shape": sizes}, layers)).results[0]
        window = {"window": (1, count), "stride": (1, max(count, 1)), "padding": (0, 0, 0, 0), "total": True}
        value = builder.insert(AveragePool((value,), window, layers)).results[0]
        shape = (*whole[:first], *(1 for _ in range(first, last + 1)), *whole[last + 1 :])
        value = builder.insert(Reshape((value,), {"shape": shape}, layers)).results[0]
    return value


ELEMENTWISE = (Elementwise, ElementwiseGradient)
