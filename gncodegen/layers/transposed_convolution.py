"""Transposed convolution: the layers that make images larger, of one to three axes."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar

from gncodegen.errors import LayerError
from gncodegen.layers.base import Operation, Parameter, Size
from gncodegen.layers.checks import Channels, PositiveInt, per_axis, positive_int
from gncodegen.layers.geometry import per_axis as one_per_axis
from gncodegen.layers.geometry import same_cropping, transposed_output, window_span
from gncodegen.layers.learnables import WeightedLayer, channel_shape_errors
from gncodegen.layers.windows import padding_check, resized, times, windowed

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, eq=False)
class TransposedConvolutionLayer(WeightedLayer):
    """The adjoint of a convolution over `rank` axes, plus a bias.

    y[p · stride + q · dilation - before, k] += Σ_c weights[q, k, c] · x[p, c], then + bias[k].
    The output has stride · (input - 1) + dilation · (filter_size - 1) + 1 - cropping elements per axis.

    Args:
        filter_size: window extents, one int or one per axis.
        num_filters: output channels K.
        stride: distance of neighbouring inputs in the output, one int or one per axis.
        dilation_factor: step between the window's elements, one int or one per axis.
        cropping: what is cut off the output: 0; "same" (output = input · stride); one int for every side;
            one per axis, such as (vertical, horizontal); or two per axis, such as (top, bottom, left, right).
        num_channels: input channels C; "auto" = as many as the input has.

    Weights (*filter_size, K, C), bias (K,) and their factors are those of `WeightedLayer`.

    Raises:
        LayerError: a property is out of range; or, when the network is built, cropping leaves no output.

    Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016.
    """

    filter_size: int | tuple[int, ...]
    num_filters: PositiveInt
    _: KW_ONLY
    stride: int | tuple[int, ...] = 1
    dilation_factor: int | tuple[int, ...] = 1
    cropping: int | str | tuple[int, ...] = 0
    num_channels: Channels = "auto"
    kind: ClassVar[str] = "transposedconv"
    rank: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle("filter_size", per_axis(positive_int, self.rank))
        self._settle("stride", per_axis(positive_int, self.rank))
        self._settle("dilation_factor", per_axis(positive_int, self.rank))
        self._settle("cropping", padding_check(self.rank))

    def _window(self) -> tuple[int, ...]:
        return one_per_axis(self.filter_size, self.rank)

    def _dilation(self) -> tuple[int, ...]:
        return one_per_axis(self.dilation_factor, self.rank)

    def _spans(self) -> tuple[int, ...]:
        """What the window covers, one per axis."""
        return tuple(window_span(*axis) for axis in zip(self._window(), self._dilation(), strict=True))

    def _stride(self) -> tuple[int, ...]:
        return one_per_axis(self.stride, self.rank)

    def _cropping(self) -> tuple[int, ...]:
        """What is cut off, two sides per axis."""
        if isinstance(self.cropping, str):
            axes = zip(self._spans(), self._stride(), strict=True)
            return tuple(side for axis in axes for side in same_cropping(*axis))
        return one_per_axis(self.cropping, 2 * self.rank)

    def _whole(self, size: Size) -> tuple[int, ...]:
        """The output's extents before cropping; "same" first fills what a short window does not reach."""
        axes = zip(windowed(size, self.rank), self._spans(), self._stride(), strict=True)
        if self.cropping == "same":
            return tuple(transposed_output(n, max(window, stride), stride) for n, window, stride in axes)
        return tuple(transposed_output(*axis) for axis in axes)

    def _output_extents(self, size: Size) -> tuple[int, ...]:
        """The output's extents along the window's axes; raises LayerError where cropping leaves none."""
        whole, sides = self._whole(size), self._cropping()
        extents = tuple(n - a - b for n, a, b in zip(whole, sides[::2], sides[1::2], strict=True))
        if min(extents) < 1:
            most = times(tuple(extent - 1 for extent in whole))
            raise LayerError(
                f"cropping = {sides} leaves nothing of the output {times(whole)} that the input {size} has; allowed: "
                f'up to {most} in total; crop less or write cropping="same"'
            )
        return extents

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        yield from channel_shape_errors(self.num_channels, inputs[0])

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        return resized(inputs[0], self._output_extents(inputs[0]), self.num_filters)

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        window = self._window()
        channels, filters = inputs[0].channels, self.num_filters
        fans = (prod(window) * channels, prod(window) * filters)
        return self._weights_and_bias((*window, filters, channels), filters, fans)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        attributes = {
            "extents": self._output_extents(inputs[0]),
            "stride": self._stride(),
            "dilation": self._dilation(),
            "padding": self._cropping(),
        }
        return (Operation("transposed_convolution", ("weights",), attributes), Operation("bias", ("bias",)))


class TransposedConvolution1dLayer(TransposedConvolutionLayer):
    """Makes sequences or lines longer: `TransposedConvolution1dLayer(2, 16, stride=2)`."""

    rank: ClassVar[int] = 1


class TransposedConvolution2dLayer(TransposedConvolutionLayer):
    """Makes images (H, W, C) larger: `TransposedConvolution2dLayer(2, 16, stride=2)`."""

    rank: ClassVar[int] = 2


class TransposedConvolution3dLayer(TransposedConvolutionLayer):
    """Makes volumes (H, W, D, C) larger: `TransposedConvolution3dLayer(2, 16, stride=2)`."""

    rank: ClassVar[int] = 3
