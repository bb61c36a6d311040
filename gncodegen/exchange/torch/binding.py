"""A module's tensors and the layers' arrays: which is which, what is learned, and what is one parameter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import NetworkError
from gncodegen.exchange.binding import Elements, places, share
from gncodegen.exchange.torch.framework import framework
from gncodegen.exchange.translation import reached
from gncodegen.layers.factors import set_learn_rate_factor
from gncodegen.layers.joining import ElementwiseLayer
from gncodegen.layers.matrices import MatrixProductLayer

if TYPE_CHECKING:
    from gncodegen.exchange.torch.capture import Captured
    from gncodegen.layers.graph import LayerGraph

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


def bound(found: Captured, translate: Translate) -> LayerGraph:
    """The graph of a module, in which a tensor is one parameter, and is learned as the module says.

    Warns of tensors that are to be learned, and of which layers have only what is computed from them.

    Args:
        found: the module.
        translate: makes the graph of the tensors' values.

    Raises:
        NetworkError: layers read a tensor that is learned in ways of which no two can be one array.
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
    _tell_of_computed(found, own, found_places.values())
    apart = share(graph, own.elements, found_places, lambda layer, parameter, index: own.learned(index))
    if apart:
        raise NetworkError(
            [
                f"from_torch: {name!r} is read by {other!r} and by {key!r} in another order; allowed: the same array "
                "in all places; call requires_grad_(False) on it, and it is a constant of each"
                for name, key, other in apart
            ]
        )
    return graph


def _tell_of_computed(found: Captured, own: Tensors, kept: Iterable[NDArray[np.int64]]) -> None:
    """One warning that names the tensors that are read, are to be learned, and have no place in a layer."""
    read = {node.name for node in reached(found.results, lambda node: node.all_input_nodes)}
    wanted = {id(found.tensors[key]) for key in found.names if key in read and found.tensors[key].requires_grad}
    there = np.zeros(own.elements.values.size, bool)
    for index in kept:
        there[index] = True
    lost = [
        name
        for tensor, name, start in zip(own.tensors, own.elements.names, own.elements.starts, strict=False)
        if id(tensor) in wanted and tensor.numel() and not there[start : start + tensor.numel()].any()
    ]
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        warnings.warn(
            f"from_torch: {', '.join(map(repr, lost[:3]))}{more}: what the module computes from parameters alone is "
            "computed once, here. Layers have the result: as weights it is learned itself, else it stays as it is; "
            "these tensors are not learned. For weight_norm call remove_parametrizations first; train the others in "
            "PyTorch; after requires_grad_(False) on them nothing is said",
            stacklevel=4,
        )


def _learnable(layer: Any) -> set[str]:
    """The arrays that have a learn rate factor."""
    named = {name.removesuffix("_learn_rate_factor") for name in vars(layer) if name.endswith("_learn_rate_factor")}
    return {"weights" if name == "weight" else name for name in named}
