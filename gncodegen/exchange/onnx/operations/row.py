"""What a row of the table of operations reads, and what it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from gncodegen.exchange.onnx.emission import Array, Emission, Order, identity, shared_order, spread
from gncodegen.layers.base import Operation
from gncodegen.layers.network import Node


@dataclass(frozen=True)
class Step:
    """One operation of a layer's chain.

    Args:
        emission: where nodes are added.
        node: the layer in its network.
        operation: what to compute.
        arrays: what it reads of other layers, or of the step before.
        values: its parameters, in the operation's order.
        title: name of its last node; of others the start.
    """

    emission: Emission
    node: Node
    operation: Operation
    arrays: tuple[Array, ...]
    values: tuple[NDArray[Any], ...]
    title: str

    @property
    def array(self) -> Array:
        """The first, often only, array."""
        return self.arrays[0]

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the operation."""
        return self.operation.attributes.get(name, default)

    def stored(self, order: Order, index: int = 0) -> str:
        """The tensor of an array in this order."""
        return self.emission.stored(self.arrays[index], order, self.title)

    def own(self) -> str:
        """The tensor of the first array in the layer's own order."""
        return self.stored(identity(self.array.rank))

    def shared(self) -> Order:
        """An order that all arrays have, or are brought to."""
        return shared_order(self.arrays)

    def parameter(self, index: int, value: NDArray[Any] | None = None) -> str:
        """The constant of a parameter: as it is, or as a node wants it."""
        name = self.node.key(self.operation.parameters[index])
        return self.emission.constant(name, self.values[index] if value is None else value)

    def spread(self, index: int, order: Order) -> str:
        """The constant of a parameter whose axes are the last ones of the first array."""
        return self.parameter(index, spread(self.values[index], self.array.rank, order))

    def emit(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds the node that gives the operation its name."""
        return self.emission.node(operator, inputs, self.title, **attributes)

    def helping(self, suffix: str, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node in front of it."""
        return self.emission.node(operator, inputs, f"{self.title}/{suffix}", **attributes)

    def constant(self, suffix: str, value: Any) -> str:
        """Adds a constant that is no parameter."""
        return self.emission.constant(f"{self.title}/{suffix}", value)


Emit = Callable[[Step], Array]


@dataclass(frozen=True)
class Row:
    """How an operation becomes nodes.

    Args:
        emit: adds the nodes and gives the result; raises Unsupported for what ONNX cannot say.
        becomes: the operators, for the table in the documentation.
    """

    emit: Emit
    becomes: str


@dataclass(frozen=True)
class LayerRow:
    """How a layer becomes one node, where its operations would be several or would lose what it is.

    Args:
        covers: whether the node can say it; otherwise its operations are taken.
        emit: as of `Row`; the step's operation is the layer's first.
        becomes: the operator.
    """

    covers: Callable[[Node], bool]
    emit: Emit
    becomes: str


def alike(operator: str, attributes: Callable[[Step], dict[str, Any]] = lambda _: {}) -> Emit:
    """An operator that treats every element alike, in the order that is there."""

    def emit(step: Step) -> Array:
        order = step.array.order
        return Array(step.array.shape, {order: step.emit(operator, step.stored(order), **attributes(step))})

    return emit


def chained(step: Step, operator: str, tensors: Sequence[str]) -> str:
    """An operator of two inputs over several: the last node has the name."""
    result = tensors[0]
    for number, tensor in enumerate(tensors[1:], 2):
        last = number == len(tensors)
        result = step.emit(operator, result, tensor) if last else step.helping("part", operator, result, tensor)
    return result
