"""Arithmetic of sliding windows, for any number of spatial axes: one function per question, shared by layers and IR."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def per_axis(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """One int per spatial axis: a single int counts for each of the `rank` axes."""
    return (value,) * rank if isinstance(value, int) else tuple(value)


def window_span(window: int, dilation: int = 1) -> int:
    """The extent a dilated window covers: (F − 1)·d + 1."""
    return (window - 1) * dilation + 1


def window_output(extent: int, window: int, stride: int, dilation: int, before: int, after: int) -> int:
    """The number of window positions along one axis: floor((in + pads − ((F − 1)·d + 1)) / s) + 1.

    Args:
        extent: input extent, in elements.
        window: window extent F.
        stride: step s between positions.
        dilation: step d between the window's elements.
        before: padding in front.
        after: padding behind.

    Returns:
        The output extent; below 1 where the window is larger than the padded input.
    """
    return (extent + before + after - window_span(window, dilation)) // stride + 1


def same_padding(extent: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """The padding (before, after) of "same", with which the output extent is ceil(in / s).

    total = max((out − 1)·s + (F − 1)·d + 1 − in, 0); before = floor(total / 2), the odd one goes behind.
    """
    output = -(-extent // stride)
    total = max((output - 1) * stride + window_span(window, dilation) - extent, 0)
    return total // 2, total - total // 2


def transposed_output(extent: int, window: int, stride: int) -> int:
    """The extent that `extent` windows cover whose starts lie `stride` apart: s · (in − 1) + F."""
    return stride * (extent - 1) + window


def same_cropping(window: int, stride: int) -> tuple[int, int]:
    """What "same" cuts off (before, after), so that the output extent is in · s: max(F − s, 0), the odd one behind."""
    total = max(window - stride, 0)
    return total // 2, total - total // 2


def window_padding(
    padding: str | int | Sequence[int],
    extents: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """Two explicit pads per axis (before, after), for example (top, bottom, left, right).

    Args:
        padding: "same"; one int for all sides; one int per axis; or the two ints per axis themselves.
        extents: input extents; like `window`, `stride` and `dilation` one int per axis.
        window: window extents.
        stride: strides.
        dilation: dilations.
    """
    if isinstance(padding, str):
        pairs = (same_padding(*axis) for axis in zip(extents, window, stride, dilation, strict=True))
        return tuple(side for pair in pairs for side in pair)
    return expand_padding(padding, len(extents))


def expand_padding(padding: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """Two ints per axis from one int, one per axis, or two per axis."""
    sides = per_axis(padding, rank)
    return sides if len(sides) == 2 * rank else tuple(side for side in sides for _ in range(2))


def window_outputs(
    extents: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
) -> tuple[int, ...]:
    """`window_output` for every axis; `padding` holds two ints per axis."""
    axes = zip(extents, window, stride, dilation, padding[::2], padding[1::2], strict=True)
    return tuple(window_output(*axis) for axis in axes)
