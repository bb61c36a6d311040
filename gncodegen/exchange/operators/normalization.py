"""Normalizations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import Node
from gncodegen.exchange.operators.reduction import reduced
from gncodegen.exchange.operators.row import Operator, single


def _epsilon(node: Node) -> float:
    return float(node.attributes.get("epsilon", 1e-5))


def _with_channels(node: Node, layer: Any) -> Value:
    """A norm over an array whose axis 1 is that of channels."""
    if not node.batching.batched or not node.value().rank:
        raise Unsupported("its input must have axes of observations and of channels")
    return node.construction.channels_last(node.value(), lambda _: layer)


def batch_normalization(node: Node) -> Value:
    """With the trained statistics."""
    if node.attributes.get("training_mode", 0) or not node.attributes.get("spatial", 1):
        raise Unsupported("training_mode or per-element statistics; allowed: the form for prediction")
    scale, offset, mean, variance = (node.constant(index) for index in range(1, 5))
    decay = 1.0 - float(node.attributes.get("momentum", 0.9))
    return _with_channels(
        node,
        gnc.BatchNormalizationLayer(
            scale=scale,
            offset=offset,
            trained_mean=mean,
            trained_variance=variance,
            epsilon=_epsilon(node),
            mean_decay=decay,
            variance_decay=decay,
        ),
    )


def instance_normalization(node: Node) -> Value:
    """Each channel of each observation."""
    scale, offset = node.constant(1), node.constant(2)
    return _with_channels(node, gnc.InstanceNormalizationLayer(scale=scale, offset=offset, epsilon=_epsilon(node)))


def group_normalization(node: Node) -> Value:
    """Scale and offset are per group in opset 18, per channel since 21."""
    groups, channels = int(node.attributes["num_groups"]), node.value().shape[0]
    scale, offset = node.constant(1), node.constant(2)
    if node.opset < 21 and channels % groups == 0 and scale.shape == (groups,):
        scale, offset = (np.repeat(array, channels // groups) for array in (scale, offset))
    return _with_channels(node, gnc.GroupNormalizationLayer(groups, scale=scale, offset=offset, epsilon=_epsilon(node)))


def layer_normalization(node: Node) -> Sequence[Value]:
    """Over the axes from `axis` on; and, where they are asked for, the mean and 1 / sqrt(variance + epsilon)."""
    value = node.value()
    axis = node.axis(int(node.attributes.get("axis", -1)), value.rank)
    scale = node.constant(1)
    offset = node.constant_or(2, np.zeros(scale.shape, scale.dtype))
    reduced = value.shape[axis:]
    if scale.shape != reduced or offset.shape != reduced:
        raise Unsupported(f"scale of shape {scale.shape}; allowed: {reduced}, that of the axes it normalizes")
    # The normalized axes are made one, the last.
    flat = node.construction.reshaped(value, (*value.shape[:axis], int(np.prod(reduced, dtype=np.int64))))
    layer = gnc.LayerNormalizationLayer(
        scale=scale.ravel(), offset=offset.ravel(), epsilon=_epsilon(node), operation_dimension="channel-only"
    )
    normalized = node.construction.in_layout(flat, tuple(range(flat.rank)), lambda _: layer)
    results = [node.construction.reshaped(normalized, value.shape)]
    if len(node.step.outputs) > 1:
        results += _statistics(node, value, tuple(range(axis, value.rank)))
    return results


def _statistics(node: Node, value: Value, axes: tuple[int, ...]) -> list[Value]:
    """The mean over axes, and 1 / sqrt(variance + epsilon)."""
    construction = node.construction
    mean = reduced(node, value, axes, "mean")
    centred = construction.joined([value, mean], gnc.ElementwiseLayer("subtract"))
    variance = reduced(node, construction.alike(centred, gnc.UnaryLayer("square")), axes, "mean")
    shifted = construction.with_constant("add", variance, np.asarray(_epsilon(node)))
    deviation = construction.alike(shifted, gnc.UnaryLayer("square-root"))
    return [mean, construction.alike(deviation, gnc.UnaryLayer("reciprocal"))]


OPERATORS: Mapping[str, Operator] = {
    "BatchNormalization": single(batch_normalization, "BatchNormalization"),
    "InstanceNormalization": single(instance_normalization, "InstanceNormalization"),
    "GroupNormalization": single(group_normalization, "GroupNormalization"),
    "LayerNormalization": Operator(layer_normalization, "LayerNormalization"),
}
