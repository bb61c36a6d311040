"""Pooling layers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, ClassVar

from gncodegen.layers.base import Attribute, Layer, Operation, Size
from gncodegen.layers.checks import number_where, one_of, per_axis, positive_int
from gncodegen.layers.geometry import per_axis as one_per_axis
from gncodegen.layers.windows import WindowLayer, require_rank


@dataclass(frozen=True, eq=False)
class PoolingLayer(WindowLayer):
    """A window that slides over `rank` spatial axes and makes one number of what it sees, channel by channel.

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
        return Size(inputs[0].format, (*self._output_extents(inputs[0]), inputs[0].channels))


@dataclass(frozen=True, eq=False)
class MaxPooling2dLayer(PoolingLayer):
    """Largest number of each window; padding counts as -Inf. `MaxPooling2dLayer(2, stride=2)`; see `PoolingLayer`."""

    kind: ClassVar[str] = "maxpool"
    rank: ClassVar[int] = 2

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("max_pool", (), self._attributes(inputs[0])),)


def _is_zero(value: float) -> bool:
    return value == 0


@dataclass(frozen=True, eq=False)
class AveragePooling2dLayer(PoolingLayer):
    """Mean of each window; see `PoolingLayer`.

    Args:
        padding_value: 0 = padded positions count as zeros; "mean" = they do not count at all.
    """

    _: KW_ONLY
    padding_value: Annotated[float | str, number_where(_is_zero, "0", "0") | one_of("mean")] = 0.0
    kind: ClassVar[str] = "avgpool"
    rank: ClassVar[int] = 2

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        counted = {"count_padding": self.padding_value != "mean"}
        return (Operation("average_pool", (), self._attributes(inputs[0]) | counted),)


@dataclass(frozen=True, eq=False)
class GlobalPoolingLayer(Layer):
    """One window over the whole spatial extent: (H, W, C) → (1, 1, C)."""

    rank: ClassVar[int]

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        require_rank(inputs[0], self.rank)
        return Size(inputs[0].format, (*(1,) * self.rank, inputs[0].channels))

    def _attributes(self, size: Size) -> dict[str, Attribute]:
        return {"window": size.spatial, "stride": (1,) * self.rank, "padding": (0,) * (2 * self.rank)}


@dataclass(frozen=True, eq=False)
class GlobalAveragePooling2dLayer(GlobalPoolingLayer):
    """Mean of each channel over all positions: (H, W, C) → (1, 1, C)."""

    kind: ClassVar[str] = "gapool"
    rank: ClassVar[int] = 2

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("average_pool", (), self._attributes(inputs[0]) | {"count_padding": True}),)


@dataclass(frozen=True, eq=False)
class GlobalMaxPooling2dLayer(GlobalPoolingLayer):
    """Largest number of each channel over all positions: (H, W, C) → (1, 1, C)."""

    kind: ClassVar[str] = "gmpool"
    rank: ClassVar[int] = 2

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("max_pool", (), self._attributes(inputs[0])),)
