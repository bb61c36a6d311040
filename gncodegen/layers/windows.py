"""What convolution and pooling share: windows that slide over the spatial axes."""

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
    """A layer whose window slides over `rank` spatial axes.

    Args:
        stride: step between window positions, one int or one per axis.
        padding: 0; "same" (output = ceil(input / stride)); one int for every side; (vertical, horizontal); or
            (top, bottom, left, right).
    """

    _: KW_ONLY
    stride: int | tuple[int, ...] = 1
    padding: int | str | tuple[int, ...] = 0
    rank: ClassVar[int]
    """Spatial axes the window slides over."""

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
        return window_padding(self.padding, size.spatial, self._window(), self._stride(), self._dilation())

    def _output_extents(self, size: Size) -> tuple[int, ...]:
        """The output's spatial extents; raises LayerError where the window does not fit."""
        require_rank(size, self.rank)
        pads = self._padding(size)
        extents = window_outputs(size.spatial, self._window(), self._stride(), self._dilation(), pads)
        if min(extents) < 1:
            spans = tuple(window_span(*axis) for axis in zip(self._window(), self._dilation(), strict=True))
            padded = tuple(n + a + b for n, a, b in zip(size.spatial, pads[::2], pads[1::2], strict=True))
            raise LayerError(
                f"a window of {_times(spans)} does not fit the input {size}, {_times(padded)} with its padding; "
                f'allowed: windows up to {_times(padded)}; make the window smaller or write padding="same"'
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


def require_rank(size: Size, rank: int) -> None:
    """Raises LayerError unless the size has `rank` spatial axes, one C axis and nothing else."""
    if size.format != "S" * rank + "C":
        raise LayerError(
            f"the input {size} has {len(size.spatial)} spatial axes; allowed: {rank} spatial axes and channels "
            f"({'S' * rank}C); put the layer before layers that flatten, such as FullyConnectedLayer"
        )


def _times(extents: tuple[int, ...]) -> str:
    return "×".join(map(str, extents))
