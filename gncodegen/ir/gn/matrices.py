"""The product of two arrays, each a batch of matrices."""

from __future__ import annotations

from typing import ClassVar

from xdsl.builder import Builder
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition

from gncodegen.ir.gn.base import Cotangents, GnOperation, expect, expect_operands, shape_text
from gncodegen.ir.gn.elementwise import broadcast, summed
from gncodegen.ir.gn.forward import shape_of
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import Values
from gncodegen.kernels.schedule import Tensor


@irdl_op_definition
class MatrixProduct(GnOperation):
    """(a, b) → a·b over the last two axes, a or b transposed first where it is crosswise; axes ahead broadcast."""

    name = "gn.matrix_product"
    ATTRIBUTES: ClassVar = (
        Declared("left_crosswise", "bool", False),
        Declared("right_crosswise", "bool", False),
    )

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 2)
        a, b = operands
        given = f"{shape_text(a)} and {shape_text(b)}"
        ranks = len(a.shape), len(b.shape)
        expect(min(ranks) >= 2 and max(ranks) >= 3, f"{given}; both need two axes of a matrix, one has more in front")
        rows, depth = a.shape[-2:][::-1] if values["left_crosswise"] else a.shape[-2:]
        other, columns = b.shape[-2:][::-1] if values["right_crosswise"] else b.shape[-2:]
        expect(depth == other, f"{given}: {depth} columns meet {other} rows; they must be as many")
        ahead = broadcast((Tensor(a.shape[:-2], a.dtype), Tensor(b.shape[:-2], b.dtype)))
        return (Tensor((*ahead, rows, columns), a.dtype),)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        a, b = self.operands
        left, right = bool(self.attribute("left_crosswise")), bool(self.attribute("right_crosswise"))
        # y = a·b: da = dy·bᵀ, db = aᵀ·dy, and the transposes of these for what is crosswise.
        da = self._product(builder, b, dy, right, True) if left else self._product(builder, dy, b, False, not right)
        db = self._product(builder, dy, a, True, left) if right else self._product(builder, a, dy, not left, False)
        return tuple(
            summed(builder, each, shape_of(operand), self.layers)
            for each, operand in zip((da, db), self.operands, strict=True)
        )

    def _product(self, builder: Builder, a: SSAValue, b: SSAValue, left: bool, right: bool) -> SSAValue:
        attributes = {"left_crosswise": left, "right_crosswise": right}
        return builder.insert(MatrixProduct((a, b), attributes, self.layers)).results[0]
