"""The product of two arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from gncodegen.layers.base import Layer, Operation, Parameter, Size
from gncodegen.layers.checks import Array, Factor, flag


@dataclass(frozen=True, eq=False)
class MatrixProductLayer(Layer):
    """y = x1 · x2 for the matrices that the last two axes of x1 and x2 are; all axes ahead repeat as in NumPy.

    Attention is two of these with a softmax between them.

    Args:
        transpose_first: x1ᵀ instead of x1.
        transpose_second: x2ᵀ instead of x2.
        constant: stands for x2, at least 2 axes; the layer then has one input.
        constant_learn_rate_factor: times the global rate, ≥ 0; 0 = the constant is not learned.
        constant_l2_factor: times the global L2, ≥ 0.
    """

    transpose_first: Annotated[bool, flag] = False
    transpose_second: Annotated[bool, flag] = False
    constant: Array = field(default=None, repr=False)
    constant_learn_rate_factor: Factor = 0.0
    constant_l2_factor: Factor = 1.0
    kind: ClassVar[str] = "matrixproduct"
    shaping: ClassVar[frozenset[str]] = frozenset({"constant"})

    @property
    def num_inputs(self) -> int:
        return 2 if self.constant is None else 1

    def _shapes(self, inputs: tuple[Size, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Those of x1 and of x2."""
        second = inputs[-1].shape if self.constant is None else self.constant.shape
        return inputs[0].shape, second

    def _matrices(self, inputs: tuple[Size, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The rows and columns of both."""
        first, second = (shape[-2:] for shape in self._shapes(inputs))
        return first[:: -1 if self.transpose_first else 1], second[:: -1 if self.transpose_second else 1]

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        constant = "" if self.constant is None else f" and the constant {list(self.constant.shape)}"
        given = f"its inputs are {', '.join(map(str, inputs))}{constant}"
        ranks = [len(shape) for shape in self._shapes(inputs)]
        if min(ranks) < 2 or ranks[1] > ranks[0] or len({size.format for size in inputs}) > 1:
            yield f"{given}; allowed: two arrays of as many axes, at least 2, with one format; reshape them"
            return
        first, second = self._matrices(inputs)
        if first[1] != second[0]:
            yield (
                f"{given}, matrices of {first[0]}×{first[1]} and {second[0]}×{second[1]}; allowed: as many columns as "
                "rows; transpose one with transpose_first or transpose_second"
            )
        elif not self._ahead(inputs):
            yield f"{given}; allowed: axes ahead of the last two that are equal or 1; change the branches"

    def _ahead(self, inputs: tuple[Size, ...]) -> tuple[tuple[int, ...], ...]:
        """The axes ahead of the matrices, where there are such; () = they do not fit."""
        try:
            return (np.broadcast_shapes(*(shape[:-2] for shape in self._shapes(inputs))),)
        except ValueError:
            return ()

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        if any(True for _ in self.shape_errors(inputs)):
            return inputs[0]
        first, second = self._matrices(inputs)
        return Size(inputs[0].format, (*self._ahead(inputs)[0], first[0], second[1]))

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        if self.constant is None:
            return ()
        rate, l2 = self.constant_learn_rate_factor, self.constant_l2_factor
        return (Parameter("constant", self.constant.shape, "zeros", self.constant, rate, l2, learnable=rate > 0),)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        attributes = {"left_crosswise": self.transpose_first, "right_crosswise": self.transpose_second}
        return (Operation("matrix_product", () if self.constant is None else ("constant",), attributes),)
