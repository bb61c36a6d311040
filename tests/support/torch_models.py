"""Small PyTorch modules, and what gncodegen makes of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import gncodegen as gnc
from support.onnx_models import interpreted


class Call(nn.Module):
    """A function as a module: `Call(f, *modules)(x)` is f(x, *modules)."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, *arrays):
        return self.function(*arrays, *self.parts)


class Residual(nn.Module):
    """Convolutions with one group norm in two places, added to what came in, and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(4, 8)
        self.again = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8 * 4, 5)

    def forward(self, x):
        a = torch.relu(self.norm(self.stem(x)))
        y = self.norm(self.again(a)) + a
        y = nn.functional.adaptive_avg_pool2d(y, 2)
        return self.head(self.drop(y.view(x.size(0), -1)))


class Encoding(nn.Module):
    """A small U-Net of groups, with batch norm in its middle."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(inplace=True))
        self.middle = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU())
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.end = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        a = self.down(x)
        b = self.middle(nn.functional.max_pool2d(a, 2))
        return self.end(torch.cat([self.up(b), a], 1))


def seeded(module, seed=0):
    """The module with drawn parameters and running statistics, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.copy_(0.5 + drawn if "var" in name else drawn - 0.5)
    return module.eval()


def drawn(*shapes, seed=1, dtype=torch.float64):
    """Arrays of these shapes."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)


def differences(module, *shapes):
    """The graph of a module, and how far its float64 outputs by NumPy lie from torch's, as parts of the largest."""
    module, arrays = seeded(module.double()), drawn(*shapes)
    graph = gnc.from_torch(module, arrays)
    with torch.no_grad():
        wanted = module(*arrays)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    names = [layer.name for layer in graph if layer.is_input]
    found = interpreted(graph, dict(zip(names, map(torch.Tensor.numpy, arrays), strict=True)))
    assert [array.shape for array in found] == [tuple(array.shape) for array in wanted]
    return graph, [
        float(np.abs(a - b.numpy()).max() / b.abs().max().item()) for a, b in zip(found, wanted, strict=True)
    ]
