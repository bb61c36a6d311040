"""Pooling layers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, ClassVar

from gncodegen.layers.base import Attribute, Layer, Operation, Size
from gncodegen.layers.checks import number_where, one_of, per_axis, positive_int
from gncodegen.layers.geometry import per_axis as one_per_axis
from gncodegen.layers.windows import WindowLayer, resized, windowed


@dataclass(frozen=True, eq=False)
class PoolingLayer(WindowLayer):
    """A window that slides over `rank` axes and makes one number of what it sees, channel by channel.

    Args:
        pool_size: window extents, one int or one per axis.

    Stride (default 1) and padding, which must be smaller than the pool, are those of `WindowLayer`.
    """

    pool_size: int | tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle("pool_size", per_axis(positive_int, self.rank))
        if isinstance(self.padding, tuple):
            most = [extent - 1 for extent in self._window() for _ in range(2)]
            if any(pad > limit for pad, limit in zip(self.padding, most, strict=True)):
                raise self._refusal(
                    f"padding = {self.padding} with pool_size = {self.pool_size}",
                    f"padding smaller than the pool, up to {tuple(most)}",
                    'write padding="same"',
                )

    def _window(self) -> tuple[int, ...]:
        return one_per_axis(self.pool_size, self.rank)

    def _attributes(self, size: Size) -> dict[str, Attribute]:
        return {"window": self._window(), "stride": self._stride(), "padding": self._padding(size)}

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        return resized(inputs[0], self._output_extents(inputs[0]), inputs[0].channels)


@dataclass(frozen=True, eq=False)
class MaxPoolingLayer(PoolingLayer):
    """Largest number of each window; padding counts as -Inf; see `PoolingLayer`."""

    kind: ClassVar[str] = "maxpool"

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("max_pool", (), self._attributes(inputs[0])),)


class MaxPooling1dLayer(MaxPoolingLayer):
    """Maximum of windows of sequences or lines: `MaxPooling1dLayer(2, stride=2)`."""

    rank: ClassVar[int] = 1


class MaxPooling2dLayer(MaxPoolingLayer):
    """Maximum of windows of images: `MaxPooling2dLayer(2, stride=2)`."""

    rank: ClassVar[int] = 2


class MaxPooling3dLayer(MaxPoolingLayer):
    """Maximum of windows of volumes: `MaxPooling3dLayer(2, stride=2)`."""

    rank: ClassVar[int] = 3


def _is_zero(value: float) -> bool:
    return value == 0


@dataclass(frozen=True, eq=False)
class AveragePoolingLayer(PoolingLayer):
    """Mean of each window; see `PoolingLayer`.

    Args:
        padding_value: 0 = padded positions count as zeros; "mean" = they do not count at all.
    """

    _: KW_ONLY
    padding_value: Annotated[float | str, number_where(_is_zero, "0", "0") | one_of("mean")] = 0.0
    kind: ClassVar[str] = "avgpool"

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        counted = {"count_padding": self.padding_value != "mean"}
        return (Operation("average_pool", (), self._attributes(inputs[0]) | counted),)


class AveragePooling1dLayer(AveragePoolingLayer):
    """Mean of windows of sequences or lines: `AveragePooling1dLayer(2, stride=2)`."""

    rank: ClassVar[int] = 1


class AveragePooling2dLayer(AveragePoolingLayer):
    """Mean of windows of images: `AveragePooling2dLayer(2, stride=2)`."""

    rank: ClassVar[int] = 2


class AveragePooling3dLayer(AveragePoolingLayer):
    """Mean of windows of volumes: `AveragePooling3dLayer(2, stride=2)`."""

    rank: ClassVar[int] = 3


@dataclass(frozen=True, eq=False)
class GlobalPoolingLayer(Layer):
    """One window over the whole extent of `rank` axes: (H, W, C) → (1, 1, C).

    A T axis that it covers is gone: (T, C) → (C). Where there are `rank` S axes, it covers those, at each time step.
    """

    rank: ClassVar[int]

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        windowed(inputs[0], self.rank)
        covered = inputs[0].format[-self.rank - 1 : -1]
        kept = inputs[0].format[: -self.rank - 1]
        spatial = covered.count("S")
        shape = (*inputs[0].shape[: len(kept)], *(1,) * spatial, inputs[0].channels)
        return Size(kept + "S" * spatial + "C", shape)

    def _pooled(self, op: str, size: Size, **more: Attribute) -> tuple[Operation, ...]:
        window = windowed(size, self.rank)
        attributes: dict[str, Attribute] = {"window": window, "stride": (1,) * self.rank, "padding": (0, 0) * self.rank}
        whole = self.output_size((size,)).format == size.format
        return (Operation(op, (), attributes | more), *(() if whole else (Operation("reshape"),)))


class GlobalAveragePoolingLayer(GlobalPoolingLayer):
    """Mean of each channel over all positions; see `GlobalPoolingLayer`."""

    kind: ClassVar[str] = "gapool"

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return self._pooled("average_pool", inputs[0], count_padding=True)


class GlobalAveragePooling1dLayer(GlobalAveragePoolingLayer):
    """Mean of each channel over a sequence, (T, C) → (C), or a line, (W, C) → (1, C)."""

    rank: ClassVar[int] = 1


class GlobalAveragePooling2dLayer(GlobalAveragePoolingLayer):
    """Mean of each channel over an image: (H, W, C) → (1, 1, C)."""

    rank: ClassVar[int] = 2


class GlobalAveragePooling3dLayer(GlobalAveragePoolingLayer):
    """Mean of each channel over a volume: (H, W, D, C) → (1, 1, 1, C)."""

    rank: ClassVar[int] = 3


class GlobalMaxPoolingLayer(GlobalPoolingLayer):
    """Largest number of each channel over all positions; see `GlobalPoolingLayer`."""

    kind: ClassVar[str] = "gmpool"

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return self._pooled("max_pool", inputs[0])


class GlobalMaxPooling1dLayer(GlobalMaxPoolingLayer):
    """Largest number of each channel of a sequence, (T, C) → (C), or a line, (W, C) → (1, C)."""

    rank: ClassVar[int] = 1


class GlobalMaxPooling2dLayer(GlobalMaxPoolingLayer):
    """Largest number of each channel of an image: (H, W, C) → (1, 1, C)."""

    rank: ClassVar[int] = 2


class GlobalMaxPooling3dLayer(GlobalMaxPoolingLayer):
    """Largest number of each channel of a volume: (H, W, D, C) → (1, 1, 1, C)."""

    rank: ClassVar[int] = 3
