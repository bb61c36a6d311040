"""Layers whose windows move, drawn with odd properties: convolutions and poolings of any rank."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import reference as ref

import gncodegen as gnc
from gncodegen.layers.base import Size
from support.drawn_pairs import CHANNELS, WEIGHTED, Pair, channels


@dataclass(frozen=True)
class Windows:
    """The axes along which a window moves.

    Args:
        extents: of these axes.
        steps: whether each time step is by itself.
    """

    extents: tuple[int, ...]
    steps: bool

    @property
    def rank(self) -> int:
        return len(self.extents)

    def layer(self, kind: str) -> Any:
        """The layer class of this rank."""
        return getattr(gnc, f"{kind}{self.rank}dLayer")

    def each(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        """The operation, at each step where that is meant."""
        return ref.each_step(operation) if self.steps else operation


def windows(draw: random.Random, size: Size) -> Windows | None:
    """Space; or time; or both as one, at times."""
    axes = size.shape[:-1]
    if "T" in size.format and len(axes) > 1 and (len(axes) > 3 or draw.random() < 0.7):
        return Windows(axes[1:], True)
    return Windows(axes, False) if 1 <= len(axes) <= 3 else None


def _numbers(draw: random.Random, moved: Windows, among: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(draw.choice(among) for _ in moved.extents)


def _sides(draw: random.Random, moved: Windows, among: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((draw.choice(among), draw.choice(among)) for _ in moved.extents)


def flat(sides: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    return tuple(n for side in sides for n in side)


def convolution(draw: random.Random, size: Size, name: str) -> Pair | None:
    """Of any window, stride, dilation, padding and number of groups."""
    if (moved := windows(draw, size)) is None:
        return None
    window = _numbers(draw, moved, (1, 2, 3, 3, 5))
    stride, dilation = (_numbers(draw, moved, (1, 1, 2, 3)) for _ in range(2))
    sides = draw.choice(("same", _sides(draw, moved, (0, 1, 2)), _sides(draw, moved, (1,))))
    if sides != "same" and any(
        n + sum(side) <= (w - 1) * d for n, side, w, d in zip(moved.extents, sides, window, dilation, strict=True)
    ):
        sides = "same"
    value = draw.choice((0, 0, 1.5, "symmetric-include-edge", "symmetric-exclude-edge", "replicate"))
    given = {
        "stride": stride, "dilation_factor": dilation, "padding_value": value, "name": name,
        "padding": sides if sides == "same" else flat(sides),
    }  # fmt: skip
    twin = {"stride": stride, "dilation": dilation, "padding": sides}
    twin |= {"mode": value} if isinstance(value, str) else {"value": value}
    if draw.random() < 0.6:
        layer = moved.layer("Convolution")(window, channels(draw), **given)
        return Pair(layer, moved.each(ref.convolution), WEIGHTED, twin)
    groups = draw.choice([g for g in range(1, size.channels + 1) if size.channels % g == 0])
    named = "channel-wise" if groups == size.channels and draw.random() < 0.5 else groups
    layer = moved.layer("GroupedConvolution")(window, draw.choice((1, 2, 3)), named, **given)
    return Pair(layer, moved.each(ref.convolution), WEIGHTED, twin | {"groups": groups})


def transposed(draw: random.Random, size: Size, name: str) -> Pair | None:
    """A transposed convolution, its output cut at times."""
    if (moved := windows(draw, size)) is None:
        return None
    window, stride, dilation = (_numbers(draw, moved, (1, 2, 3)) for _ in range(3))
    cropping = draw.choice(("same", _sides(draw, moved, (0,)), _sides(draw, moved, (0, 1))))
    layer = moved.layer("TransposedConvolution")(
        window, draw.choice(CHANNELS[:6]), stride=stride, dilation_factor=dilation, name=name,
        cropping=cropping if cropping == "same" else flat(cropping),
    )  # fmt: skip
    twin = {"stride": stride, "dilation": dilation, "cropping": cropping}
    return Pair(layer, moved.each(ref.transposed_convolution), WEIGHTED, twin)


def pooling(draw: random.Random, size: Size, name: str) -> Pair | None:
    """Windows that may reach over the edge."""
    if (moved := windows(draw, size)) is None:
        return None
    window, stride = (_numbers(draw, moved, (1, 2, 3)) for _ in range(2))
    sides = draw.choice(("same", tuple((draw.randrange(w), draw.randrange(w)) for w in window)))
    given = {"stride": stride, "padding": sides if sides == "same" else flat(sides), "name": name}
    twin = {"window": window, "stride": stride, "padding": sides}
    if draw.random() < 0.5:
        return Pair(moved.layer("MaxPooling")(window, **given), moved.each(ref.max_pool), options=twin)
    value = draw.choice((0, "mean"))
    layer = moved.layer("AveragePooling")(window, padding_value=value, **given)
    return Pair(layer, moved.each(ref.average_pool), options=twin | {"count_padding": value == 0})


def whole(draw: random.Random, size: Size, name: str) -> Pair | None:
    """A pooling of all there is; one that covers time leaves no time."""
    if (moved := windows(draw, size)) is None:
        return None
    kind = draw.choice(("Average", "Max"))
    operation = ref.global_average_pool if kind == "Average" else ref.global_max_pool
    layer = moved.layer(f"Global{kind}Pooling")(name=name)
    timeless = "T" in size.format and not moved.steps
    return Pair(layer, _without_time(operation) if timeless else moved.each(operation))


def _without_time(operation: Callable[..., Any]) -> Callable[..., Any]:
    def pooled(x: Any) -> Any:
        y, backward = operation(x)
        return y[:, 0], lambda dy: backward(np.asarray(dy)[:, None])

    return pooled
