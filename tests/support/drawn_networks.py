"""Whole networks drawn at random, graphs and chains of any format, each with its float64 twin of NumPy operations."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import reference as ref

import gncodegen as gnc
from gncodegen.errors import GncodegenError
from gncodegen.layers.base import Size
from support.comparison import assert_near, assert_same_results, randomize
from support.drawn_layers import CHANNELS, HUGE, LAYERS, Pair, elementwise
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
        sizes: what each node gives, in order; "start" is the input.
        tip: the node that the next layer reads.
    """

    draw: random.Random
    graph: gnc.LayerGraph
    nodes: list[ref.Node] = field(default_factory=list[ref.Node])
    sizes: dict[str, Size] = field(default_factory=dict[str, Size])
    tip: str = "start"

    def add(self, pair: Pair, *sources: str) -> bool:
        """Adds a layer that reads these nodes, unless the product refuses it or it is too large."""
        graph, name = self.graph.copy(), pair.layer.name
        graph.add([pair.layer])
        for source, port in zip(sources, pair.layer.input_names, strict=True):
            graph.connect(source, f"{name}/{port}")
        graph.returning(name)
        network = gnc.Network.build(graph, require_output=False)
        size = network.output.size
        own = [p.shape for n, p in network.parameters.items() if n.startswith(f"{name}.")]
        if size.count > LARGEST or sum(map(prod, own)) > WEIGHTS:
            return False
        self.graph, self.tip, self.sizes[name] = graph, name, size
        self.nodes.append(ref.Node(name, pair.operation, pair.parameters, sources, pair.options))
        return True

    def grow(self) -> None:
        """One more layer that fits, a joint of branches, or a new branch."""
        while True:
            try:
                chance = self.draw.random()
                if chance < 0.2 and self.join():
                    return
                if chance < 0.25 and len(self.sizes) > 2:
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
        ends = [name for name in self.sizes if name not in used and name != "start"]
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


def _entrance(draw: random.Random, size: Size) -> tuple[Any, dict[str, Any]]:
    """An input layer, and what the oracle does for it."""
    layer = replace(entrance(size.format, size.shape), name="start")
    methods = {"zerocenter": ("mean",), "zscore": ("mean", "standard_deviation"), "rescale-symmetric": ("min", "max"),
               "rescale-zero-one": ("min", "max")}  # fmt: skip
    if not hasattr(layer, "normalization") or draw.random() < 0.7:
        return layer, {"method": "none"}
    method = draw.choice(list(methods))
    numbers = np.random.default_rng(draw.randrange(1 << 31)).uniform(0.5, 1.5, (2, size.channels))
    given = dict(zip(methods[method], (numbers[0], numbers[0] + numbers[1]), strict=False))
    return replace(layer, normalization=method, **given), {"method": method, **given}


def drawn(draw: random.Random) -> DrawnNetwork:
    """A network of two to six layers of one format to begin with, without an output layer."""
    letters = draw.choice(FORMATS)
    while True:
        shape = [draw.choice(HUGE if draw.random() < 0.07 else EXTENTS) for _ in letters[:-1]]
        shape.append(draw.choice(HUGE if draw.random() < 0.07 else CHANNELS))
        if prod(shape) <= LARGEST:
            break
    size = Size(letters, tuple(shape))
    layer, normalization = _entrance(draw, size)
    network = DrawnNetwork(draw, gnc.LayerGraph([layer]), sizes={"start": size})
    network.nodes.append(ref.Node("start", ref.input_normalization, (), ("input",), normalization))
    for _ in range(draw.randint(2, 6)):
        network.grow()
    network.finish()
    return network


BATCHES = (0, 1, 2, 3, 7, 13)
SPREADS = ((1.0, 0.0), (1.0, 3.0), (0.01, 0.0), (30.0, 0.0))
"""(scale, mean) of what flows in."""

TOLERANCE = 1e-10
SHARE = 1e-3
"""Of the largest gradient: what smaller ones are compared with, too."""

NUDGE = 2e-15
"""Where so small a change of the input, relative to it, moves the oracle itself by the tolerance, nothing is judged."""


def judge(seed: int, cases: int) -> int:
    """Compiles one drawn network in float64 and compares cases of it with the oracle.

    A case is a batch of a drawn size, scale and mean with drawn parameters: prediction, loss and every gradient.

    Returns:
        How many cases were judged: not those at a kink or a jump, where the oracle does not agree with itself.

    Raises:
        AssertionError: a result is off, named with its case.
    """
    draw = random.Random(seed)
    network = drawn(draw)
    size, graph, classes = network.sizes[network.tip], network.graph, 0
    if size.format == "C" and size.channels > 1 and draw.random() < 0.3:
        classes = size.channels
        graph.append([gnc.SoftmaxLayer(name="scores"), gnc.ClassificationLayer(name="end")])
        network.nodes.append(ref.Node("scores", ref.softmax, (), (network.tip,)))
    else:
        graph.append([gnc.RegressionLayer(name="end")])
    compiled = gnc.compile(graph, batch_size=draw.choice(BATCHES[1:]), training=True, dtype="float64", seed=0)
    judged = 0
    for number in range(cases):
        batch, (scale, mean) = draw.choice(BATCHES), draw.choice(SPREADS)
        numbers = np.random.default_rng([seed, number])
        x = numbers.standard_normal((batch, *network.sizes["start"].shape)) * scale + mean
        t = (
            np.eye(classes)[numbers.integers(0, classes, batch)]
            if classes
            else numbers.normal(size=(batch, *size.shape))
        )
        randomize(compiled, seed + number)
        loss = ref.cross_entropy if classes else ref.half_squared_error
        try:
            if batch:
                assert_same_results(
                    compiled, network.nodes, x, t, TOLERANCE, loss=loss, training=True, share=SHARE
                )  # fmt: skip
            else:
                assert np.shape(compiled.predict(x)) == (0, *size.shape), "the shape of no results"
        except AssertionError as error:
            if batch and not steady(network.nodes, dict(compiled.parameters), x, t, loss):
                continue
            raise AssertionError(
                f"case {number}, {batch} observations of scale {scale}, mean {mean}: {error}"
            ) from error
        judged += 1
    return judged


def steady(nodes: Sequence[ref.Node], parameters: Mapping[str, Any], x: Any, t: Any, loss: Any) -> bool:
    """Whether the oracle gives finite numbers, and the same ones for inputs that are a NUDGE away."""

    def results(nudge: int) -> dict[str, Any]:
        twin = ref.ReferenceNetwork(nodes, parameters, loss=loss)
        near = x * (1 + np.random.default_rng(nudge).uniform(-NUDGE, NUDGE, x.shape) * bool(nudge))
        found = {"predict": twin.predict(near), "loss": twin.loss(near, t), **twin.gradients(near, t)}
        return {name: np.asarray(value) for name, value in found.items()}

    with np.errstate(all="ignore"):
        first = results(0)
        largest = max(float(np.abs(value).max(initial=0)) for value in first.values())
        try:
            for nudge in (1, 2, 3):
                for name, value in results(nudge).items():
                    assert_near(value, first[name], TOLERANCE / 10, name, SHARE * largest)
        except AssertionError:
            return False
    return all(np.isfinite(value).all() for value in first.values())
