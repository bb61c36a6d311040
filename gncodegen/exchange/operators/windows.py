"""Convolutions and pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import Node
from gncodegen.exchange.operators.arithmetic import with_constant
from gncodegen.exchange.operators.elementwise import LARGEST
from gncodegen.exchange.operators.movement import joined_along
from gncodegen.exchange.operators.pieces import taken
from gncodegen.exchange.operators.row import Operator, single
from gncodegen.layers.geometry import window_span


def _spatial(node: Node) -> tuple[int, ...]:
    """The spatial extents of input 0, which has channels first."""
    value = node.value()
    if not node.batching.batched:
        raise Unsupported("its input must have an axis of observations")
    if not 2 <= value.rank <= 4:
        raise Unsupported(f"{value.rank - 1} spatial axes; allowed: 1 to 3")
    return value.shape[1:]


def _pads(node: Node, window: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Padding (before, after) axis by axis, from `pads` or `auto_pad`."""
    extents, rank = _spatial(node), len(window)
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode == "VALID":
        return (0,) * (2 * rank)
    if mode == "NOTSET":
        pads = node.per_axis("pads", 2 * rank, 0)
        return tuple(pads[side * rank + axis] for axis in range(rank) for side in range(2))
    sides: list[int] = []
    for n, size, step, distance in zip(extents, window, stride, dilation, strict=True):
        total = max((-(-n // step) - 1) * step + window_span(size, distance) - n, 0)
        less, more = total // 2, total - total // 2
        sides += (less, more) if mode == "SAME_UPPER" else (more, less)
    return tuple(sides)


def _layer(stem: str, rank: int) -> Any:
    """The type of layer for so many spatial axes."""
    found = getattr(gnc, f"{stem}{rank}dLayer", None)
    if found is None:
        there = [axes for axes in (1, 2, 3) if hasattr(gnc, f"{stem}{axes}dLayer")]
        allowed = f"{', '.join(map(str, there))} spatial axes" if there else "convolutions and pools of other kinds"
        raise Unsupported(f"there is no {stem}{rank}dLayer; allowed: {allowed}")
    return found


def _frozen(node: Node) -> dict[str, float]:
    """What training leaves as it is: a bias that the model does not have, weights that an importer made up."""
    weights = {} if node.attributes.get("learned", 1) else {"weight_learn_rate_factor": 0.0}
    return weights if node.has(2) else {**weights, "bias_learn_rate_factor": 0.0}


def convolution(node: Node) -> Value:
    """Y = x ⋆ w + b; weights are (filters, channels / groups, *window)."""
    rank = len(_spatial(node))
    weights = node.constant_of_rank(1, 2 + rank)
    window = weights.shape[2:]
    stride, dilation = node.per_axis("strides", rank, 1), node.per_axis("dilations", rank, 1)
    filters, groups = weights.shape[0], node.attributes.get("group", 1)
    bias = node.constant_or(2, np.zeros(filters, weights.dtype))
    shared: dict[str, Any] = {
        "stride": stride,
        "dilation_factor": dilation,
        "padding": _pads(node, window, stride, dilation),
        "weights": np.moveaxis(weights, (0, 1), (-1, -2)),
        "bias": bias,
        **_frozen(node),
    }
    if groups == 1:
        layer = _layer("Convolution", rank)(window, filters, **shared)
    else:
        layer = _layer("GroupedConvolution", rank)(window, filters // groups, groups, **shared)
    return node.construction.channels_last(node.value(), lambda _: layer)


MOST_GROUPS = 32
"""Groups of a transposed convolution, each of which becomes a layer."""


def transposed_convolution(node: Node) -> Value:
    """The adjoint of a convolution, plus b; weights are (channels, filters / groups, *window)."""
    weights, groups = node.constant_of_rank(1, 2 + len(_spatial(node))), int(node.attributes.get("group", 1))
    value, construction = node.value(), node.construction
    if groups > MOST_GROUPS:
        raise Unsupported(f"group = {groups}; allowed: up to {MOST_GROUPS}, since each group becomes a layer")
    bias = node.constant_or(2, np.zeros(weights.shape[1] * groups, weights.dtype))
    size = value.shape[0] // groups
    parts: list[Value] = []
    for group, (own, own_bias) in enumerate(zip(np.split(weights, groups), np.split(bias, groups), strict=True)):
        part = taken(node, value, 0, range(group * size, (group + 1) * size))
        layer = _transposed(node, own, own_bias)
        parts.append(construction.channels_last(part, lambda _, layer=layer: layer))
    return joined_along(construction, parts, 0)


def _transposed(node: Node, weights: NDArray[Any], bias: NDArray[Any]) -> Any:
    """The layer of one group."""
    window, rank = weights.shape[2:], len(_spatial(node))
    stride, dilation = node.per_axis("strides", rank, 1), node.per_axis("dilations", rank, 1)
    sides, missing = _cropping(node, tuple(map(window_span, window, dilation)), stride)
    if any(missing) and set(dilation) != {1}:
        raise Unsupported(f"dilations = {dilation} with more output_padding than padding; allowed: one of them")
    # What output_padding adds behind the last window is as if the window had zeros there.
    weights = np.pad(weights, ((0, 0), (0, 0), *((0, more) for more in missing)))
    return _layer("TransposedConvolution", rank)(
        weights.shape[2:],
        weights.shape[1],
        stride=stride,
        dilation_factor=dilation,
        cropping=sides,
        weights=np.moveaxis(weights, (0, 1), (-1, -2)),
        bias=bias,
        **_frozen(node),
    )


def _cropping(node: Node, window: Sequence[int], stride: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What is cut off, two sides per axis; and how much longer than its window the output is, per axis."""
    extents, rank = _spatial(node), len(window)
    more = node.per_axis("output_padding", rank, 0)
    target, mode = node.attributes.get("output_shape"), node.attributes.get("auto_pad", "NOTSET")
    if target is None and mode.startswith("SAME"):
        target = [n * step for n, step in zip(extents, stride, strict=True)]
    pads = node.per_axis("pads", 2 * rank, 0)
    sides: list[int] = []
    missing: list[int] = []
    for axis, (n, size, step) in enumerate(zip(extents, window, stride, strict=True)):
        before, after = pads[axis], pads[rank + axis] - more[axis]
        if target is not None:
            total = step * (n - 1) + more[axis] + size - target[-rank:][axis]
            before = max(total, 0) // 2 if mode == "SAME_UPPER" else max(total, 0) - max(total, 0) // 2
            after = total - before - more[axis]
        sides += (before, max(after, 0))
        missing.append(max(-after, 0))
    return tuple(sides), tuple(missing)


@dataclass(frozen=True)
class Pool:
    """The windows of a pool.

    Args:
        window, stride, dilation: one number per axis.
        padding: what the model says, (before, after) axis by axis.
        sides: the same with what ceil_mode adds.
    """

    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    sides: tuple[int, ...]

    @staticmethod
    def of(node: Node) -> Pool:
        """Those of a step."""
        rank = len(_spatial(node))
        window = node.per_axis("kernel_shape", rank, 1)
        stride, dilation = node.per_axis("strides", rank, 1), node.per_axis("dilations", rank, 1)
        padding = sides = _pads(node, window, stride, dilation)
        if node.attributes.get("ceil_mode", 0):
            sides = tuple(_ceiled(_spatial(node), tuple(map(window_span, window, dilation)), stride, padding))
        return Pool(window, stride, dilation, padding, sides)

    @property
    def has_holes(self) -> bool:
        """Whether the elements of a window lie apart."""
        return set(self.dilation) != {1}

    def layer(self, stem: str, **properties: Any) -> Any:
        """The layer of windows without holes."""
        layer = _layer(stem, len(self.window))
        return layer(self.window, stride=self.stride, padding=self.sides, **properties)

    def joined(self, node: Node, value: Value, function: str, fill: float) -> Value:
        """A function of the elements of every window, axis by axis, of shifted arrays; outside stands `fill`."""
        construction, rank = node.construction, len(self.window)
        for axis, (size, distance) in enumerate(zip(self.window, self.dilation, strict=True)):
            sides = self.sides[2 * axis : 2 * axis + 2]
            if any(sides):
                value = construction.along(value, axis + 1, gnc.PaddingLayer((0, 0, *sides), value=fill))
            count = value.shape[axis + 1] - window_span(size, distance) + 1
            starts = range(0, size * distance, distance)
            parts = [taken(node, value, axis + 1, range(start, start + count)) for start in starts]
            if size > 1:
                value = construction.joined(parts, gnc.ElementwiseLayer(function, size))
        if set(self.stride) == {1}:
            return value
        layer = _layer("MaxPooling", rank)((1,) * rank, stride=self.stride)
        return construction.channels_last(value, lambda _: layer)

    def counts(self, extents: Sequence[int], counted: bool) -> NDArray[np.float64]:
        """The elements of every window that count, (1, *positions); padding counts too where `counted`."""
        found = np.ones((1,) * (len(extents) + 1))
        for axis, n in enumerate(extents):
            before, after = self.padding[2 * axis : 2 * axis + 2]
            span = window_span(self.window[axis], self.dilation[axis])
            count = (n + sum(self.sides[2 * axis : 2 * axis + 2]) - span) // self.stride[axis] + 1
            starts = np.arange(count)[:, None] * self.stride[axis]
            places = starts + np.arange(self.window[axis]) * self.dilation[axis]
            low, high = (0, before + n + after) if counted else (before, before + n)
            there = ((places >= low) & (places < high)).sum(1)
            found = found * there.reshape(1, *(-1 if own == axis else 1 for own in range(len(extents))))
        return found


def _ceiled(extents: Sequence[int], spans: Sequence[int], stride: Sequence[int], pads: Sequence[int]) -> list[int]:
    """Padding with which as many windows fit as ceil_mode wants: those that begin inside or in the front padding."""
    sides: list[int] = []
    for axis, (n, span, step) in enumerate(zip(extents, spans, stride, strict=True)):
        before, after = pads[2 * axis], pads[2 * axis + 1]
        count = -(-(n + before + after - span) // step) + 1
        if (count - 1) * step >= n + before:
            count -= 1
        sides += (before, max(after, (count - 1) * step + span - n - before))
    return sides


def max_pool(node: Node) -> Value:
    """The maximum of every window."""
    pool = Pool.of(node)
    if pool.has_holes:
        return pool.joined(node, node.value(), "maximum", -LARGEST)
    return node.construction.channels_last(node.value(), lambda _: pool.layer("MaxPooling"))


def average_pool(node: Node) -> Value:
    """The mean of every window."""
    pool, counted = Pool.of(node), bool(node.attributes.get("count_include_pad", 0))
    if pool.has_holes or (counted and pool.sides != pool.padding):  # which has windows that padding counts in, in part
        total = pool.joined(node, node.value(), "add", 0.0)
        return node.construction.with_constant("multiply", total, 1 / pool.counts(_spatial(node), counted))
    layer = pool.layer("AveragePooling", padding_value=0.0 if counted else "mean")
    return node.construction.channels_last(node.value(), lambda _: layer)


def power_pool(node: Node) -> Value:
    """The p-norm of every window: powers, their mean, times how many they are, the root."""
    power, construction = int(node.attributes.get("p", 2)), node.construction
    powers = construction.alike(node.value(), gnc.UnaryLayer("absolute"))
    powers = with_constant(node, "power", powers, np.asarray(float(power)))
    if node.step.operator == "GlobalLpPool":
        window, layer = _spatial(node), _layer("GlobalAveragePooling", len(_spatial(node)))()
    else:
        pool = Pool.of(node)
        if pool.has_holes:
            return with_constant(node, "power", pool.joined(node, powers, "add", 0.0), np.asarray(1 / power))
        window, layer = pool.window, pool.layer("AveragePooling", padding_value=0.0)
    means = construction.channels_last(powers, lambda _: layer)
    total = construction.with_constant("multiply", means, np.asarray(float(np.prod(window))))
    return with_constant(node, "power", total, np.asarray(1 / power))


def global_pool(node: Node) -> Value:
    """One window over all positions."""
    stem = node.step.operator.removesuffix("Pool") + "Pooling"
    layer = _layer(stem, len(_spatial(node)))()
    return node.construction.channels_last(node.value(), lambda _: layer)


OPERATORS: Mapping[str, Operator] = {
    "Conv": single(convolution, "Convolution, GroupedConvolution"),
    "ConvTranspose": single(transposed_convolution, "TransposedConvolution"),
    "MaxPool": single(max_pool, "MaxPooling; Padding, Crop and Elementwise for windows with holes"),
    "AveragePool": single(average_pool, "AveragePooling; Padding, Crop and Elementwise for windows with holes"),
    "LpPool": single(power_pool, "Unary, AveragePooling, Elementwise; the same for windows with holes"),
    "GlobalLpPool": single(power_pool, "Unary, GlobalAveragePooling, Elementwise"),
    "GlobalAveragePool": single(global_pool, "GlobalAveragePooling"),
    "GlobalMaxPool": single(global_pool, "GlobalMaxPooling"),
}
