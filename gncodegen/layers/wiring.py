"""Layers in their places: named, numbered, and each input joined to the layer that feeds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, SupportsIndex, overload, runtime_checkable

from gncodegen.layers.base import Layer
from gncodegen.layers.checks import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

UNKNOWN = -1
"""The source of an input that is fed by something that is no layer."""


@dataclass(frozen=True)
class Placed:
    """A named layer in its place.

    Args:
        index: 1-based position in the array the user wrote.
        layer: the layer, named.
        sources: per input, the position (0-based, among the `Placed`) of the layer that feeds it; None = nothing does;
            `UNKNOWN` = something that is no layer.
    """

    index: int
    layer: Layer
    sources: tuple[int | None, ...]

    @property
    def label(self) -> str:
        """How messages name the layer."""
        return f"layer {self.index} {self.layer.name!r}"


@runtime_checkable
class Wired(Protocol):
    """What is already wired: a `LayerGraph` or a `Network`."""

    @property
    def placed(self) -> tuple[Placed, ...]:
        """The layers in their places."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """The layers whose outputs prediction returns, in order; empty = those that no layer takes."""
        ...


class LayerArray(tuple[Layer, ...]):
    """The layers of a network, which know what fed them, so that nobody takes those of a graph for a chain.

    Args:
        layers: named, in the order the user wrote them.
        fed_by: name → the layers that feed it.
    """

    fed_by: Mapping[str, tuple[str, ...]]

    def __new__(cls, layers: Iterable[Layer] = (), fed_by: Mapping[str, tuple[str, ...]] | None = None) -> LayerArray:
        array = super().__new__(cls, layers)
        array.fed_by = fed_by or {}
        return array

    @overload
    def __getitem__(self, key: SupportsIndex, /) -> Layer: ...
    @overload
    def __getitem__(self, key: slice, /) -> LayerArray: ...
    def __getitem__(self, key: Any, /) -> Any:
        found = super().__getitem__(key)
        return LayerArray(found, self.fed_by) if isinstance(key, slice) else found

    def breaks(self) -> list[str]:
        """Where it is no chain."""
        return [
            f"layer {index} {layer.name!r}: it is fed by {', '.join(map(repr, self.fed_by[layer.name])) or 'nothing'}, "
            f"and {before.name!r} stands before it; allowed: arrays in which each layer feeds the next; "
            "take the graph of the network, net.graph"
            for index, (before, layer) in enumerate(pairwise(self), 2)
            if self.fed_by.get(layer.name, (before.name,)) != (before.name,)
        ]


def name_layers(layers: Iterable[Layer], taken: Iterable[str] = ()) -> list[Layer]:
    """Gives unnamed layers automatic names: the kind and the first free number, "conv_1"; for some the kind alone."""
    named = list(layers)
    used = {*taken, *(layer.name for layer in named)}
    for position, layer in enumerate(named):
        if not layer.name:
            name = free_name(layer, used)
            used.add(name)
            named[position] = replace(layer, name=name)
    return named


def free_name(layer: Layer, used: Iterable[str]) -> str:
    """The first automatic name for this layer that is not used."""
    used = set(used)
    if not layer.numbered and layer.kind not in used:
        return layer.kind
    number = 1 if layer.numbered else 2
    while f"{layer.kind}_{number}" in used:
        number += 1
    return f"{layer.kind}_{number}"


def wire(layers: object) -> tuple[tuple[Placed, ...], list[str]]:
    """The placed layers of an array of layers, a `LayerGraph` or a `Network`, and the faults of the array itself."""
    if isinstance(layers, Wired):
        return layers.placed, []
    if isinstance(layers, Layer):
        layers = [layers]
    if isinstance(layers, LayerArray) and (breaks := layers.breaks()):
        return (), breaks
    if not isinstance(layers, (list, tuple)):
        fault = (
            f"the network is {shown(layers)}; allowed: a list of layers, a LayerGraph or a Network; "
            "write [ImageInputLayer((28, 28, 1)), …]"
        )
        return (), [fault]
    return _chain(layers)


def _chain(array: Sequence[object]) -> tuple[tuple[Placed, ...], list[str]]:
    """A layer array: each layer's first input is fed by the layer before it."""
    issues = [_not_a_layer(i, item) for i, item in enumerate(array, 1) if not isinstance(item, Layer)]
    indices = [i for i, item in enumerate(array, 1) if isinstance(item, Layer)]
    layers = name_layers(item for item in array if isinstance(item, Layer))
    placed: list[Placed] = []
    for index, layer in zip(indices, layers, strict=True):
        feeds = index > 1 and layer.num_inputs > 0
        first: int | None = None
        if feeds and (not placed or placed[-1].index != index - 1):
            first = UNKNOWN
        elif feeds and placed[-1].layer.num_outputs:
            first = len(placed) - 1
        placed.append(Placed(index, layer, (first, *(None,) * (layer.num_inputs - 1)) if layer.num_inputs else ()))
    return tuple(placed), issues


def _not_a_layer(index: int, item: object) -> str:
    if isinstance(item, type):
        return f"layer {index}: {item.__name__} is a class; allowed: layers; write {item.__name__}(…)"
    hint = "put its layers into this list, [*layers, …]" if isinstance(item, (list, tuple)) else "write ReluLayer()"
    return f"layer {index}: {shown(item)} is no layer; allowed: layers; {hint}"
