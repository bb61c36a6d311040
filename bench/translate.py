"""A network of gncodegen as PyTorch module, JAX function and ONNX file, with the same weights: peers of a benchmark.

PyTorch works on arrays with channels second, in either memory format, of one to three axes of space or time; JAX on
N, H, W, C.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import gncodegen as gnc

Nodes = list[tuple[str, Any, tuple[str, ...]]]

CONVOLUTIONS = (gnc.Convolution1dLayer, gnc.Convolution2dLayer, gnc.Convolution3dLayer)
MAX_POOLS = (gnc.MaxPooling1dLayer, gnc.MaxPooling2dLayer, gnc.MaxPooling3dLayer)
MAX_MODULES = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVERAGE_POOLS = (gnc.AveragePooling1dLayer, gnc.AveragePooling2dLayer, gnc.AveragePooling3dLayer)
AVERAGE_MODULES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
GLOBAL_POOLS = (
    gnc.GlobalAveragePooling1dLayer, gnc.GlobalAveragePooling2dLayer, gnc.GlobalAveragePooling3dLayer,
)  # fmt: skip


def _nodes(compiled: gnc.Compiled) -> Nodes:
    """(name, layer, input names) in order, without input, softmax and output layers: the logits remain."""
    skipped = (gnc.SoftmaxLayer, gnc.ClassificationLayer, gnc.RegressionLayer)
    return [
        (node.name, node.layer, node.inputs) for node in compiled.network.nodes if not isinstance(node.layer, skipped)
    ]


def _windows(layer: Any, node: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Stride and padding (before and after, axis by axis) of a window layer, "same" resolved."""
    operation = next(o for o in layer.operations(node.input_sizes) if "padding" in o.attributes)
    return tuple(operation.attributes["stride"]), tuple(operation.attributes["padding"])


def _channels_second(weights: Any) -> np.ndarray:
    """Weights (window…, in, out) as PyTorch has them: (out, in, window…)."""
    return np.moveaxis(np.array(weights), (-1, -2), (0, 1))


# ---- PyTorch -----------------------------------------------------------------------------------------------------


class Model(nn.Module):
    """The network in PyTorch; gives logits, without the softmax that PyTorch's loss contains."""

    def __init__(self, compiled: gnc.Compiled) -> None:
        super().__init__()
        self.steps: list[tuple[str, Callable[..., Any], tuple[str, ...]]] = []
        self.spared: list[nn.Parameter] = []
        network = compiled.network
        for name, layer, inputs in _nodes(compiled):
            module = self._module(layer, network[name], compiled)
            if isinstance(module, nn.Module):
                self.add_module(name.replace(".", "_"), module)
            self.steps.append((name, module, inputs))

    def _module(self, layer: Any, node: Any, compiled: gnc.Compiled) -> Callable[..., Any]:
        parameters = compiled.parameters
        axes = len(node.input_sizes[0].shape) - 1 if node.input_sizes else 0
        if isinstance(layer, CONVOLUTIONS):
            stride, padding = _windows(layer, node)
            weights = _channels_second(parameters[f"{node.name}.weights"])
            kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
            module = kind(weights.shape[1], weights.shape[0], weights.shape[2:], stride, 0)
            return self._filled(_Padded(module, padding), module, weights, parameters[f"{node.name}.bias"])
        if isinstance(layer, gnc.TransposedConvolution2dLayer):
            stride, cropping = _windows(layer, node)
            weights = _channels_second(parameters[f"{node.name}.weights"])
            module = nn.ConvTranspose2d(weights.shape[0], weights.shape[1], weights.shape[2:], stride)
            assert not any(cropping), "PyTorch crops symmetrically only"
            return self._filled(module, module, weights, parameters[f"{node.name}.bias"])
        if isinstance(layer, gnc.GroupNormalizationLayer):
            channels = node.size.channels
            groups = {"all-channels": 1, "channel-wise": channels}.get(str(layer.num_groups)) or int(layer.num_groups)
            module = nn.GroupNorm(groups, channels)
            return self._filled(
                module, module, parameters[f"{node.name}.scale"], parameters[f"{node.name}.offset"], False
            )
        if isinstance(layer, gnc.FullyConnectedLayer):
            weights = np.array(parameters[f"{node.name}.weights"])
            size = node.input_sizes[0].shape
            if axes:  # inputs turn from channels last to channels first
                weights = np.moveaxis(weights.reshape(-1, *size), -1, 1).reshape(len(weights), -1)
            module = nn.Linear(weights.shape[1], weights.shape[0])
            return self._filled(nn.Sequential(nn.Flatten(), module), module, weights, parameters[f"{node.name}.bias"])
        if isinstance(layer, MAX_POOLS + AVERAGE_POOLS):
            stride, padding = _windows(layer, node)
            assert len(set(padding)) == 1
            kinds = MAX_MODULES if isinstance(layer, MAX_POOLS) else AVERAGE_MODULES
            return kinds[axes - 1](layer.pool_size, stride, padding[0])
        if isinstance(layer, gnc.DepthConcatenationLayer):
            return lambda *values: torch.cat(values, 1)
        if isinstance(layer, gnc.AdditionLayer):
            return lambda *values: sum(values[1:], values[0])
        if isinstance(layer, GLOBAL_POOLS):
            return lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True)
        if isinstance(layer, gnc.DropoutLayer):
            return nn.Dropout(layer.probability)
        if isinstance(layer, gnc.ReluLayer):
            return nn.ReLU()
        assert node.layer.is_input, f"no translation of {layer}"
        return _normalized(layer)

    def _filled(self, whole: Any, module: Any, weights: Any, bias: Any, spared: bool = True) -> Any:
        with torch.no_grad():
            module.weight.copy_(torch.tensor(np.ascontiguousarray(weights)))
            module.bias.copy_(torch.tensor(np.array(bias)))
        if spared:
            self.spared.append(module.bias)
        return whole

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, or responses, of observations (N, C, …)."""
        values: dict[str, torch.Tensor] = {}
        result = x
        for name, module, inputs in self.steps:
            result = module(*(values[i] for i in inputs)) if inputs else module(x)
            values[name] = result
        return result

    def groups(self, l2: float) -> list[dict[str, Any]]:
        """Parameters for an optimizer, whose weight decay spares the biases of convolutions and products."""
        spared = {id(p) for p in self.spared}
        return [
            {"params": [p for p in self.parameters() if id(p) not in spared], "weight_decay": l2},
            {"params": self.spared, "weight_decay": 0.0},
        ]

    def optimizer(self, rate: float, l2: float) -> torch.optim.SGD:
        """SGD with momentum 0.9."""
        return torch.optim.SGD(self.groups(l2), lr=rate, momentum=0.9)


def _normalized(layer: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """What an input layer with its statistics, one per channel, does."""
    if layer.normalization == "none":
        return lambda x: x
    if layer.normalization == "rescale-zero-one":
        shift, scale = layer.min, np.asarray(layer.max) - layer.min
    else:
        assert layer.normalization in ("zerocenter", "zscore"), f"no translation of {layer.normalization}"
        shift, scale = layer.mean, 1.0 if layer.normalization == "zerocenter" else layer.standard_deviation

    def channels(values: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor(np.asarray(values), dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 2))

    return lambda x: (x - channels(shift, x)) / channels(scale, x)


class _Padded(nn.Module):
    """A convolution that pads (before and after, axis by axis)."""

    def __init__(self, module: Any, padding: tuple[int, ...]) -> None:
        super().__init__()
        before, after = padding[::2], padding[1::2]
        self.module, self.padding = module, None
        if before == after:
            module.padding = before
        else:  # PyTorch begins with the last axis
            self.padding = [side for pair in zip(before[::-1], after[::-1], strict=True) for side in pair]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of the padded images."""
        return self.module(x if self.padding is None else nn.functional.pad(x, self.padding))


# ---- JAX ---------------------------------------------------------------------------------------------------------


def jax_network(compiled: gnc.Compiled) -> tuple[Callable[..., Any], dict[str, Any]]:
    """(function(parameters, x) → logits, parameters) on images (N, H, W, C)."""
    import jax.numpy as jnp

    parameters = {name: jnp.asarray(np.array(value)) for name, value in compiled.parameters.items()}
    network = compiled.network
    nodes = [(name, layer, inputs, network[name]) for name, layer, inputs in _nodes(compiled)]

    def function(parameters: dict[str, Any], x: Any) -> Any:
        values: dict[str, Any] = {}
        result = x
        for name, layer, inputs, node in nodes:
            given = [values[i] for i in inputs] or [x]
            result = _in_jax(layer, node, given, parameters)
            values[name] = result
        return result

    return function, parameters


def _in_jax(layer: Any, node: Any, given: list[Any], parameters: dict[str, Any]) -> Any:
    import jax
    import jax.numpy as jnp

    x, name = given[0], node.name
    if isinstance(layer, gnc.Convolution2dLayer):
        stride, (top, bottom, left, right) = _windows(layer, node)
        y = jax.lax.conv_general_dilated(
            x, parameters[f"{name}.weights"], stride, ((top, bottom), (left, right)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        return y + parameters[f"{name}.bias"]
    if isinstance(layer, gnc.TransposedConvolution2dLayer):
        stride, cropping = _windows(layer, node)
        assert not any(cropping), "JAX's padding of a transposed convolution is that of the whole window"
        y = jax.lax.conv_transpose(
            x, parameters[f"{name}.weights"], stride, "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"), transpose_kernel=True,
        )  # fmt: skip
        return y + parameters[f"{name}.bias"]
    if isinstance(layer, gnc.GroupNormalizationLayer):
        n, h, w, c = x.shape
        groups = {"all-channels": 1, "channel-wise": c}.get(str(layer.num_groups)) or int(layer.num_groups)
        grouped = x.reshape(n, h * w, groups, c // groups)
        mean = grouped.mean((1, 3), keepdims=True)
        variance = ((grouped - mean) ** 2).mean((1, 3), keepdims=True)
        y = ((grouped - mean) * jax.lax.rsqrt(variance + layer.epsilon)).reshape(x.shape)
        return y * parameters[f"{name}.scale"] + parameters[f"{name}.offset"]
    if isinstance(layer, gnc.FullyConnectedLayer):
        return x.reshape(len(x), -1) @ parameters[f"{name}.weights"].T + parameters[f"{name}.bias"]
    if isinstance(layer, gnc.MaxPooling2dLayer):
        stride, (top, bottom, left, right) = _windows(layer, node)
        size = (1, *_pair(layer.pool_size), 1)
        padding = ((0, 0), (top, bottom), (left, right), (0, 0))
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, size, (1, *stride, 1), padding)
    if isinstance(layer, gnc.GlobalAveragePooling2dLayer):
        return x.mean((1, 2), keepdims=True)
    if isinstance(layer, gnc.DepthConcatenationLayer):
        return jnp.concatenate(given, -1)
    if isinstance(layer, gnc.AdditionLayer):
        return sum(given[1:], x)
    if isinstance(layer, gnc.ReluLayer):
        return jnp.maximum(x, 0)
    assert isinstance(layer, gnc.ImageInputLayer), f"no translation of {layer}"
    return x


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


# ---- ONNX --------------------------------------------------------------------------------------------------------


def onnx_file(model: nn.Module, images: torch.Tensor, path: Path) -> Path:
    """The PyTorch model as an ONNX file for images of one shape."""
    torch.onnx.export(model, (images,), str(path), input_names=["x"], output_names=["y"], dynamo=False)
    return path
