"""Which element of a source's arrays each element of the layers' arrays is, and which of them are therefore one array.

A source is translated twice: with its own values, and with arrays whose elements are numbered. Where the numbers come
to lie says what the rows of the table did to an array, whatever they do: permute, cut, join.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.layers.archive import layer_arrays
from gncodegen.layers.network import Network
from gncodegen.layers.sharing import Reading, order_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gncodegen.layers.base import Layer, Parameter
    from gncodegen.layers.graph import LayerGraph

FIRST = 1 << 24
"""The first number: no constant of a layer is as large."""

Places = Mapping[str, NDArray[np.int64]]
"""Key of a layer's array, "conv_1.weights" → the element that each of its elements is."""


@dataclass(frozen=True)
class Elements:
    """The elements of a source's arrays of floats, one after another.

    Args:
        names: of the arrays, each once.
        shapes: theirs.
        starts: where each begins.
        values: all elements.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    starts: NDArray[np.int64]
    values: NDArray[np.float64]

    @staticmethod
    def of(arrays: Sequence[tuple[str, NDArray[Any]]]) -> Elements:
        """Those of named arrays."""
        starts = np.cumsum([0, *(array.size for _, array in arrays)], dtype=np.int64)
        values = np.concatenate([*(array.ravel() for _, array in arrays), np.zeros(0)])
        return Elements(tuple(name for name, _ in arrays), tuple(array.shape for _, array in arrays), starts, values)

    @property
    def numbers(self) -> list[NDArray[np.float64]]:
        """The arrays, with numbers in the place of values."""
        every = np.arange(FIRST, FIRST + self.values.size, dtype=np.float64)
        parts = np.split(every, self.starts[1:-1]) if self.names else []
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def owners(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The arrays that these elements belong to, by their numbers in `names`, each once."""
        return np.unique(np.searchsorted(self.starts, places, side="right") - 1)

    def name(self, place: int) -> str:
        """The array that an element belongs to."""
        return self.names[int(self.owners(np.array([place]))[0])]


def places(elements: Elements, graph: LayerGraph, numbered: LayerGraph) -> dict[str, NDArray[np.int64]]:
    """Where the elements came to lie; arrays that are computed from them, or are none of the source's, have no entry.

    Args:
        elements: of the source's arrays.
        graph: translated from their values.
        numbered: from their numbers.
    """
    numbers = {key: array for layer in numbered for key, array in layer_arrays(layer).items()}
    result: dict[str, NDArray[np.int64]] = {}
    for layer in graph:
        for key, array in layer_arrays(layer).items():
            number = numbers.get(key)
            if number is None or number.shape != array.shape:
                continue
            own = number - FIRST
            if np.all((own >= 0) & (own < elements.values.size) & (own == np.floor(own))):
                index = own.astype(np.int64)
                if np.array_equal(elements.values[index], array, equal_nan=True):
                    result[key] = index
    return result


def share(
    graph: LayerGraph, elements: Elements, found: Places, learned: Callable[[Layer, Parameter, NDArray[np.int64]], bool]
) -> list[tuple[str, str, str]]:
    """Makes arrays of the same elements one parameter, which is read in several orders of axes, in place.

    Args:
        graph: the layers.
        elements: of the source's arrays.
        found: from `places`.
        learned: of a layer, one of its parameters and its elements, whether it is to be.

    Returns:
        (source's array, key, other key) of those that have some elements in common, and are two parameters still.
    """
    owners = np.full(elements.values.size, -1)
    keys: list[str] = []
    apart: list[tuple[str, str, str]] = []
    for node in Network.build(graph, require_output=False).nodes:
        shared: dict[str, str] = {}
        for parameter in node.parameters:
            key = f"{node.name}.{parameter.name}"
            index = found.get(key)
            if index is None or not parameter.learnable or not learned(node.layer, parameter, index):
                continue
            owner = int(owners[index.flat[0]])
            if owner < 0 and np.all(owners[index] < 0):
                owners[index] = len(keys)
                keys.append(key)
            elif owner >= 0 and np.array_equal(found[keys[owner]], index):
                shared[parameter.name] = keys[owner]
            elif owner >= 0 and (order := order_between(found[keys[owner]], index)):
                shared[parameter.name] = Reading(keys[owner], order).text
            else:
                apart.append((elements.name(int(index.flat[0])), key, keys[int(owners[index].max())]))
        if shared:
            layer: Any = graph[node.name]
            graph.replace(node.name, replace(layer, shared=shared, **dict.fromkeys(shared.keys() - layer.shaping)))
    return apart
