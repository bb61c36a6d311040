"""Convolution layers, plain and grouped, of one to three axes."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar

from gncodegen.layers.base import Operation, Parameter, Size
from gncodegen.layers.checks import Channels, PositiveInt, divisors, finite_number, one_of, per_axis, positive_int
from gncodegen.layers.geometry import per_axis as one_per_axis
from gncodegen.layers.learnables import WeightedLayer, channel_shape_errors
from gncodegen.layers.windows import WindowLayer, resized, windowed

if TYPE_CHECKING:
    from collections.abc import Iterator

_PADDING_MODES = ("symmetric-include-edge", "symmetric-exclude-edge", "replicate")


@dataclass(frozen=True, eq=False)
class CorrelationLayer(WindowLayer, WeightedLayer):
    """Cross-correlation over `rank` axes plus a bias, in independent groups of channels.

    y[p, k] = Σ_q Σ_c weights[q, c, k] · x[p · stride + q · dilation - before, c] + bias[k], where c runs over the
    channels of k's group.

    Args:
        filter_size: window extents, one int or one per axis.
        num_channels: input channels C; "auto" = as many as the input has.
        dilation_factor: step between the window's elements, one int or one per axis.
        padding_value: what stands in the padding: a number, "symmetric-include-edge", "symmetric-exclude-edge" or
            "replicate".

    Stride and padding are those of `WindowLayer`; weights (*filter_size, C / groups, K), bias (K,) and their factors
    those of `WeightedLayer`.
    """

    filter_size: int | tuple[int, ...]
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

    def _groups(self, size: Size) -> int:
        """Groups of channels, and of filters."""
        return 1

    def _filters(self, size: Size) -> int:
        """Output channels K."""
        raise NotImplementedError

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        yield from channel_shape_errors(self.num_channels, inputs[0])
        if str(self.padding_value).startswith("symmetric"):
            seen = windowed(inputs[0], self.rank)
            reach = [n - (self.padding_value == "symmetric-exclude-edge") for n in seen for _ in range(2)]
            pads = self._padding(inputs[0])
            if any(pad > most for pad, most in zip(pads, reach, strict=True)):
                yield (
                    f'padding = {pads} with padding_value="{self.padding_value}" mirrors more than the input '
                    f'{inputs[0]} has; allowed: up to {tuple(reach)}; write padding_value="replicate"'
                )

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        size = inputs[0]
        return resized(size, self._output_extents(size), self._filters(size))

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        size, window = inputs[0], self._window()
        groups, filters = self._groups(size), self._filters(size)
        channels = size.channels // groups
        fans = (prod(window) * channels, prod(window) * (filters // groups))
        return self._weights_and_bias((*window, channels, filters), filters, fans)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        padding = self._padding(inputs[0])
        chain: list[Operation] = []
        if self.padding_value != 0 and any(padding):
            constant = not isinstance(self.padding_value, str)
            mode, value = ("constant", self.padding_value) if constant else (self.padding_value, 0.0)
            chain.append(Operation("pad", (), {"padding": padding, "mode": mode, "value": value}))
            padding = (0,) * len(padding)
        groups = self._groups(inputs[0])
        attributes = {"stride": self._stride(), "dilation": self._dilation(), "padding": padding, "groups": groups}
        return (*chain, Operation("convolution", ("weights",), attributes), Operation("bias", ("bias",)))


@dataclass(frozen=True, eq=False)
class ConvolutionLayer(CorrelationLayer):
    """A correlation of all channels at once; see `CorrelationLayer` for the formula and the properties.

    Args:
        num_filters: output channels K.
    """

    num_filters: PositiveInt
    kind: ClassVar[str] = "conv"

    def _filters(self, size: Size) -> int:
        return self.num_filters


class Convolution1dLayer(ConvolutionLayer):
    """Convolution of sequences (T, C) or lines (W, C): `Convolution1dLayer(5, 16)`; see `ConvolutionLayer`."""

    rank: ClassVar[int] = 1


class Convolution2dLayer(ConvolutionLayer):
    """Convolution of images (H, W, C): `Convolution2dLayer(3, 16, padding="same")`; see `ConvolutionLayer`."""

    rank: ClassVar[int] = 2


class Convolution3dLayer(ConvolutionLayer):
    """Convolution of volumes (H, W, D, C): `Convolution3dLayer(3, 16, padding="same")`; see `ConvolutionLayer`."""

    rank: ClassVar[int] = 3


@dataclass(frozen=True, eq=False)
class GroupedConvolutionLayer(CorrelationLayer):
    """A correlation of each group of channels with filters of its own; see `CorrelationLayer`.

    Group g reads channels g · C / groups up to (g + 1) · C / groups and writes num_filters_per_group channels.

    Args:
        num_filters_per_group: output channels of each group; K is so many times the number of groups.
        num_groups: a divisor of C; or "channel-wise" = C groups.
    """

    num_filters_per_group: PositiveInt
    num_groups: Annotated[int | str, positive_int | one_of("channel-wise")]
    kind: ClassVar[str] = "groupedconv"

    def _groups(self, size: Size) -> int:
        return self.num_groups if isinstance(self.num_groups, int) else size.channels

    def _filters(self, size: Size) -> int:
        return self.num_filters_per_group * self._groups(size)

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        yield from super().shape_errors(inputs)
        channels = inputs[0].channels
        if channels % self._groups(inputs[0]):
            yield f"{channels} channels do not split into {self.num_groups} groups; divisors are {divisors(channels)}"


class GroupedConvolution1dLayer(GroupedConvolutionLayer):
    """Grouped convolution of sequences or lines: `GroupedConvolution1dLayer(5, 1, "channel-wise")`."""

    rank: ClassVar[int] = 1


class GroupedConvolution2dLayer(GroupedConvolutionLayer):
    """Grouped convolution of images: `GroupedConvolution2dLayer(3, 8, 4)` has 4 groups of 8 filters each."""

    rank: ClassVar[int] = 2


class GroupedConvolution3dLayer(GroupedConvolutionLayer):
    """Grouped convolution of volumes: `GroupedConvolution3dLayer(3, 8, 4)` has 4 groups of 8 filters each."""

    rank: ClassVar[int] = 3
