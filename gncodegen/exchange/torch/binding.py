"""Which element of a module's tensors each element of the layers' arrays is.

The module is translated twice: with its own values, and with tensors whose elements are numbered. Where the numbers
come to lie says what rows of the table did to a tensor, whatever they do: permute, cut, join.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import NetworkError
from gncodegen.exchange.torch.framework import framework
from gncodegen.layers.archive import layer_arrays
from gncodegen.layers.factors import set_learn_rate_factor
from gncodegen.layers.joining import ElementwiseLayer
from gncodegen.layers.network import Network

if TYPE_CHECKING:
    from gncodegen.exchange.torch.capture import Captured
    from gncodegen.layers.graph import LayerGraph

FIRST = 1 << 24
"""The first number: no constant of a layer is as large."""

Translate = Callable[[Mapping[str, Any]], "LayerGraph"]
"""Values by placeholder → the graph."""


@dataclass(frozen=True)
class Elements:
    """The elements of a module's tensors of floats, one after another.

    Args:
        names: of the tensors, each once, however often the module has it.
        tensors: the tensors.
        starts: where each begins.
        values: all elements.
    """

    names: tuple[str, ...]
    tensors: tuple[Any, ...]
    starts: NDArray[np.int64]
    values: NDArray[np.float64]

    @staticmethod
    def of(found: Captured) -> Elements:
        """Those of a captured module."""
        once = {id(found.tensors[key]): (name, found.tensors[key]) for key, name in found.names.items()}
        pairs = [(name, tensor) for name, tensor in once.values() if tensor.is_floating_point()]
        flat = [tensor.detach().cpu().double().numpy().ravel() for _, tensor in pairs]
        starts = np.cumsum([0, *(part.size for part in flat)], dtype=np.int64)
        values = np.concatenate([*flat, np.zeros(0)])
        return Elements(tuple(name for name, _ in pairs), tuple(tensor for _, tensor in pairs), starts, values)

    def numbered(self, found: Captured) -> dict[str, Any]:
        """The module's tensors with numbers in the place of values."""
        torch = framework("from_torch")
        numbers = {
            id(tensor): torch.arange(start, start + tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
            for tensor, start in zip(self.tensors, (self.starts + FIRST).tolist(), strict=False)
        }
        return {key: numbers.get(id(tensor), tensor) for key, tensor in found.tensors.items()}

    def name(self, place: int) -> str:
        """The tensor that an element belongs to."""
        return self.names[int(np.searchsorted(self.starts, place, side="right")) - 1]

    def learned(self, places: NDArray[np.int64]) -> bool:
        """Whether all of these elements are to be learned."""
        owners = np.unique(np.searchsorted(self.starts, places, side="right") - 1)
        return all(self.tensors[owner].requires_grad for owner in owners)


def places(
    found: Captured, elements: Elements, graph: LayerGraph, translate: Translate
) -> dict[str, NDArray[np.int64]]:
    """Key of a layer's array, "conv_1.weights" → the element that each of its elements is.

    Arrays that are computed from tensors, or are none of the module's, have no entry.

    Args:
        found: the module.
        elements: of its tensors.
        graph: translated from them.
        translate: makes the same graph of other values.
    """
    numbers = {
        key: array for layer in translate(elements.numbered(found)) for key, array in layer_arrays(layer).items()
    }
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


def bound(found: Captured, translate: Translate) -> LayerGraph:
    """The graph of a module, in which a tensor is one parameter, and is learned as the module says.

    Args:
        found: the module.
        translate: makes the graph of the tensors' values.

    Raises:
        NetworkError: layers read a tensor that is learned in ways of which no two can be one array.
    """
    graph = translate(found.tensors)
    elements = Elements.of(found)
    found_places = places(found, elements, graph, translate)
    for key, index in found_places.items():
        name, _, parameter = key.rpartition(".")
        layer, learned = graph[name], elements.learned(index)
        if isinstance(layer, ElementwiseLayer) and learned:
            graph.replace(name, replace(layer, constant_learn_rate_factor=1.0))
        elif not learned and parameter in _learnable(layer):
            graph.replace(name, set_learn_rate_factor(layer, parameter, 0.0))
    return _shared(graph, elements, found_places)


def _learnable(layer: Any) -> set[str]:
    """The arrays that have a learn rate factor."""
    named = {name.removesuffix("_learn_rate_factor") for name in vars(layer) if name.endswith("_learn_rate_factor")}
    return {"weights" if name == "weight" else name for name in named}


def _shared(graph: LayerGraph, elements: Elements, found: Mapping[str, NDArray[np.int64]]) -> LayerGraph:
    """The graph in which arrays of the same elements are one."""
    owners = np.full(elements.values.size, -1)
    keys: list[str] = []
    issues: list[str] = []
    for node in Network.build(graph, require_output=False).nodes:
        shared: dict[str, str] = {}
        for parameter in node.parameters:
            key = f"{node.name}.{parameter.name}"
            index = found.get(key)
            if index is None or not parameter.learnable or not elements.learned(index):
                continue
            owner = int(owners[index.flat[0]])
            if owner < 0 and np.all(owners[index] < 0):
                owners[index] = len(keys)
                keys.append(key)
            elif owner >= 0 and np.array_equal(found[keys[owner]], index):
                shared[parameter.name] = keys[owner]
            else:
                other = keys[int(owners[index].max())]
                issues.append(
                    f"from_torch: {elements.name(int(index.flat[0]))!r} is read by {other!r} and by {key!r} in another "
                    "order; allowed: the same array in all places; call requires_grad_(False) on it, and it is a "
                    "constant of each"
                )
        if shared:
            layer: Any = graph[node.name]
            graph.replace(node.name, replace(layer, shared=shared, **dict.fromkeys(shared)))
    if issues:
        raise NetworkError(issues)
    return graph
