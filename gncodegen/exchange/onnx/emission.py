"""An ONNX graph under construction: nodes, constants, and in which orders of axes each array exists.

Layers have channels last, most ONNX operators have them first. An array knows the tensors that hold it, and a Transpose
makes another one when an operator asks for it, so that a chain of convolutions, norms and activations has none inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Order = tuple[int, ...]
"""Axis j of a tensor, the batch not counted, is axis order[j] of the layer's array."""


def channel_first(rank: int) -> Order:
    """The last axis, the channels of every layer, in front of all others."""
    return (rank - 1, *range(rank - 1))


def identity(rank: int) -> Order:
    """The layer's own order."""
    return tuple(range(rank))


@dataclass
class Array:
    """The output of a layer, or of a step of one.

    Args:
        shape: extents of one observation, channels last.
        tensors: order → name of the tensor that has the array in it.
    """

    shape: tuple[int, ...]
    tensors: dict[Order, str] = field(default_factory=dict[Order, str])

    @property
    def rank(self) -> int:
        """Axes of one observation."""
        return len(self.shape)

    @property
    def order(self) -> Order:
        """An order in which it exists: channel-first if that is there, else the first one."""
        preferred = channel_first(self.rank)
        return preferred if preferred in self.tensors else next(iter(self.tensors))


def shared_order(arrays: Sequence[Array]) -> Order:
    """An order that as many arrays as possible have: channel-first before others."""
    common = [order for order in arrays[0].tensors if all(order in array.tensors for array in arrays)]
    preferred = channel_first(arrays[0].rank)
    return preferred if preferred in common or not common else common[0]


class Emission:
    """The nodes and constants so far.

    Args:
        dtype: of all arrays of floats, "float32" or "float64".
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._taken: set[str] = set()

    def free(self, name: str) -> str:
        """A name that no tensor has yet: the one asked for, or that with a number."""
        number, chosen = 1, name
        while chosen in self._taken:
            number += 1
            chosen = f"{name}_{number}"
        self._taken.add(chosen)
        return chosen

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Adds a node with one output and returns the tensor, which has the node's name."""
        from onnx import helper  # noqa: PLC0415

        tensor = self.free(name)
        self.nodes.append(helper.make_node(operator, list(inputs), [tensor], name=tensor, **attributes))
        return tensor

    def constant(self, name: str, value: Any) -> str:
        """Adds a constant: floats in the type of the graph, integers as int64; layers that share one read the same."""
        given = np.asarray(value)
        given = given if given.size else given.astype(np.int64)  # the shape of one number
        array = np.asarray(given, self.dtype if given.dtype.kind == "f" else np.int64, order="C")
        if name in self.constants and np.array_equal(array, self.constants[name]):
            return name
        chosen = self.free(name)
        self.constants[chosen] = array
        return chosen

    def stored(self, array: Array, order: Order, title: str) -> str:
        """The tensor that has an array in this order, made by a Transpose where there is none yet."""
        if order not in array.tensors:
            present = array.order
            permutation = [0, *(present.index(axis) + 1 for axis in order)]
            name = f"{title}/transpose"
            array.tensors[order] = self.node("Transpose", [array.tensors[present]], name, perm=permutation)
        return array.tensors[order]

    @property
    def names(self) -> frozenset[str]:
        """All tensors so far."""
        return frozenset(self._taken)

    def renamed(self, tensor: str, name: str) -> None:
        """Gives a tensor another name, everywhere."""
        self._taken.add(name)
        for node in self.nodes:
            node.input[:] = [name if each == tensor else each for each in node.input]
            node.output[:] = [name if each == tensor else each for each in node.output]


def spread(value: NDArray[Any], rank: int, order: Order) -> NDArray[Any]:
    """A constant whose axes are the last ones of an array, as it meets a tensor of that array in some order."""
    # One number needs no axes of its own.
    if value.size == 1:
        return value.reshape(1)
    return value.reshape((1,) * (rank - value.ndim) + value.shape).transpose(order)[None]
