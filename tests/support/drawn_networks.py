"""Whole networks drawn at random, graphs and chains of any format, each with its float64 twin of NumPy operations."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from math import prod
from typing import Any

import numpy as np
import reference as ref

import gncodegen as gnc
from gncodegen.errors import GncodegenError
from gncodegen.layers.base import Size
from support.drawn_layers import LAYERS, dropped, elementwise
from support.drawn_pairs import CHANNELS, HUGE, Pair
from support.formats import entrance

EXTENTS = (1, 2, 3, 5, 7, 8)
FORMATS = ("SSC", "SSC", "SSC", "C", "C", "SC", "SSSC", "TC", "TSC", "TSSC")
LARGEST = 3_000
"""Elements of one observation, anywhere."""

WEIGHTS = 40_000
"""Elements of one layer's parameters."""


@dataclass
class DrawnNetwork:
    """A graph that grows, and its twin.

    Args:
        draw: where choices come from.
        graph: the layers so far.
        nodes: of the twin.
        sizes: what each node gives, in order; the inputs are the first.
        tip: the node that the next layer reads.
        inputs: names of the input layers.
        masked: whether the input has sequences of different lengths, each of which is computed as if it were alone.
    """

    draw: random.Random
    graph: gnc.LayerGraph
    nodes: list[ref.Node] = field(default_factory=list[ref.Node])
    sizes: dict[str, Size] = field(default_factory=dict[str, Size])
    tip: str = "start"
    inputs: tuple[str, ...] = ("start",)
    masked: bool = False

    def add(self, pair: Pair, *sources: str) -> bool:
        """Adds a layer that reads these nodes, unless the product refuses it or it is too large."""
        name = pair.layer.name
        if self.masked and pair.operation in TOGETHER:
            return False
        graph, network = self.grown(pair, sources)
        size = network[name].size
        own = [p.shape for n, p in network.parameters.items() if n.startswith(f"{name}.")]
        if size.count > LARGEST or sum(map(prod, own)) > WEIGHTS:
            return False
        if pair.parameters and self.draw.random() < 0.2:
            pair = sharing(self.draw, pair, network)
            graph, _ = self.grown(pair, sources)
        self.graph, self.tip, self.sizes[name] = graph, name, size
        self.nodes.append(ref.Node(name, pair.operation, pair.parameters, sources, pair.options, pair.prediction))
        return True

    def grown(self, pair: Pair, sources: Sequence[str]) -> tuple[gnc.LayerGraph, gnc.Network]:
        """The graph with one more layer, and the network so far."""
        graph, name = self.graph.copy(), pair.layer.name
        graph.add([pair.layer])
        for source, port in zip(sources, pair.layer.input_names, strict=True):
            graph.connect(source, f"{name}/{port}")
        used = {source for source, _ in graph.connections}
        graph.returning(*(each for each in (name, *self.sizes) if each not in used))
        return graph, gnc.Network.build(graph, require_output=False)

    def grow(self) -> None:
        """One more layer that fits, a joint of branches, or a new branch."""
        while True:
            try:
                chance = self.draw.random()
                if chance < 0.2 and self.join():
                    return
                if (chance < 0.25 and len(self.sizes) > 2) or (chance < 0.35 and len(self.inputs) > 1):
                    self.tip = self.draw.choice(list(self.sizes))
                size = self.sizes[self.tip]
                pair = self.draw.choice(LAYERS)(self.draw, size, f"l{len(self.sizes)}")
                if pair and self.add(pair, self.tip):
                    return
            except GncodegenError:
                continue  # what does not fit is refused

    def join(self) -> bool:
        """Joins the tip and one or two other nodes of its size, or of its positions."""
        size, name = self.sizes[self.tip], f"l{len(self.sizes)}"
        kind = self.draw.choice(("add", "multiply", "concatenate", "function", "product", "gate"))
        if kind == "gate":
            fitting = [n for n, s in self.sizes.items() if _repeats(s, size)]
        elif kind == "concatenate":
            fitting = [n for n, s in self.sizes.items() if (s.format, s.shape[:-1]) == (size.format, size.shape[:-1])]
        else:
            fitting = [n for n, s in self.sizes.items() if s == size]
        if fitting == [self.tip]:
            return False
        count = self.draw.choice((2, 2, 3)) if kind in ("add", "multiply", "concatenate") else 2
        others = [self.draw.choice(fitting) for _ in range(count - 1)]
        return self.add(_joint(kind, count, name, self.draw), self.tip, *others)

    def finish(self) -> None:
        """Makes one output of all ends."""
        used = {source for source, _ in self.graph.connections}
        ends = [name for name in self.sizes if name not in used]
        if len(ends) > 1:
            vectors = [self.vector(end) for end in ends]
            name = f"l{len(self.sizes)}"
            self.add(Pair(gnc.AdditionLayer(len(ends), name=name), ref.addition), *vectors)
        self.tip = self.nodes[-1].name

    def vector(self, end: str) -> str:
        """A node of three features that reads this one."""
        name = f"l{len(self.sizes)}"
        timed = "T" in self.sizes[end].format
        operation = ref.each_step(ref.fully_connected) if timed else ref.fully_connected
        self.add(Pair(gnc.FullyConnectedLayer(3, name=name), operation, ("weights", "bias")), end)
        if timed:
            layer = gnc.GlobalAveragePooling1dLayer(name=f"{name}_mean")
            self.add(Pair(layer, lambda x: (np.mean(x, 1), lambda dy: (_spread(dy, x),))), name)
        return self.tip


def _spread(dy: Any, x: Any) -> Any:
    return np.broadcast_to(np.asarray(dy)[:, None] / np.shape(x)[1], np.shape(x))


def _repeats(size: Size, along: Size) -> bool:
    """Whether an array of this size repeats along axes of another."""
    pairs = zip(size.shape, along.shape, strict=False)
    return size.format == along.format and all(n in (1, of) for n, of in pairs)


def _joint(kind: str, count: int, name: str, draw: random.Random) -> Pair:
    """A layer of several inputs."""
    if kind == "add":
        return Pair(gnc.AdditionLayer(count, name=name), ref.addition)
    if kind == "concatenate":
        return Pair(gnc.DepthConcatenationLayer(count, name=name), ref.depth_concatenation)
    if kind == "product":
        turned = draw.random() < 0.5
        layer = gnc.MatrixProductLayer(turned, not turned, name=name)
        return Pair(layer, ref.matrix_product, options={"first": turned, "second": not turned})
    if kind == "multiply":
        return Pair(gnc.MultiplicationLayer(count, name=name), elementwise("multiply"))
    function = draw.choice(("add", "subtract", "multiply", "minimum", "maximum"))
    return Pair(gnc.ElementwiseLayer(function, count, name=name), elementwise(function))


TOGETHER = (ref.batch_norm, dropped)
"""Operations in which an observation is not alone."""


def sharing(draw: random.Random, pair: Pair, network: gnc.Network) -> Pair:
    """The layer with learnables of others that have its shapes, in any order of axes; its own where there are none."""
    name, shared, parameters, orders = pair.layer.name, dict[str, str](), list(pair.parameters), dict[int, Any]()
    for place, parameter in enumerate(pair.parameters):
        wanted = network.parameters[f"{name}.{parameter}"].shape
        others = [(n, p.shape) for n, p in network.parameters.items() if p.learnable and not n.startswith(f"{name}.")]
        found = [
            (key, order)
            for key, shape in others
            for order in permutations(range(len(shape)))
            if tuple(shape[axis] for axis in order) == wanted
        ]
        if found:
            key, order = draw.choice(found)
            parameters[place] = key
            shared[parameter] = key
            if order != tuple(sorted(order)):
                orders[place - len(parameters)] = order
                shared[parameter] += str(list(order))
    operation = _reading(pair.operation, orders) if orders else pair.operation
    return replace(pair, layer=replace(pair.layer, shared=shared), operation=operation, parameters=tuple(parameters))


def _reading(operation: Callable[..., Any], orders: Mapping[int, tuple[int, ...]]) -> Callable[..., Any]:
    """An operation that reads some operands, counted from the last, with their axes in another order."""

    def reading(*operands: Any, **options: Any) -> Any:
        turned = list(operands)
        for place, order in orders.items():
            turned[place] = np.transpose(operands[place], order)
        y, backward = operation(*turned, **options)

        def back(dy: Any) -> tuple[Any, ...]:
            found = list(backward(dy))
            for place, order in orders.items():
                own = np.reshape(found[place], turned[place].shape)
                found[place] = np.transpose(own, np.argsort(order))
            return tuple(found)

        return y, back

    return reading


def _size(draw: random.Random) -> Size:
    """Of an input."""
    letters = draw.choice(FORMATS)
    while True:
        shape = [draw.choice(HUGE if draw.random() < 0.07 else EXTENTS) for _ in letters[:-1]]
        shape.append(draw.choice(HUGE if draw.random() < 0.07 else CHANNELS))
        if prod(shape) <= LARGEST:
            return Size(letters, tuple(shape))


def _entrance(draw: random.Random, size: Size, name: str, masked: bool) -> tuple[Any, dict[str, Any]]:
    """An input layer, and what the oracle does for it."""
    layer = replace(entrance(size.format, size.shape), name=name)
    if masked:
        layer = replace(layer, padding="mask", padding_value=draw.choice((0.0, -3.0, 1e6)))
    methods = {"zerocenter": ("mean",), "zscore": ("mean", "standard_deviation"), "rescale-symmetric": ("min", "max"),
               "rescale-zero-one": ("min", "max")}  # fmt: skip
    if not hasattr(layer, "normalization") or draw.random() < 0.7:
        return layer, {"method": "none"}
    method = draw.choice(list(methods))
    numbers = np.random.default_rng(draw.randrange(1 << 31)).uniform(0.5, 1.5, (2, size.channels))
    given = dict(zip(methods[method], (numbers[0], numbers[0] + numbers[1]), strict=False))
    return replace(layer, normalization=method, **given), {"method": method, **given}


def drawn(draw: random.Random) -> DrawnNetwork:
    """A network of one or two inputs and two to six drawn layers, without an output layer."""
    size = _size(draw)
    masked = "T" in size.format and size.shape[0] > 1 and draw.random() < 0.4
    sizes = {"start": size}
    if not masked and draw.random() < 0.2:
        sizes["other"] = size if draw.random() < 0.6 else _size(draw)
    network = DrawnNetwork(draw, gnc.LayerGraph(), sizes=sizes, inputs=tuple(sizes), masked=masked)
    for name, each in sizes.items():
        layer, normalization = _entrance(draw, each, name, masked)
        network.graph.add([layer])
        source = "input" if len(sizes) == 1 else f"input/{name}"
        network.nodes.append(ref.Node(name, ref.input_normalization, (), (source,), normalization))
    for _ in range(draw.randint(2, 6)):
        network.grow()
    network.finish()
    return network
