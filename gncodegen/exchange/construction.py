"""A layer graph built from another framework's operations, whose arrays have any rank and any meaning of axes.

Layers want channels last, other frameworks have them first. Each value knows the layouts in which it exists, and a
`PermuteLayer` makes another one when an operation asks for it. Operations that treat every element alike take the
layout that is there, so that a chain of convolutions, norms and activations has no permutation inside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import LayerError
from gncodegen.layers.base import Layer, Size
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.joining import ElementwiseLayer
from gncodegen.layers.tensors import PermuteLayer, ReshapeLayer, TensorInputLayer
from gncodegen.layers.wiring import free_name

Layout = tuple[int, ...]
"""The axes of one observation, numbered as the source has them, in the order in which they are stored."""


_OF_FORM = re.compile(r"/(permute|reshape)(_\d+)?$")
"""How names of layers end that bring arrays into a form."""


class Unsupported(Exception):  # noqa: N818
    """What a model asks for has no layer; the text says what is allowed. The importer lists all of them."""


def channel_last(rank: int) -> Layout:
    """Axis 0, the channels of most frameworks, behind all others."""
    return (*range(1, rank), 0) if rank else ()


def last(axis: int, rank: int) -> Layout:
    """One axis behind all others."""
    return (*(other for other in range(rank) if other != axis), axis)


def broadcast_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that arrays of these shapes repeat to; raises Unsupported where there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        given = ", ".join(map(str, shapes))
        raise Unsupported(f"arrays of shapes {given} (one observation); allowed: axes that are equal or 1") from error


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
        self._sources: dict[str, tuple[str, ...]] = {}
        self._title, self._returning = "", False

    def titled(self, title: str) -> Construction:
        """Names the layers that follow after an operation of the source, numbered where they are several."""
        self._title = title
        return self

    def input(self, name: str, shape: tuple[int, ...], batched: bool, whole: bool) -> Value:
        """An array that the network takes, in the source's order of axes."""
        self._title = name
        added = self.add(TensorInputLayer(shape, batched, whole))
        return Value(shape, {tuple(range(len(shape))): added})

    def add(self, layer: Layer, *sources: str, title: str = "") -> str:
        """Adds a layer behind others and returns its name: that of `titled`, unless another is asked for.

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
        name = self._free(layer, title or self._title)
        self.graph.add(replace(layer, name=name))
        for port, source in zip(layer.input_names, sources, strict=True):
            self.graph.connect(source, f"{name}/{port}")
        self._sizes[name], self._sources[name] = size, sources
        return name

    def change(self, name: str, changed: Callable[[Layer], Layer]) -> None:
        """Puts what is made of a layer in its place, if there is one of this name."""
        if name in self._sizes:
            self.graph.replace(name, changed(self.graph[name]))

    def _free(self, layer: Layer, stem: str) -> str:
        taken = self._sizes.keys()
        if not stem:
            return free_name(layer, taken)
        # A step's own layer has the step's name, and not one that brings an array into its form.
        if isinstance(layer, (PermuteLayer, ReshapeLayer)) and not self._returning and not _OF_FORM.search(stem):
            stem = f"{stem}/{layer.kind}"
        number, name = 1, stem
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        return name

    def size(self, name: str) -> Size:
        """The size of a layer's output."""
        return self._sizes[name]

    def stored(self, value: Value, layout: Layout, title: str = "") -> str:
        """The layer whose output has the value in this layout, added where there is none yet.

        It is named after that which has it, whatever reads it, unless `title` gives a name.
        """
        if layout not in value.places:
            present, source = value.layout, value.places[value.layout]
            layer = PermuteLayer(tuple(present.index(axis) for axis in layout))
            value.places[layout] = self.add(layer, source, title=title or f"{source}/{layer.kind}")
        return value.places[layout]

    def alike(self, value: Value, layer: Layer) -> Value:
        """A layer that treats every element alike, in the layout that is there."""
        layout = value.layout
        return Value(value.shape, {layout: self.add(layer, value.places[layout])})

    def joined(self, values: Sequence[Value], layer: Layer) -> Value:
        """A layer that takes several values element by element; they repeat along axes of extent 1 or that they lack.

        Raises:
            Unsupported: the shapes do not broadcast.
        """
        shape = broadcast_shape([value.shape for value in values])
        raised = [self.raised(value, len(shape)) for value in values]
        shared = [layout for layout in raised[0].places if all(layout in value.places for value in raised)]
        preferred = channel_last(len(shape))
        layout = preferred if preferred in shared or not shared else shared[0]
        return Value(shape, {layout: self.add(layer, *(self.stored(value, layout) for value in raised))})

    def raised(self, value: Value, rank: int) -> Value:
        """The value with axes of extent 1 in front, so that it has so many."""
        more = rank - value.rank
        if more <= 0:
            return value
        layout = (*range(more), *(axis + more for axis in value.layout))
        shape = (1,) * more + value.shape
        layer = ReshapeLayer(tuple(shape[axis] for axis in layout))
        return Value(shape, {layout: self.add(layer, value.places[value.layout])})

    def with_constant(self, function: str, value: Value, constant: NDArray[Any], more: Sequence[Value] = ()) -> Value:
        """A function of a value, of more values, and of a constant that is not learned; all repeat as in `joined`."""
        shape = broadcast_shape([value.shape, *(each.shape for each in more), constant.shape])
        values = [self.raised(each, len(shape)) for each in (value, *more)]
        layout = values[0].layout
        constant = constant if constant.dtype.kind == "f" else constant.astype(np.float32)
        whole = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
        # One number needs no axes of its own.
        stored = whole.reshape(1) if whole.size == 1 else whole.transpose(layout)
        layer = ElementwiseLayer(function, len(values), constant=stored)
        return Value(shape, {layout: self.add(layer, *(self.stored(each, layout) for each in values))})

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

    def along(self, value: Value, axis: int, layer: Layer) -> Value:
        """A layer for images (H, W, C) that works along W, over one axis of a value, in the layout that is there."""
        layout = value.layout
        extents = tuple(value.shape[own] for own in layout)
        place = layout.index(axis)
        image = (prod(extents[:place]), extents[place], prod(extents[place + 1 :]))
        added = self.add(layer, self._as(image, value.places[layout]))
        length = self.size(added).shape[1]
        back = self._as((*extents[:place], length, *extents[place + 1 :]), added)
        return Value((*value.shape[:axis], length, *value.shape[axis + 1 :]), {layout: back})

    def _as(self, shape: tuple[int, ...], source: str) -> str:
        """A layer's output in this shape: itself where it has it."""
        return source if self.size(source).shape == shape else self.add(ReshapeLayer(shape), source)

    def reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        """The same elements, in the source's order, in another shape."""
        if shape == value.shape:
            return value
        # Axes of extent 1 may stand anywhere: the elements are in the source's order.
        flat = [axis for axis in range(value.rank) if value.shape[axis] != 1]
        alike = (layout for layout in value.places if [axis for axis in layout if value.shape[axis] != 1] == flat)
        source = self.stored(value, next(alike, tuple(range(value.rank))))
        return Value(shape, {tuple(range(len(shape))): self.add(ReshapeLayer(shape), source)})

    def permuted(self, value: Value, order: tuple[int, ...]) -> Value:
        """Axis i of the result is axis order[i] of the value; only the names of axes change, no layer is added."""
        places = {tuple(order.index(axis) for axis in layout): name for layout, name in value.places.items()}
        return Value(tuple(value.shape[axis] for axis in order), places)

    def returning(self, values: Sequence[Value], names: Sequence[str]) -> LayerGraph:
        """The graph, which returns these values in the source's order of axes."""
        results: list[str] = []
        self._returning = True
        for value, name in zip(values, names, strict=True):
            self._title = name
            identity = tuple(range(value.rank))
            end = self.stored(value, identity, name)
            # A graph returns a layer once, and no input: such a value passes a layer of its own. So does one number,
            # which other layers give an axis.
            if end in results or self.graph[end].is_input or not value.rank:
                end = self.add(ReshapeLayer(value.shape), end)
            results.append(end)
        self._drop_unread(results)
        return self.graph.returning(*results)

    def _drop_unread(self, results: Sequence[str]) -> None:
        """Takes away layers, inputs too, on which no result depends."""
        read = set(results)
        for name in reversed(self._sources):  # sources stand before what reads them
            if name in read:
                read.update(self._sources[name])
            else:
                self.graph.remove(name)

    @staticmethod
    def _unstored(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
        """The shape in the source's order of what is stored in a layout."""
        return tuple(shape[layout.index(axis)] for axis in range(len(layout)))
