"""The networks of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gncodegen as gnc

Layers = Any


@dataclass(frozen=True)
class Net:
    """One network.

    Args:
        name: as tables show it.
        size: (height, width, channels) of the input.
        batch: observations per training step.
        layers: makes the layers; the input is not normalized.
    """

    name: str
    size: tuple[int, int, int]
    batch: int
    layers: Callable[[], Layers]

    def data(self, batch: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Random images (N, H, W, C) and class indices below 10."""
        generator, count = np.random.default_rng(seed), batch or self.batch
        images = generator.normal(size=(count, *self.size)).astype(np.float32)
        return images, generator.integers(10, size=count)


def _input(*size: int) -> gnc.Layer:
    return gnc.ImageInputLayer(size, normalization="none")


def _block(filters: int, groups: int, stride: int = 1, window: int = 3) -> list[gnc.Layer]:
    return [
        gnc.Convolution2dLayer(window, filters, stride=stride, padding=window // 2),
        gnc.GroupNormalizationLayer(groups),
        gnc.ReluLayer(),
    ]


def _head(pooled: bool = True) -> list[gnc.Layer]:
    pool = [gnc.GlobalAveragePooling2dLayer()] if pooled else []
    return [*pool, gnc.FullyConnectedLayer(10), gnc.SoftmaxLayer(), gnc.ClassificationLayer()]


def small() -> Layers:
    """Three blocks with max pooling between, 28×28×1."""
    pool = gnc.MaxPooling2dLayer(2, stride=2)
    return [_input(28, 28, 1), *_block(8, 4), pool, *_block(16, 4), pool, *_block(32, 4), *_head(pooled=False)]


def wide() -> Layers:
    """Four blocks without pooling, 32×32×3."""
    blocks = [layer for filters in (64, 64, 128, 128) for layer in _block(filters, 8)]
    return [_input(32, 32, 3), *blocks, *_head()]


def _residual(
    graph: gnc.LayerGraph, name: str, source: str, filters: int, stride: int, groups: int
) -> tuple[gnc.LayerGraph, str]:
    """The graph with relu(x' + GN(conv(relu(GN(conv(x)))))) after `source`, and its last layer's name.

    x' is x, or its 1×1 projection where the size changes.
    """
    graph = graph.add([
        gnc.Convolution2dLayer(3, filters, stride=stride, padding=1, name=f"{name}_conv1"),
        gnc.GroupNormalizationLayer(groups), gnc.ReluLayer(),
        gnc.Convolution2dLayer(3, filters, padding=1), gnc.GroupNormalizationLayer(groups),
        gnc.AdditionLayer(2, name=f"{name}_add"), gnc.ReluLayer(name=f"{name}_relu"),
    ])  # fmt: skip
    graph = graph.connect(source, f"{name}_conv1")
    if stride > 1:
        projection = gnc.Convolution2dLayer(1, filters, stride=stride, name=f"{name}_projection")
        graph = graph.add([projection]).connect(source, projection.name)
        source = projection.name
    return graph.connect(source, f"{name}_add/in2"), f"{name}_relu"


def resnet20() -> Layers:
    """ResNet-20 with group normalization, 32×32×3 (He et al. 2015, Wu and He 2018)."""
    graph, last = gnc.LayerGraph([_input(32, 32, 3), *_block(16, 4)[:2], gnc.ReluLayer(name="stem")]), "stem"
    for stage, filters in enumerate((16, 32, 64)):
        for number in range(3):
            stride = 2 if stage and not number else 1
            graph, last = _residual(graph, f"s{stage}b{number}", last, filters, stride, 4)
    return graph.add([gnc.GlobalAveragePooling2dLayer(name="pool"), *_head(pooled=False)]).connect(last, "pool")


def unet() -> Layers:
    """Two levels of a U-Net, 32-64-128-64-32, with a classifier behind, 32×32×3 (Ronneberger et al. 2015)."""
    layers = [_input(32, 32, 3)]
    for level, filters in enumerate((32, 64)):
        layers += [*_block(filters, 8)[:2], gnc.ReluLayer(name=f"down{level}"), gnc.MaxPooling2dLayer(2, stride=2)]
    layers += _block(128, 8)
    for level, filters in ((1, 64), (0, 32)):
        layers += [
            gnc.TransposedConvolution2dLayer(2, filters, stride=2),
            gnc.DepthConcatenationLayer(2, name=f"join{level}"),
            *_block(filters, 8),
        ]
    graph = gnc.LayerGraph([*layers, *_head()])
    return graph.connect("down1", "join1/in2").connect("down0", "join0/in2")


def stem() -> Layers:
    """The first layers of a ResNet on one 224×224 image."""
    return [
        _input(224, 224, 3), *_block(64, 32, stride=2, window=7), gnc.MaxPooling2dLayer(3, stride=2, padding=1),
        *_block(64, 32), *_block(64, 32), *_block(128, 32, stride=2), *_head(),
    ]  # fmt: skip


SMALL = Net("small: 28×28×1, 8-16-32, batch 128", (28, 28, 1), 128, small)
WIDE = Net("wide: 32×32×3, 64-64-128-128, batch 32", (32, 32, 3), 32, wide)
RESNET20 = Net("ResNet-20-GN: 32×32×3, batch 32", (32, 32, 3), 32, resnet20)
UNET = Net("U-Net: 32×32×3, 32-64-128-64-32, batch 32", (32, 32, 3), 32, unet)
STEM = Net("stem: 224×224×3, batch 1", (224, 224, 3), 1, stem)
NETS = (SMALL, WIDE, RESNET20, UNET, STEM)
