"""A constant sparse matrix times the lines of an array along one axis: interpolation, and sums over neighbours."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import ClassVar

from xdsl.builder import Builder
from xdsl.irdl import irdl_op_definition

from gncodegen.ir.gn.base import Cotangents, GnOperation, expect, expect_operands
from gncodegen.ir.gn.forward import shape_of
from gncodegen.ir.gn.pointwise import AXIS, place_of_axis
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import Value, Values
from gncodegen.kernels.schedule import Tensor


@irdl_op_definition
class SparseProduct(GnOperation):
    """x → y, y[i] = Σ weights[k] · x[columns[k]] for k from starts[i] to starts[i + 1], along one axis.

    The matrix in compressed sparse rows. The gradient is the product with its transpose.
    """

    name = "gn.sparse_product"
    ATTRIBUTES: ClassVar = (
        AXIS,
        Declared("starts", "ints"),
        Declared("columns", "ints"),
        Declared("weights", "floats"),
    )

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        expect_operands(operands, 1)
        (x,) = operands
        axis, starts, columns = place_of_axis(x, values), values.integers("starts"), values.integers("columns")
        entries = len(columns)
        expect(len(values.reals("weights")) == entries, f"{len(values.reals('weights'))} weights for {entries} columns")
        rises = (
            len(starts) > 1 and starts[0] == 0 and starts[-1] == entries and all(a <= b for a, b in pairwise(starts))
        )
        expect(rises, f"starts do not rise from 0 to {entries}, the number of columns")
        inside = all(0 <= column < x.shape[axis] for column in columns)
        expect(inside, f"a column lies outside of the {x.shape[axis]} elements of axis {axis}")
        return (Tensor((*x.shape[:axis], len(starts) - 1, *x.shape[axis + 1 :]), x.dtype),)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        inputs = shape_of(self.operands[0])[self.values.integer("axis")]
        transposed = {"axis": self.values.integer("axis"), **_transposed(self.values, inputs)}
        return (builder.insert(SparseProduct((dy,), transposed, self.layers)).results[0],)


def _transposed(values: Values, inputs: int) -> dict[str, Value]:
    """The attributes of the transposed matrix, which has a row for each of so many inputs."""
    starts, columns, weights = values.integers("starts"), values.integers("columns"), values.reals("weights")
    entries = [
        (columns[k], row, weights[k]) for row, (begin, end) in enumerate(pairwise(starts)) for k in range(begin, end)
    ]
    entries.sort(key=lambda entry: entry[:2])
    counts = [0] * (inputs + 1)
    for column in columns:
        counts[column + 1] += 1
    return {
        "starts": tuple(accumulate(counts)),
        "columns": tuple(row for _, row, _ in entries),
        "weights": tuple(weight for _, _, weight in entries),
    }
