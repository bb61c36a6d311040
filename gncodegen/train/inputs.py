"""Training inputs: checked against the input layer, and the statistics it takes from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.errors import ArrayError
from gncodegen.layers.inputs import InputLayer
from gncodegen.layers.network import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gncodegen.layers.network import Node


def axis_order(data_format: str, letters: str) -> str:
    """The letters an array has, in the order `data_format` gives them: "BCSS" orders features as "BC".

    Raises:
        ArrayError: the array has an axis that `data_format` does not place.
    """
    left, order = list(letters), ""
    for letter in data_format:
        if letter in left:
            left.remove(letter)
            order += letter
    if left:
        raise ArrayError(
            f"data_format = {data_format!r}; allowed: any order of the letters of {letters!r}; "
            f"write data_format={letters!r} for channel-last arrays"
        )
    return order


def checked_inputs(x: Any, node: Node, data_format: str) -> tuple[NDArray[Any], int]:
    """The inputs as a C-contiguous array (not copied if they are one), and the position of their batch axis.

    Args:
        x: real numbers or bools, N observations of the input layer's size in the order of `data_format`.
        node: the input layer.
        data_format: axis order, such as "BSSC".

    Raises:
        ArrayError: naming the layer, what was given, what is allowed and the cure.
    """
    array = np.asarray(x)
    letters = "B" + node.size.format
    order = axis_order(data_format, letters)
    extents = dict(zip(_numbered(letters), ("N", *node.size.shape), strict=True))
    wanted = tuple(extents[letter] for letter in _numbered(order))
    axis = order.index("B")
    fits = array.ndim == len(wanted) and all(
        have == want for have, want in zip(array.shape, wanted, strict=True) if want != "N"
    )
    if not fits:
        raise ArrayError(
            f"{node.label}: x has shape {array.shape}; allowed: ({', '.join(map(str, wanted))}), in the order "
            f"{order!r}; reshape x, give data_format, or change the size of the input layer"
        )
    if array.dtype.kind not in "biuf":
        raise ArrayError(f"{node.label}: x is of type {array.dtype}; allowed: real numbers; convert it to float32")
    if array.shape[axis] == 0:
        raise ArrayError(f"{node.label}: x holds no observation; allowed: at least one; give more data")
    return np.ascontiguousarray(array), axis


def _numbered(letters: str) -> list[str]:
    """Letters made unique by counting: "BSSC" → B1 S1 S2 C1."""
    return [f"{letter}{letters[: i + 1].count(letter)}" for i, letter in enumerate(letters)]


def channel_last(x: NDArray[Any], node: Node, data_format: str) -> NDArray[Any]:
    """A view of the inputs with B first and C last."""
    letters = "B" + node.size.format
    order = _numbered(axis_order(data_format, letters))
    return x.transpose([order.index(letter) for letter in _numbered(letters)])


def with_input_statistics(network: Network, x: NDArray[Any], data_format: str, reset: bool) -> Network:
    """The network whose input layer has the statistics its normalization needs.

    Args:
        network: any network.
        x: the training inputs.
        data_format: their axis order.
        reset: compute all of them; else only where one is missing.
    """
    node = network.input
    layer = node.layer
    if not isinstance(layer, InputLayer):
        return network
    needed = node.parameters
    if not needed or (not reset and all(parameter.value is not None for parameter in needed)):
        return network
    values = layer.statistics(channel_last(x, node, data_format))
    given = {} if reset else {p.name: p.value for p in needed if p.value is not None}
    changed: dict[str, Any] = values | given
    return with_layer(network, node.name, replace(layer, **changed))


def with_layer(network: Network, name: str, layer: Any) -> Network:
    """The network with another layer of the same sizes in the place of the one of that name."""
    return Network(tuple(replace(node, layer=layer) if node.name == name else node for node in network.nodes))
