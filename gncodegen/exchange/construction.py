"""A layer graph built from another framework's operations, whose arrays have any rank and any meaning of axes.

Layers want channels last, other frameworks have them first. Each value knows the layouts in which it exists, and a
`PermuteLayer` makes another one when an operation asks for it. Operations that treat every element alike take the
layout that is there, so that a chain of convolutions, norms and activations has no permutation inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gncodegen.errors import LayerError
from gncodegen.layers.base import Layer, Size
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.tensors import PermuteLayer, ReshapeLayer, TensorInputLayer
from gncodegen.layers.wiring import free_name

Layout = tuple[int, ...]
"""The axes of one observation, numbered as the source has them, in the order in which they are stored."""


class Unsupported(Exception):  # noqa: N818
    """What a model asks for has no layer; the text says what is allowed. The importer lists all of them."""


def channel_last(rank: int) -> Layout:
    """Axis 0, the channels of most frameworks, behind all others."""
    return (*range(1, rank), 0) if rank else ()


def last(axis: int, rank: int) -> Layout:
    """One axis behind all others."""
    return (*(other for other in range(rank) if other != axis), axis)


@dataclass
class Value:
    """An array of the source's computation.

    Args:
        shape: extents of one observation, in the source's order of axes.
        places: layout → the layer whose output has the array in this layout.
    """

    shape: tuple[int, ...]
    places: dict[Layout, str] = field(default_factory=dict[Layout, str])

    @property
    def rank(self) -> int:
        """Axes of one observation."""
        return len(self.shape)

    @property
    def layout(self) -> Layout:
        """A layout in which it exists: channel-last if that is there, else the first one."""
        preferred = channel_last(self.rank)
        return preferred if preferred in self.places else next(iter(self.places))


class Construction:
    """The graph under construction, and the size of every layer's output."""

    def __init__(self) -> None:
        self.graph = LayerGraph()
        self._sizes: dict[str, Size] = {}
        self._title = ""

    def titled(self, title: str) -> Construction:
        """Names the layers that follow after an operation of the source, numbered where they are several."""
        self._title = title
        return self

    def input(self, name: str, shape: tuple[int, ...], batched: bool) -> Value:
        """An array that the network takes, in the source's order of axes."""
        self._title = name
        added = self.add(TensorInputLayer(shape, batched))
        return Value(shape, {tuple(range(len(shape))): added})

    def add(self, layer: Layer, *sources: str) -> str:
        """Adds a layer behind others and returns its name.

        Raises:
            Unsupported: the layer does not fit what feeds it.
        """
        inputs = tuple(self._sizes[source] for source in sources)
        try:
            size = layer.output_size(inputs)
            faults = list(layer.shape_errors(inputs))
        except LayerError as error:
            raise Unsupported(str(error)) from error
        if faults:
            raise Unsupported(faults[0])
        name = self._free(layer)
        self.graph.add(replace(layer, name=name))
        for port, source in zip(layer.input_names, sources, strict=True):
            self.graph.connect(source, f"{name}/{port}")
        self._sizes[name] = size
        return name

    def _free(self, layer: Layer) -> str:
        taken, stem = self._sizes.keys(), self._title
        if not stem:
            return free_name(layer, taken)
        number, name = 1, stem
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        return name

    def size(self, name: str) -> Size:
        """The size of a layer's output."""
        return self._sizes[name]

    def stored(self, value: Value, layout: Layout) -> str:
        """The layer whose output has the value in this layout, added where there is none yet."""
        if layout not in value.places:
            present = value.layout
            order = tuple(present.index(axis) for axis in layout)
            value.places[layout] = self.add(PermuteLayer(order), value.places[present])
        return value.places[layout]

    def alike(self, value: Value, layer: Layer) -> Value:
        """A layer that treats every element alike, in the layout that is there."""
        layout = value.layout
        return Value(value.shape, {layout: self.add(layer, value.places[layout])})

    def joined(self, values: Sequence[Value], layer: Layer) -> Value:
        """A layer that takes several values of one shape element by element."""
        shared = [layout for layout in values[0].places if all(layout in value.places for value in values)]
        preferred = channel_last(values[0].rank)
        layout = preferred if preferred in shared or not shared else shared[0]
        return Value(values[0].shape, {layout: self.add(layer, *(self.stored(value, layout) for value in values))})

    def in_layout(self, value: Value, layout: Layout, make: Callable[[Size], Layer]) -> Value:
        """A layer over a value in a layout of its choice; `make` gets the size and gives the layer.

        The layer keeps the number of axes, and may change their extents.
        """
        source = self.stored(value, layout)
        added = self.add(make(self.size(source)), source)
        return Value(self._unstored(self.size(added).shape, layout), {layout: added})

    def channels_last(self, value: Value, make: Callable[[Size], Layer]) -> Value:
        """The same in the layout that convolutions, pools and norms want."""
        return self.in_layout(value, channel_last(value.rank), make)

    def reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        """The same elements, in the source's order, in another shape."""
        if shape == value.shape:
            return value
        source = self.stored(value, tuple(range(value.rank)))
        return Value(shape, {tuple(range(len(shape))): self.add(ReshapeLayer(shape), source)})

    def permuted(self, value: Value, order: tuple[int, ...]) -> Value:
        """Axis i of the result is axis order[i] of the value; only the names of axes change, no layer is added."""
        places = {tuple(order.index(axis) for axis in layout): name for layout, name in value.places.items()}
        return Value(tuple(value.shape[axis] for axis in order), places)

    def returning(self, values: Sequence[Value], names: Sequence[str]) -> LayerGraph:
        """The graph, which returns these values in the source's order of axes."""
        results: list[str] = []
        for value, name in zip(values, names, strict=True):
            self._title = name
            identity = tuple(range(value.rank))
            end = self.stored(value, identity)
            # A graph returns a layer once, and no input: such a value passes a layer of its own.
            if end in results or self.graph[end].is_input:
                end = self.add(ReshapeLayer(value.shape), end)
            results.append(end)
        return self.graph.returning(*results)

    @staticmethod
    def _unstored(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
        """The shape in the source's order of what is stored in a layout."""
        return tuple(shape[layout.index(axis)] for axis in range(len(layout)))
