"""Normalizations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import Node
from gncodegen.exchange.operators.reduction import reduced
from gncodegen.exchange.operators.row import NEVER, Along, Operator, single

LAYER_NORMALIZATION = Along(one_since=NEVER)


def _epsilon(node: Node) -> float:
    return float(node.attributes.get("epsilon", 1e-5))


def _affine(node: Node, count: int) -> dict[str, Any]:
    """Scale and offset, inputs 1 and 2; a norm without one stays so in training."""
    found: dict[str, Any] = {}
    for index, name, default in ((1, "scale", 1.0), (2, "offset", 0.0)):
        found[name] = node.constant_or(index, np.full(count, default))
        if not node.has(index):
            found[f"{name}_learn_rate_factor"] = 0.0
    return found


def _with_channels(node: Node, layer: Any) -> Value:
    """A norm over an array whose axis 1 is that of channels."""
    if not node.batching.batched or not node.value().rank:
        raise Unsupported("its input must have axes of observations and of channels")
    return node.construction.channels_last(node.value(), lambda _: layer)


def batch_normalization(node: Node) -> Value:
    """With the trained statistics."""
    if node.attributes.get("training_mode", 0) or not node.attributes.get("spatial", 1):
        raise Unsupported("training_mode or per-element statistics; allowed: the form for prediction")
    mean, variance = node.constant(3), node.constant(4)
    decay = 1.0 - float(node.attributes.get("momentum", 0.9))
    return _with_channels(
        node,
        gnc.BatchNormalizationLayer(
            **_affine(node, mean.size),
            trained_mean=mean,
            trained_variance=variance,
            epsilon=_epsilon(node),
            mean_decay=decay,
            variance_decay=decay,
        ),
    )


def instance_normalization(node: Node) -> Value:
    """Each channel of each observation."""
    channels = node.value().shape[0] if node.value().rank else 1
    return _with_channels(node, gnc.InstanceNormalizationLayer(**_affine(node, channels), epsilon=_epsilon(node)))


def group_normalization(node: Node) -> Value:
    """Scale and offset are per group in opset 18, per channel since 21."""
    groups, channels = int(node.attributes["num_groups"]), node.value().shape[0]
    affine = _affine(node, channels)
    if node.opset < 21 and channels % groups == 0 and affine["scale"].shape == (groups,):
        affine |= {name: np.repeat(affine[name], channels // groups) for name in ("scale", "offset")}
    return _with_channels(node, gnc.GroupNormalizationLayer(groups, **affine, epsilon=_epsilon(node)))


def layer_normalization(node: Node) -> Sequence[Value]:
    """Over the axes from `axis` on; and, where they are asked for, the mean and 1 / sqrt(variance + epsilon)."""
    value = node.value()
    axis = node.axis(LAYER_NORMALIZATION.of(node)[0], value.rank)
    reduced = value.shape[axis:]
    given = [node.constant(index).shape for index in (1, 2) if node.has(index)]
    if any(shape != reduced for shape in given):
        raise Unsupported(f"scale of shape {given[0]}; allowed: {reduced}, that of the axes it normalizes")
    # The normalized axes are made one, the last.
    count = int(np.prod(reduced, dtype=np.int64))
    flat = node.construction.reshaped(value, (*value.shape[:axis], count))
    affine = _affine(node, count)
    affine |= {name: affine[name].ravel() for name in ("scale", "offset")}
    layer = gnc.LayerNormalizationLayer(**affine, epsilon=_epsilon(node), operation_dimension="channel-only")
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
    "LayerNormalization": Operator(layer_normalization, "LayerNormalization", LAYER_NORMALIZATION),
}
