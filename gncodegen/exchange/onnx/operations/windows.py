"""Convolutions and pools, in ONNX's order of axes: channels first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gncodegen.exchange.construction import Unsupported
from gncodegen.exchange.onnx.emission import Array, channel_first
from gncodegen.exchange.onnx.operations.row import LayerRow, Row, Step
from gncodegen.layers.base import Layer
from gncodegen.layers.geometry import window_outputs, window_span
from gncodegen.layers.network import Node
from gncodegen.layers.pooling import GlobalAveragePoolingLayer, GlobalMaxPoolingLayer

MOST_AXES = 3
"""Spatial axes that runtimes have kernels for."""


def _result(step: Step, tensor: str, extents: Sequence[int], channels: int) -> Array:
    shape = (*step.array.shape[: -len(extents) - 1], *extents, channels)
    return Array(shape, {channel_first(len(shape)): tensor})


def _input(step: Step) -> str:
    return step.stored(channel_first(step.array.rank))


def _extra(step: Step, rank: int) -> int:
    """Axes in front of the window's, such as time steps: along them the window is 1."""
    spatial = step.array.rank - 1
    if spatial > MOST_AXES:
        raise Unsupported(f"{step.array.shape} has {spatial} axes beside the channels; allowed: up to {MOST_AXES}")
    return spatial - rank


def _along(step: Step, name: str, neutral: int) -> list[int]:
    """An attribute with one number per axis of the window, for all spatial axes."""
    given = step.attribute(name)
    return [neutral] * _extra(step, len(given)) + list(given)


def _pads(step: Step, sides: Sequence[int]) -> list[int]:
    """Pads as ONNX lists them: all starts, then all ends."""
    none = [0] * _extra(step, len(sides) // 2)
    return [*none, *sides[::2], *none, *sides[1::2]]


def _extents(step: Step, window: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """The output's extents along the window's axes."""
    seen = step.array.shape[-len(window) - 1 : -1]
    return window_outputs(seen, tuple(window), step.attribute("stride"), tuple(dilation), step.attribute("padding"))


def has_bias(step: Step) -> bool:
    """Whether there is a bias to write: one that is frozen at zero stands for none."""
    if len(step.values) < 2:
        return False
    name = step.operation.parameters[1]
    frozen = any(own.learn_rate_factor == 0 for own in step.node.parameters if own.name == name)
    return not (frozen and not np.any(step.values[1]))


def _weights(step: Step) -> list[str]:
    """Weights with the window's axes last, widened to all spatial axes; and the bias."""
    weights = np.moveaxis(step.values[0], (-1, -2), (0, 1))
    wide = weights.reshape(*weights.shape[:2], *[1] * _extra(step, weights.ndim - 2), *weights.shape[2:])
    return [step.parameter(0, wide), *([step.parameter(1)] if has_bias(step) else [])]


def _product(step: Step, operator: str, **attributes: Any) -> str:
    """A node with weights, and what both operators say of their windows."""
    window = step.values[0].shape[:-2]
    return step.emit(
        operator,
        _input(step),
        *_weights(step),
        kernel_shape=[1] * _extra(step, len(window)) + list(window),
        strides=_along(step, "stride", 1),
        dilations=_along(step, "dilation", 1),
        pads=_pads(step, step.attribute("padding")),
        **attributes,
    )


def convolution(step: Step) -> Array:
    """Conv."""
    window = step.values[0].shape[:-2]
    tensor = _product(step, "Conv", group=step.attribute("groups"))
    return _result(step, tensor, _extents(step, window, step.attribute("dilation")), step.values[0].shape[-1])


def transposed_convolution(step: Step) -> Array:
    """ConvTranspose; what the windows do not reach is output_padding."""
    window, extents = step.values[0].shape[:-2], step.attribute("extents")
    stride, sides = step.attribute("stride"), step.attribute("padding")
    spans = map(window_span, window, step.attribute("dilation"))
    seen = step.array.shape[-len(window) - 1 : -1]
    reached = [
        s * (n - 1) + span - a - b
        for s, n, span, a, b in zip(stride, seen, spans, sides[::2], sides[1::2], strict=True)
    ]
    left = [n - known for n, known in zip(extents, reached, strict=True)]
    tensor = _product(step, "ConvTranspose", output_padding=[0] * _extra(step, len(window)) + left)
    return _result(step, tensor, extents, step.values[0].shape[-2])


def _pool(operator: str, **attributes: Any) -> Any:
    def emit(step: Step) -> Array:
        window = step.attribute("window")
        given = attributes
        if operator == "AveragePool":
            given = {"count_include_pad": int(step.attribute("count_padding"))}
        tensor = step.emit(
            operator,
            _input(step),
            kernel_shape=_along(step, "window", 1),
            strides=_along(step, "stride", 1),
            pads=_pads(step, step.attribute("padding")),
            **given,
        )
        return _result(step, tensor, _extents(step, window, (1,) * len(window)), step.array.shape[-1])

    return emit


def _covers_all(node: Node) -> bool:
    """Whether a global pool takes all positions and keeps their axes."""
    size = node.input_sizes[0]
    return size.format == node.size.format and all(n == 1 for n in node.size.shape[:-1])


def _global_pool(operator: str) -> Any:
    def emit(step: Step) -> Array:
        tensor = step.emit(operator, _input(step))
        return _result(step, tensor, [1] * (step.array.rank - 1), step.array.shape[-1])

    return emit


ROWS: Mapping[str, Row] = {
    "convolution": Row(convolution, "Conv"),
    "transposed_convolution": Row(transposed_convolution, "ConvTranspose"),
    "max_pool": Row(_pool("MaxPool"), "MaxPool"),
    "average_pool": Row(_pool("AveragePool"), "AveragePool"),
}

LAYERS: Mapping[type[Layer], LayerRow] = {
    GlobalAveragePoolingLayer: LayerRow(_covers_all, _global_pool("GlobalAveragePool"), "GlobalAveragePool"),
    GlobalMaxPoolingLayer: LayerRow(_covers_all, _global_pool("GlobalMaxPool"), "GlobalMaxPool"),
}
