"""A module's tensors and the layers' arrays: which is which, what is learned, and what is one parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import NetworkError
from gncodegen.exchange.binding import Elements, places, share
from gncodegen.exchange.torch.framework import framework
from gncodegen.exchange.translation import reached
from gncodegen.layers.archive import layer_arrays
from gncodegen.layers.factors import set_learn_rate_factor
from gncodegen.layers.joining import ElementwiseLayer
from gncodegen.layers.matrices import MatrixProductLayer

if TYPE_CHECKING:
    from gncodegen.exchange.torch.capture import Captured
    from gncodegen.layers.graph import LayerGraph

Arrays = Mapping[str, NDArray[Any]]
"""Key of a layer's array → its values."""

Translate = Callable[[Mapping[str, Any]], "LayerGraph"]
"""Values by placeholder → the graph."""


@dataclass(frozen=True)
class Tensors:
    """The tensors of floats of a module, and their elements.

    Args:
        tensors: each once, however often the module has it.
        elements: theirs, in that order.
    """

    tensors: tuple[Any, ...]
    elements: Elements

    @staticmethod
    def of(found: Captured) -> Tensors:
        """Those of a captured module."""
        once = {id(found.tensors[key]): (name, found.tensors[key]) for key, name in found.names.items()}
        pairs = [(name, tensor) for name, tensor in once.values() if tensor.is_floating_point()]
        arrays = [(name, tensor.detach().cpu().double().numpy()) for name, tensor in pairs]
        return Tensors(tuple(tensor for _, tensor in pairs), Elements.of(arrays))

    def places(self, found: Captured, graph: LayerGraph, translate: Translate) -> dict[str, NDArray[np.int64]]:
        """As `binding.places`.

        Args:
            found: the module.
            graph: translated from it.
            translate: makes the same graph of other values.
        """
        torch = framework("from_torch")
        numbers = {
            id(tensor): torch.from_numpy(number)
            for tensor, number in zip(self.tensors, self.elements.numbers, strict=True)
        }
        numbered = {key: numbers.get(id(tensor), tensor) for key, tensor in found.tensors.items()}
        return places(self.elements, graph, translate(numbered))

    def learned(self, index: NDArray[np.int64]) -> bool:
        """Whether all of these elements are to be learned."""
        return all(self.tensors[owner].requires_grad for owner in self.elements.owners(index))


def bound(found: Captured, translate: Translate) -> tuple[LayerGraph, list[str]]:
    """The graph of a module, in which a tensor is one parameter, and is learned as the module says.

    Args:
        found: the module.
        translate: makes the graph of the tensors' values.

    Returns:
        the graph, and the names of tensors that are to be learned, and of which layers have what is computed from them.

    Raises:
        NetworkError: layers read other parts of a tensor that is learned, which cannot be one array.
    """
    graph, own = translate(found.tensors), Tensors.of(found)
    found_places = own.places(found, graph, translate)
    for key, index in found_places.items():
        name, _, parameter = key.rpartition(".")
        layer, learned = graph[name], own.learned(index)
        if isinstance(layer, (ElementwiseLayer, MatrixProductLayer)) and learned:
            graph.replace(name, replace(layer, constant_learn_rate_factor=1.0))
        elif not learned and parameter in _learnable(layer):
            graph.replace(name, set_learn_rate_factor(layer, parameter, 0.0))
    held = {key: array for layer in graph for key, array in layer_arrays(layer).items()}
    apart = share(graph, own.elements, found_places, lambda layer, parameter, index: own.learned(index))
    if apart:
        raise NetworkError(
            [
                f"from_torch: {name!r} is read by {other!r} and by {key!r} in part; allowed: the same elements "
                "in all places, in any order of axes; call requires_grad_(False) on it, and it is a constant of each"
                for name, key, other in apart
            ]
        )
    return graph, _computed_from(found, own, found_places.values(), held, translate)


def _computed_from(
    found: Captured, own: Tensors, kept: Iterable[NDArray[np.int64]], held: Arrays, translate: Translate
) -> list[str]:
    """The tensors that are to be learned, with elements that are in no layer and change what layers have."""
    torch = framework("from_torch")
    there = np.zeros(own.elements.values.size, bool)
    for index in kept:
        there[index] = True
    nodes = {node.name for node in reached(found.results, lambda node: node.all_input_nodes)}
    read = {id(found.tensors[key]) for key in found.names if key in nodes}
    names: list[str] = []
    for tensor, name, start in zip(own.tensors, own.elements.names, own.elements.starts, strict=False):
        part = torch.from_numpy(there[start : start + tensor.numel()].reshape(tuple(tensor.shape)))
        if not tensor.requires_grad or id(tensor) not in read or part.all():
            continue
        if not part.any():
            names.append(name)
        else:  # what is in no layer may also be read by nothing, as the end of a table of positions
            other = torch.where(part, tensor, 1.5 * tensor + 0.25).detach()
            values = {key: other if each is tensor else each for key, each in found.tensors.items()}
            if _differs(held, values, translate):
                names.append(name)
    return names


def _differs(held: Arrays, values: Mapping[str, Any], translate: Translate) -> bool:
    """Whether the graph of other values has other arrays."""
    try:
        graph = translate(values)
    except NetworkError:  # what a node does depends on them
        return True
    arrays = {key: array for layer in graph for key, array in layer_arrays(layer).items()}
    return arrays.keys() != held.keys() or any(
        not np.array_equal(array, held[key], equal_nan=True) for key, array in arrays.items()
    )


def _learnable(layer: Any) -> set[str]:
    """The arrays that have a learn rate factor."""
    named = {name.removesuffix("_learn_rate_factor") for name in vars(layer) if name.endswith("_learn_rate_factor")}
    return {"weights" if name == "weight" else name for name in named}
