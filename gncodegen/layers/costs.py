"""How many floating-point operations a layer takes, by the ops that compute it: products and sums count one each."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gncodegen.layers.base import Layer, Operation, Size


@dataclass(frozen=True)
class Work:
    """One operation of a layer's chain.

    Args:
        operation: what is done.
        read: shape of its first operand, for one observation.
        written: elements of its result.
        operands: how many arrays it takes.
        weights: shape of its first parameter; (1,) where it has none.
    """

    operation: Operation
    read: tuple[int, ...]
    written: int
    operands: int
    weights: tuple[int, ...]

    def attribute(self, name: str) -> tuple[int, ...]:
        """A list among the attributes."""
        value = self.operation.attributes[name]
        assert isinstance(value, tuple)
        return tuple(int(each) for each in value)

    @property
    def depth(self) -> int:
        """The products of each sum of a product of matrices."""
        return self.read[-2 if self.operation.attributes["left_crosswise"] else -1]

    @property
    def axis(self) -> int:
        """The axis of one observation that a sparse product works along."""
        return int(str(self.operation.attributes["axis"])) - 1


COSTS: Mapping[str, Callable[[Work], int]] = {
    # A product and a sum for every weight that an output meets; of a transposed convolution, an input.
    "convolution": lambda work: 2 * work.written * prod(work.weights[:-1]),
    "transposed_convolution": lambda work: 2 * prod(work.read) * prod(work.weights[:-1]),
    "fully_connected": lambda work: 2 * work.written * work.weights[-1],
    "sparse_product": lambda work: 2 * len(work.attribute("columns")) * (prod(work.read) // work.read[work.axis]),
    "matrix_product": lambda work: 2 * work.written * work.depth,
    "max_pool": lambda work: work.written * prod(work.attribute("window")),
    "average_pool": lambda work: work.written * (prod(work.attribute("window")) + 1),
    # The sum, deviations, their squares and the sum of those; a product and a sum for y.
    "group_norm": lambda work: 6 * work.written,
    "batch_norm": lambda work: 2 * work.written,
    "input_normalization": lambda work: 2 * work.written,
    # The largest, differences, exponentials, their sum, quotients.
    "softmax": lambda work: 5 * work.written,
    "bias": lambda work: work.written,
    "activation": lambda work: work.written,
    "add": lambda work: (work.operands - 1) * work.written,
    "elementwise": lambda work: max(work.operands - 1, 1) * work.written,
}
"""Op → its cost; those that only move elements have none, and a function such as exp costs one."""


def flops(layer: Layer, inputs: tuple[Size, ...], output: Size) -> int:
    """Floating-point operations of a prediction of one observation, in which output layers do nothing.

    Args:
        layer: any.
        inputs: sizes of its inputs.
        output: its size.
    """
    if layer.is_output:
        return 0
    shapes = {parameter.name: parameter.shape for parameter in layer.parameters(inputs)}
    read, total, arrays = (inputs[0] if inputs else output).shape, 0, max(len(inputs), 1)
    for operation in layer.operations(inputs):
        weights = shapes[operation.parameters[0]] if operation.parameters else (1,)
        operands = arrays + len(operation.parameters) + len(inputs) * operation.with_inputs
        work = Work(operation, read, output.count, operands, weights)
        total += COSTS[operation.op](work) if operation.op in COSTS else 0
        if operation.op == "sparse_product":
            outputs = len(work.attribute("starts")) - 1
            read = (*read[: work.axis], outputs, *read[work.axis + 1 :])
        arrays = 1
    return total
