"""Whole networks drawn at random, each with its float64 twin of NumPy operations."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import reference as ref

import gncodegen as gnc
from support.comparison import assert_same_results, randomize

ACTIVATIONS: dict[str, tuple[Callable[[str], Any], dict[str, Any]]] = {
    "relu": (lambda name: gnc.ReluLayer(name=name), {"function": "relu"}),
    "leaky": (lambda name: gnc.LeakyReluLayer(0.3, name=name), {"function": "leaky-relu", "alpha": 0.3}),
    "tanh": (lambda name: gnc.TanhLayer(name=name), {"function": "tanh"}),
    "sigmoid": (lambda name: gnc.SigmoidLayer(name=name), {"function": "sigmoid"}),
    "elu": (lambda name: gnc.EluLayer(0.7, name=name), {"function": "elu", "alpha": 0.7}),
    "swish": (lambda name: gnc.SwishLayer(name=name), {"function": "swish"}),
    "softplus": (lambda name: gnc.SoftplusLayer(name=name), {"function": "softplus"}),
    "gelu": (lambda name: gnc.GeluLayer(name=name), {"function": "gelu"}),
    "mish": (lambda name: gnc.MishLayer(name=name), {"function": "mish"}),
    "softsign": (lambda name: gnc.SoftsignLayer(name=name), {"function": "softsign"}),
    "hard swish": (lambda name: gnc.HardSwishLayer(name=name), {"function": "hard-swish"}),
    "log sigmoid": (lambda name: gnc.LogSigmoidLayer(name=name), {"function": "log-sigmoid"}),
    "softmax": (lambda name: gnc.SoftmaxLayer(name=name), {}),
}
EXTENTS = (1, 2, 3, 5, 7, 8)
CHANNELS = (1, 2, 3, 4, 6, 7, 8, 13, 16, 17)
NORMALIZATIONS = ("all-channels", "channel-wise", 1, 2, 3, 4)


@dataclass
class DrawnNetwork:
    """Layers, nodes of the twin, and the size of what flows at the end.

    Args:
        draw: where choices come from.
        size: extents of one observation at the end, channels last.
        input_size: extents of one observation of the input.
    """

    draw: random.Random
    size: tuple[int, ...]
    input_size: tuple[int, ...]
    layers: list[Any] = field(default_factory=list[Any])
    nodes: list[ref.Node] = field(default_factory=list[ref.Node])

    def add(self, layer: Any, operation: Callable[..., Any], parameters: tuple[str, ...] = (), **options: Any) -> None:
        """A layer and its node; the size follows from the layer."""
        self.layers.append(layer)
        self.nodes.append(ref.Node(layer.name, operation, parameters, options=options))
        self.size = gnc.Network.build(self.layers, require_output=False).output.size.shape

    def grow(self) -> None:
        """One more layer that fits."""
        spatial, name = len(self.size) == 3, f"l{len(self.layers)}"
        kinds = [self.normalization, self.activation, self.product, self.layer, self.local]
        windows = [self.convolution, self.grouped, self.transposed, self.pooling, self.batch, self.whole]
        self.draw.choice(kinds + windows * spatial)(name)

    def convolution(self, name: str) -> None:
        """A convolution of any stride, dilation and padding that leaves something."""
        window = tuple(self.draw.choice((1, 2, 3)) for _ in range(2))
        stride, dilation = (tuple(self.draw.choice((1, 1, 2, 3)) for _ in range(2)) for _ in range(2))
        filters, padding = self.draw.choice(CHANNELS), self.draw.choice(("same", 1, 2))
        fits = all(n + 2 * 1 >= (w - 1) * d + 1 for n, w, d in zip(self.size, window, dilation, strict=False))
        options = {"stride": stride, "dilation": dilation, "padding": padding if fits else "same"}
        layer = gnc.Convolution2dLayer(
            window, filters, stride=stride, dilation_factor=dilation, padding=options["padding"], name=name
        )
        self.add(layer, ref.convolution, ("weights", "bias"), **options)

    def grouped(self, name: str) -> None:
        """A convolution in groups, at times a channel each."""
        window, count = self.draw.choice((1, 2, 3)), self.draw.choice((1, 2, 3))
        groups = self.draw.choice([g for g in range(1, self.size[-1] + 1) if self.size[-1] % g == 0])
        layer = gnc.GroupedConvolution2dLayer(window, count, groups, padding="same", name=name)
        self.add(layer, ref.convolution, ("weights", "bias"), padding="same", groups=groups)

    def whole(self, name: str) -> None:
        """A pooling of all there is."""
        kind, operation = self.draw.choice(
            (
                (gnc.GlobalAveragePooling2dLayer, ref.global_average_pool),
                (gnc.GlobalMaxPooling2dLayer, ref.global_max_pool),
            )
        )
        self.add(kind(name=name), operation)

    def layer(self, name: str) -> None:
        """A layer normalization."""
        self.add(
            gnc.LayerNormalizationLayer(epsilon=1e-2, name=name), ref.layer_norm, ("scale", "offset"), epsilon=1e-2
        )

    def local(self, name: str) -> None:
        """A normalization across neighbouring channels."""
        window = self.draw.choice((1, 2, 3, 5))
        self.add(
            gnc.CrossChannelNormalizationLayer(window, alpha=0.1, name=name),
            ref.local_response,
            window=window,
            alpha=0.1,
        )

    def transposed(self, name: str) -> None:
        """A transposed convolution."""
        window, stride = (tuple(self.draw.choice((1, 2, 3)) for _ in range(2)) for _ in range(2))
        layer = gnc.TransposedConvolution2dLayer(window, self.draw.choice(CHANNELS[:6]), stride=stride, name=name)
        self.add(layer, ref.transposed_convolution, ("weights", "bias"), stride=stride)

    def pooling(self, name: str) -> None:
        """A pooling whose windows may reach over the edge."""
        window, stride = (tuple(self.draw.choice((1, 2, 3)) for _ in range(2)) for _ in range(2))
        kind, operation = self.draw.choice(
            ((gnc.MaxPooling2dLayer, ref.max_pool), (gnc.AveragePooling2dLayer, ref.average_pool))
        )
        layer = kind(window, stride=stride, padding="same", name=name)
        self.add(layer, operation, window=window, stride=stride, padding="same")

    def normalization(self, name: str) -> None:
        """A group normalization of a number of groups that divides the channels."""
        channels = self.size[-1]
        groups = self.draw.choice([g for g in NORMALIZATIONS if isinstance(g, str) or channels % g == 0])
        count = {"all-channels": 1, "channel-wise": channels}.get(groups, groups)
        layer = gnc.GroupNormalizationLayer(groups, epsilon=1e-2, name=name)
        self.add(layer, ref.group_norm, ("scale", "offset"), groups=count, epsilon=1e-2)

    def batch(self, name: str) -> None:
        """A batch normalization."""
        layer = gnc.BatchNormalizationLayer(epsilon=1e-2, name=name)
        self.add(layer, ref.batch_norm, ("scale", "offset"), epsilon=1e-2)

    def activation(self, name: str) -> None:
        """Any activation."""
        make, options = ACTIVATIONS[self.draw.choice(list(ACTIVATIONS))]
        self.add(make(name), ref.activation if options else ref.softmax, **options)

    def product(self, name: str) -> None:
        """A fully connected layer."""
        layer = gnc.FullyConnectedLayer(self.draw.choice(CHANNELS), name=name)
        self.add(layer, ref.fully_connected, ("weights", "bias"))


def drawn(draw: random.Random) -> DrawnNetwork:
    """A network of two to five layers on images or vectors, with a regression behind it."""
    image = draw.random() < 0.75
    size = (draw.choice(EXTENTS), draw.choice(EXTENTS), draw.choice(CHANNELS)) if image else (draw.choice(CHANNELS),)
    first = (
        gnc.ImageInputLayer(size, normalization="none")
        if image
        else gnc.FeatureInputLayer(size[0], normalization="none")
    )
    network = DrawnNetwork(draw, size, size, [first])
    for _ in range(draw.randint(2, 5)):
        network.grow()
    network.layers.append(gnc.RegressionLayer(name="end"))
    return network


BATCHES = (0, 1, 2, 3, 7, 13)
SPREADS = ((1.0, 0.0), (1.0, 3.0), (0.01, 0.0), (30.0, 0.0))
"""(scale, mean) of what flows in."""


def judge(seed: int, cases: int) -> None:
    """Compiles one drawn network in float64 and compares cases of it with the oracle.

    A case is a batch of a drawn size, scale and mean with drawn parameters: prediction, loss and every gradient.

    Raises:
        AssertionError: a result is off, named with its case.
    """
    draw = random.Random(seed)
    network = drawn(draw)
    compiled = gnc.compile(network.layers, batch_size=draw.choice(BATCHES[1:]), training=True, dtype="float64", seed=0)
    for number in range(cases):
        batch, (scale, mean) = draw.choice(BATCHES), draw.choice(SPREADS)
        x = np.random.default_rng([seed, number]).standard_normal((batch, *network.input_size)) * scale + mean
        randomize(compiled, seed + number)
        try:
            if batch:
                assert_same_results(compiled, network.nodes, x, None, 1e-10, training=True)
            else:
                assert np.shape(compiled.predict(x)) == (0, *network.size), "the shape of no results"
        except AssertionError as error:
            raise AssertionError(
                f"case {number}, {batch} observations of scale {scale}, mean {mean}: {error}"
            ) from error
