"""Convolution layers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar

from gncodegen.layers.base import Operation, Parameter, Size
from gncodegen.layers.checks import Channels, PositiveInt, finite_number, one_of, per_axis, positive_int
from gncodegen.layers.geometry import per_axis as one_per_axis
from gncodegen.layers.learnables import WeightedLayer, channel_shape_errors
from gncodegen.layers.windows import WindowLayer

if TYPE_CHECKING:
    from collections.abc import Iterator

_PADDING_MODES = ("symmetric-include-edge", "symmetric-exclude-edge", "replicate")


@dataclass(frozen=True, eq=False)
class ConvolutionLayer(WindowLayer, WeightedLayer):
    """Cross-correlation over `rank` spatial axes plus a bias.

    y[p, k] = Σ_q Σ_c weights[q, c, k] · x[p · stride + q · dilation - before, c] + bias[k].

    Args:
        filter_size: window extents, one int or one per axis.
        num_filters: output channels K.
        num_channels: input channels C; "auto" = as many as the input has.
        dilation_factor: step between the window's elements, one int or one per axis.
        padding_value: what stands in the padding: a number, "symmetric-include-edge", "symmetric-exclude-edge" or
            "replicate".

    Stride and padding are those of `WindowLayer`; weights (*filter_size, C, K), bias (K,) and their factors those of
    `WeightedLayer`.
    """

    filter_size: int | tuple[int, ...]
    num_filters: PositiveInt
    _: KW_ONLY
    num_channels: Channels = "auto"
    dilation_factor: int | tuple[int, ...] = 1
    padding_value: Annotated[float | str, finite_number | one_of(*_PADDING_MODES)] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle("filter_size", per_axis(positive_int, self.rank))
        self._settle("dilation_factor", per_axis(positive_int, self.rank))

    def _window(self) -> tuple[int, ...]:
        return one_per_axis(self.filter_size, self.rank)

    def _dilation(self) -> tuple[int, ...]:
        return one_per_axis(self.dilation_factor, self.rank)

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        yield from channel_shape_errors(self.num_channels, inputs[0])
        if str(self.padding_value).startswith("symmetric") and len(inputs[0].spatial) == self.rank:
            reach = [n - (self.padding_value == "symmetric-exclude-edge") for n in inputs[0].spatial for _ in range(2)]
            pads = self._padding(inputs[0])
            if any(pad > most for pad, most in zip(pads, reach, strict=True)):
                yield (
                    f'padding = {pads} with padding_value="{self.padding_value}" mirrors more than the input '
                    f'{inputs[0]} has; allowed: up to {tuple(reach)}; write padding_value="replicate"'
                )

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        return Size(inputs[0].format, (*self._output_extents(inputs[0]), self.num_filters))

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        window = self._window()
        channels, filters = inputs[0].channels, self.num_filters
        fans = (prod(window) * channels, prod(window) * filters)
        return self._weights_and_bias((*window, channels, filters), filters, fans)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        padding = self._padding(inputs[0])
        chain: list[Operation] = []
        if self.padding_value != 0 and any(padding):
            constant = not isinstance(self.padding_value, str)
            mode, value = ("constant", self.padding_value) if constant else (self.padding_value, 0.0)
            chain.append(Operation("pad", (), {"padding": padding, "mode": mode, "value": value}))
            padding = (0,) * len(padding)
        attributes = {"stride": self._stride(), "dilation": self._dilation(), "padding": padding, "groups": 1}
        return (*chain, Operation("convolution", ("weights",), attributes), Operation("bias", ("bias",)))


@dataclass(frozen=True, eq=False)
class Convolution2dLayer(ConvolutionLayer):
    """Two-dimensional convolution of images (H, W, C): `Convolution2dLayer(3, 16, padding="same")`.

    See `ConvolutionLayer` for the formula and the properties.
    """

    kind: ClassVar[str] = "conv"
    rank: ClassVar[int] = 2
