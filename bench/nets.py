"""The networks of the benchmarks, for gncodegen and for PyTorch, with the same weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import gncodegen as gnc


@dataclass(frozen=True)
class Net:
    """A chain of 3×3 conv-GN-relu blocks and a fully connected layer.

    Args:
        name: as the table shows it.
        size: (height, width, channels) of the input.
        batch: observations per step.
        filters: of the blocks.
        groups: of every group normalization.
        pooled: which blocks end in a 2×2 max pooling of stride 2.
        global_pool: average over all positions before the fully connected layer.
    """

    name: str
    size: tuple[int, int, int]
    batch: int
    filters: tuple[int, ...]
    groups: int = 4
    pooled: tuple[int, ...] = ()
    global_pool: bool = False

    def layers(self) -> list[gnc.Layer]:
        """For gncodegen; the input is not normalized."""
        blocks: list[gnc.Layer] = [gnc.ImageInputLayer(self.size, normalization="none")]
        for index, filters in enumerate(self.filters):
            blocks += [
                gnc.Convolution2dLayer(3, filters, padding="same"),
                gnc.GroupNormalizationLayer(self.groups),
                gnc.ReluLayer(),
            ]
            if index in self.pooled:
                blocks.append(gnc.MaxPooling2dLayer(2, stride=2))
        if self.global_pool:
            blocks.append(gnc.GlobalAveragePooling2dLayer())
        return [*blocks, gnc.FullyConnectedLayer(10), gnc.SoftmaxLayer(), gnc.ClassificationLayer()]

    def torch(self) -> nn.Sequential:
        """For PyTorch, without the softmax, which its loss contains."""
        blocks: list[nn.Module] = []
        height, width, channels = self.size
        for index, filters in enumerate(self.filters):
            blocks += [nn.Conv2d(channels, filters, 3, padding=1), nn.GroupNorm(self.groups, filters), nn.ReLU()]
            if index in self.pooled:
                blocks.append(nn.MaxPool2d(2, 2))
                height, width = height // 2, width // 2
            channels = filters
        if self.global_pool:
            blocks.append(nn.AdaptiveAvgPool2d(1))
            height = width = 1
        return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels * height * width, 10))

    def data(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Random images (N, H, W, C) and class indices."""
        generator = np.random.default_rng(seed)
        return generator.normal(size=(self.batch, *self.size)).astype(np.float32), generator.integers(
            10, size=self.batch
        )


DEMO = Net("a: 28×28×1, 8-16-32, batch 128", (28, 28, 1), 128, (8, 16, 32), pooled=(0, 1))
WIDE = Net("b: 32×32×3, 64-64-128-128, batch 32", (32, 32, 3), 32, (64, 64, 128, 128), groups=8, global_pool=True)


def copy_weights(compiled: gnc.Compiled, model: nn.Sequential) -> None:
    """Gives PyTorch's model the weights of a compiled network of the same blocks.

    Convolutions turn from (kh, kw, C, K) to (K, C, kh, kw), the fully connected layer's inputs from (H, W, C) to
    (C, H, W).
    """
    modules = [module for module in model if list(module.parameters(recurse=False))]
    owners = list(dict.fromkeys(name.rpartition(".")[0] for name in compiled.parameters))
    channels = 0
    for owner, module in zip(owners, modules, strict=True):
        arrays = {
            n.rpartition(".")[2]: np.array(v) for n, v in compiled.parameters.items() if n.startswith(f"{owner}.")
        }
        weights = arrays.get("weights", arrays.get("scale"))
        if isinstance(module, nn.Conv2d):
            weights, channels = weights.transpose(3, 2, 0, 1), weights.shape[3]
        if isinstance(module, nn.Linear):
            side = int(np.sqrt(weights.shape[1] // channels))
            weights = weights.reshape(-1, side, side, channels).transpose(0, 3, 1, 2).reshape(weights.shape)
        with torch.no_grad():
            module.weight.copy_(torch.tensor(np.ascontiguousarray(weights)))
            module.bias.copy_(torch.tensor(arrays.get("bias", arrays.get("offset"))))


def torch_optimizer(model: nn.Module, rate: float, l2: float) -> torch.optim.SGD:
    """SGD with momentum 0.9 whose weight decay spares the biases of convolutions and fully connected layers.

    PyTorch keeps v ← m·v + g, p ← p − rate·v, which is the same path as ours while the rate is constant.
    """
    spared = [m.bias for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    decayed = [p for p in model.parameters() if not any(p is s for s in spared)]
    groups = [{"params": decayed, "weight_decay": l2}, {"params": spared, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=rate, momentum=0.9)
