"""What convolution and pooling share: windows of one to three axes that slide over the positions of an observation.

Formats that a layer of `rank` axes takes: `rank` S axes, with or without a T axis in front, whose steps it treats
alike; or one S axis less and T, over which the window slides too. So a 1-D layer takes SC, TC and TSC, a 2-D layer SSC,
TSC and TSSC.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from gncodegen.errors import LayerError
from gncodegen.layers.base import Layer, Size
from gncodegen.layers.checks import Check, non_negative_int, one_of, per_axis, positive_int, tuple_of
from gncodegen.layers.geometry import (
    expand_padding,
    window_outputs,
    window_padding,
    window_span,
)
from gncodegen.layers.geometry import (
    per_axis as one_per_axis,
)


@dataclass(frozen=True, eq=False)
class WindowLayer(Layer):
    """A layer whose window slides over `rank` axes.

    Args:
        stride: step between window positions, one int or one per axis.
        padding: 0; "same" (output = ceil(input / stride)); one int for every side; one per axis, such as
            (vertical, horizontal); or two per axis, such as (top, bottom, left, right).
    """

    _: KW_ONLY
    stride: int | tuple[int, ...] = 1
    padding: int | str | tuple[int, ...] = 0
    rank: ClassVar[int]
    """Axes the window slides over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle("stride", per_axis(positive_int, self.rank))
        self._settle("padding", padding_check(self.rank))

    def _window(self) -> tuple[int, ...]:
        """The window's extents, one per axis."""
        raise NotImplementedError

    def _dilation(self) -> tuple[int, ...]:
        """The steps between the window's elements, one per axis."""
        return (1,) * self.rank

    def _stride(self) -> tuple[int, ...]:
        return one_per_axis(self.stride, self.rank)

    def _padding(self, size: Size) -> tuple[int, ...]:
        """The explicit pads (before, after per axis) for an input size."""
        seen = windowed(size, self.rank)
        return window_padding(self.padding, seen, self._window(), self._stride(), self._dilation())

    def _output_extents(self, size: Size) -> tuple[int, ...]:
        """The output's extents along the window's axes; raises LayerError where the window does not fit."""
        seen, pads = windowed(size, self.rank), self._padding(size)
        extents = window_outputs(seen, self._window(), self._stride(), self._dilation(), pads)
        if min(extents) < 1:
            spans = tuple(window_span(*axis) for axis in zip(self._window(), self._dilation(), strict=True))
            padded = tuple(n + a + b for n, a, b in zip(seen, pads[::2], pads[1::2], strict=True))
            raise LayerError(
                f"a window of {times(spans)} does not fit the input {size}, {times(padded)} with its padding; "
                f'allowed: windows up to {times(padded)}; make the window smaller or write padding="same"'
            )
        return extents


def padding_check(rank: int) -> Check:
    """Accepts "same", one int ≥ 0, one per axis, or two per axis; canonical is "same" or two per axis."""
    explicit = non_negative_int | tuple_of(
        non_negative_int, (rank, 2 * rank), f"{rank} or {2 * rank} of them", "(1, 1)"
    )
    sides = Check(lambda value: expand_padding(explicit.accept(value), rank), explicit.allowed, explicit.example)
    same = one_of("same")
    return Check((same | sides).accept, f"{same.allowed}, {sides.allowed}", same.example)


def windowed(size: Size, rank: int) -> tuple[int, ...]:
    """The extents of the axes that a window of `rank` axes slides over: the last ones before the channels.

    Raises:
        LayerError: the size has other axes than such a layer takes.
    """
    spatial, time = size.format.count("S"), size.format.count("T")
    if rank not in (spatial, spatial + time):
        raise LayerError(
            f"the input {size} has {spatial} spatial axes; allowed: {', '.join(window_formats(rank))}; "
            "put the layer before layers that flatten, such as FullyConnectedLayer, or take the layer of as many axes"
        )
    return size.shape[-rank - 1 : -1]


def window_formats(rank: int) -> tuple[str, ...]:
    """The formats that a window of `rank` axes takes, without B."""
    return ("S" * rank + "C", "T" + "S" * (rank - 1) + "C", "T" + "S" * rank + "C")


def resized(size: Size, extents: tuple[int, ...], channels: int) -> Size:
    """The size with other extents along the window's axes, and another number of channels."""
    return Size(size.format, (*size.shape[: -len(extents) - 1], *extents, channels))


def times(extents: tuple[int, ...]) -> str:
    """Extents as messages show them: 3×3."""
    return "×".join(map(str, extents))
