"""Initializers that several nodes read: the layers that they are weights of have one parameter."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import NetworkError
from gncodegen.exchange.binding import Elements, places, share
from gncodegen.exchange.translation import Source, translated
from gncodegen.layers.archive import layer_arrays
from gncodegen.layers.joining import ElementwiseLayer
from gncodegen.layers.matrices import MatrixProductLayer

if TYPE_CHECKING:
    from gncodegen.layers.base import Layer, Parameter
    from gncodegen.layers.graph import LayerGraph


def with_shared_parameters(source: Source, graph: LayerGraph) -> LayerGraph:
    """The graph in which an initializer is one parameter, in whatever order of axes layers read it.

    Args:
        source: the model.
        graph: translated from it.
    """
    reads = Counter(name for step in source.steps for name in step.inputs)
    several = {
        name: array
        for name, array in source.constants.items()
        if reads[name] > 1 and array.dtype.kind == "f" and array.size > 1
    }
    sizes = {array.size for array in several.values()}
    arrays = [array for layer in graph for array in layer_arrays(layer).values() if array.size in sizes]
    held = Counter(map(_content, arrays))
    weights = [(name, array) for name, array in several.items() if held[_content(array)] > 1]
    if not weights:
        return graph
    elements = Elements.of(weights)
    numbers = dict(zip(elements.names, elements.numbers, strict=True))
    try:
        numbered = translated(replace(source, constants={**source.constants, **numbers}))
    except NetworkError:  # what a node does depends on their values
        return graph
    share(graph, elements, places(elements, graph, numbered), _is_shared)
    return graph


def _content(array: NDArray[Any]) -> bytes:
    """What arrays have in common that differ in the order of their elements."""
    return np.sort(array, axis=None).astype(np.float64).tobytes()


def _is_shared(layer: Layer, parameter: Parameter, _: NDArray[np.int64]) -> bool:
    """All weights; constants in formulas only where they are learned."""
    return not isinstance(layer, (ElementwiseLayer, MatrixProductLayer)) or parameter.learn_rate_factor > 0
