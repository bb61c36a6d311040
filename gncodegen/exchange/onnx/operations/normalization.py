"""Normalizations: one node each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gncodegen.exchange.construction import Unsupported
from gncodegen.exchange.onnx.emission import Array, channel_first, identity, spread
from gncodegen.exchange.onnx.operations.row import LayerRow, Row, Step
from gncodegen.layers.base import Layer
from gncodegen.layers.local_response import CrossChannelNormalizationLayer


def _precision(step: Step) -> dict[str, Any]:
    """Epsilon, and for float64 the type of the statistics, which is float32 unless it is said."""
    from onnx import TensorProto  # noqa: PLC0415

    more = {"stash_type": int(TensorProto.DOUBLE)} if step.emission.dtype == "float64" else {}
    return {"epsilon": step.attribute("epsilon"), **more}


def group_norm(step: Step) -> Array:
    """Over groups of channels and all positions; over the channels at each position; or over each time step."""
    reduced, groups, shape = step.attribute("reduced"), step.attribute("groups"), step.array.shape
    own, first = identity(step.array.rank), channel_first(step.array.rank)
    if reduced == "channel":
        tensor = step.emit(
            "LayerNormalization", step.own(), step.parameter(0), step.parameter(1), axis=-1, **_precision(step)
        )
        return Array(shape, {own: tensor})
    if reduced == "step":
        # Each time step is a group of its own; scale and offset are per channel, the last axis.
        steps = [
            step.constant(name, make(shape[0], step.emission.dtype))
            for name, make in (("ones", np.ones), ("zeros", np.zeros))
        ]
        normal = step.helping(
            "normal", "GroupNormalization", step.own(), *steps, num_groups=shape[0], **_precision(step)
        )
        scaled = step.helping("scaled", "Mul", normal, step.spread(0, own))
        return Array(shape, {own: step.emit("Add", scaled, step.spread(1, own))})
    if reduced != "spatial-channel":
        raise Unsupported(f"reduced = {reduced!r}; allowed: spatial-channel, channel, step")
    inputs = (step.stored(first), step.parameter(0), step.parameter(1))
    if groups == "channel-wise" and step.array.rank > 1:
        return Array(shape, {first: step.emit("InstanceNormalization", *inputs, epsilon=step.attribute("epsilon"))})
    count = {"channel-wise": shape[-1], "all-channels": 1}.get(groups, groups)
    return Array(shape, {first: step.emit("GroupNormalization", *inputs, num_groups=count, **_precision(step))})


def batch_norm(step: Step) -> Array:
    """With the trained statistics."""
    first = channel_first(step.array.rank)
    inputs = [step.stored(first), *(step.parameter(index) for index in range(4))]
    momentum = 1.0 - step.attribute("mean_decay")
    tensor = step.emit("BatchNormalization", *inputs, epsilon=step.attribute("epsilon"), momentum=momentum)
    return Array(step.array.shape, {first: tensor})


def input_normalization(step: Step) -> Array:
    """(x - shift) · factor + added, in the kernel's order; a constant channel has factor 1."""
    method, order, rank = step.attribute("method"), step.array.order, step.array.rank
    inputs = (step.stored(order), step.spread(0, order))
    if method == "zerocenter":
        return Array(step.array.shape, {order: step.emit("Sub", *inputs)})
    centred = step.helping("centred", "Sub", *inputs)
    width = step.values[1] if method == "zscore" else step.values[1] - step.values[0]
    wanted = 2.0 if method == "rescale-symmetric" else 1.0
    factor = np.divide(wanted, width, out=np.ones_like(width), where=width != 0)
    scale = step.constant("factor", spread(factor, rank, order))
    if method != "rescale-symmetric":
        return Array(step.array.shape, {order: step.emit("Mul", centred, scale)})
    scaled = step.helping("scaled", "Mul", centred, scale)
    return Array(step.array.shape, {order: step.emit("Sub", scaled, step.constant("one", 1.0))})


def local_response(step: Step) -> Array:
    """Over neighbouring channels."""
    layer: Any = step.node.layer
    first = channel_first(step.array.rank)
    sizes = {"size": layer.window_channel_size, "alpha": layer.alpha, "beta": layer.beta, "bias": layer.k}
    return Array(step.array.shape, {first: step.emit("LRN", step.stored(first), **sizes)})


ROWS: Mapping[str, Row] = {
    "group_norm": Row(group_norm, "GroupNormalization, InstanceNormalization, LayerNormalization"),
    "batch_norm": Row(batch_norm, "BatchNormalization"),
    "input_normalization": Row(input_normalization, "Sub, Mul, Add"),
}

LAYERS: Mapping[type[Layer], LayerRow] = {
    CrossChannelNormalizationLayer: LayerRow(lambda node: len(node.size.shape) > 1, local_response, "LRN"),
}
