"""Whole networks drawn at random, each with its float64 twin of NumPy operations."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import reference as ref

import gncodegen as gnc

ACTIVATIONS: dict[str, tuple[Callable[[str], Any], dict[str, Any]]] = {
    "relu": (lambda name: gnc.ReluLayer(name=name), {"function": "relu"}),
    "leaky": (lambda name: gnc.LeakyReluLayer(0.3, name=name), {"function": "leaky-relu", "alpha": 0.3}),
    "tanh": (lambda name: gnc.TanhLayer(name=name), {"function": "tanh"}),
    "sigmoid": (lambda name: gnc.SigmoidLayer(name=name), {"function": "sigmoid"}),
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
        kinds = [self.normalization, self.activation, self.product]
        self.draw.choice(kinds + [self.convolution, self.transposed, self.pooling, self.batch] * spatial)(name)

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
