"""Training inputs: checked against the input layer, and the statistics it takes from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.errors import ArrayError
from gncodegen.layers.formats import axis_order, permutation
from gncodegen.layers.inputs import InputLayer, SequenceInputLayer
from gncodegen.layers.network import Network
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.runtime.arrays import as_array
from gncodegen.runtime.sequences import listed, sequences_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gncodegen.layers.network import Node


def checked_inputs(x: Any, node: Node, data_format: str) -> tuple[NDArray[Any], int]:
    """The inputs as a C-contiguous array (not copied if they are one), and the position of their batch axis.

    Sequences of a list stay apart: the array holds objects (N,).

    Args:
        x: real numbers or bools, N observations of the input layer's size in the order of `data_format`.
        node: the input layer.
        data_format: axis order, such as "BSSC".

    Raises:
        ArrayError: naming the layer, what was given, what is allowed and the cure.
    """
    letters = "B" + node.size.format
    order = axis_order(data_format, letters)
    sequences = sequences_of(x, node, order)
    array = as_array(x, f"{node.label}: x") if sequences is None else sequences
    extents = ("N", *node.size.shape)
    wanted = tuple(extents[axis] for axis in permutation(letters, order))
    axis = order.index("B") if sequences is None else 0
    others = array.shape[:axis] + array.shape[axis + 1 :]
    fits = array.ndim == len(wanted) and others == wanted[:axis] + wanted[axis + 1 :]
    if sequences is None and not fits:
        cure = "reshape x, give data_format, or change the size of the input layer"
        if isinstance(node.layer, SequenceInputLayer) and array.ndim == len(wanted):
            cure = (
                f"write min_length={array.shape[order.index('T')]} in the input layer, reshape x, or give data_format"
            )
        raise ArrayError(
            f"{node.label}: x has shape {array.shape}; allowed: ({', '.join(map(str, wanted))}), in the order "
            f"{order!r}; {cure}"
        )
    if array.shape[axis] == 0:
        raise ArrayError(f"{node.label}: x holds no observation; allowed: at least one; give more data")
    return np.ascontiguousarray(array), axis


def along(x: NDArray[Any], axis: int, part: slice) -> NDArray[Any]:
    """A view of some observations.

    Args:
        x: the inputs.
        axis: the position of B in their format.
        part: which.
    """
    return x[(slice(None),) * axis + (part,)]


def channel_last(x: NDArray[Any], node: Node, data_format: str) -> NDArray[Any]:
    """A view of the inputs with B first and C last; of sequences that are apart, each with C last."""
    letters = "B" + node.size.format
    if x.dtype == object:
        axes = axis_order(data_format, letters).replace("B", "")
        return listed([each.transpose(permutation(axes, node.size.format)) for each in x])
    return x.transpose(permutation(axis_order(data_format, letters), letters))


def needs_statistics(network: Network, reset: bool) -> bool:
    """Whether the input layer's normalization needs statistics of training data.

    Args:
        network: any network.
        reset: whether those that are given are to be computed anew; else only where one is missing.
    """
    needed = network.input.parameters if isinstance(network.input_layer, InputLayer) else ()
    return bool(needed) and (reset or any(parameter.value is None for parameter in needed))


def with_statistics(network: Network, values: Mapping[str, NDArray[np.float64]], reset: bool) -> Network:
    """The network whose input layer has these statistics; without `reset` those that are given stay."""
    node = network.input
    given = {} if reset else {p.name: p.value for p in node.parameters if p.value is not None}
    changed: dict[str, Any] = {**values, **given}
    return with_layer(network, node.name, replace(node.layer, **changed))


def with_classes(network: Network, classes: tuple[Any, ...]) -> Network:
    """The network whose output layer names the classes of the training data."""
    layer = network.output_layer
    assert isinstance(layer, ClassificationLayer)
    return with_layer(network, layer.name, replace(layer, classes=classes))


def with_layer(network: Network, name: str, layer: Any) -> Network:
    """The network with another layer of the same sizes in the place of the one of that name."""
    return replace(network, nodes=tuple(replace(n, layer=layer) if n.name == name else n for n in network.nodes))
