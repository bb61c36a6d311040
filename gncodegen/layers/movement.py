"""Layers that only move elements of images: cropping, and channels that become positions."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from gncodegen.errors import LayerError
from gncodegen.layers.base import Attribute, Layer, Operation, Size
from gncodegen.layers.checks import PositiveInt, non_negative_int, one_of, tuple_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIDES = tuple_of(non_negative_int, (2, 4, 6), "two ints ≥ 0 per spatial axis", "(1, 1, 0, 2)")


@dataclass(frozen=True, eq=False)
class CropLayer(Layer):
    """Cuts elements off the ends of the spatial axes.

    Args:
        cropping: for an image (top, bottom, left, right); for each spatial axis how many at its start and at its end.
    """

    cropping: Annotated[tuple[int, ...], _SIDES]
    kind: ClassVar[str] = "crop"

    def _axes(self, size: Size) -> Iterator[tuple[int, int, int]]:
        """Axis within the observation, start and length of what stays."""
        axes = [axis for axis, letter in enumerate(size.format) if letter == "S"]
        for axis, low, high in zip(axes, self.cropping[::2], self.cropping[1::2], strict=False):
            yield axis, low, size.shape[axis] - low - high

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        shape, count = list(inputs[0].shape), 2 * len(inputs[0].spatial)
        if len(self.cropping) != count:
            raise LayerError(
                f"cropping = {self.cropping} for the input {inputs[0]}, which has {count // 2} spatial axes; "
                f"allowed: {count} ints; give two per spatial axis"
            )
        for axis, _, length in self._axes(inputs[0]):
            shape[axis] = length
        if min(shape) < 1:
            raise LayerError(f"cropping = {self.cropping} leaves nothing of the input {inputs[0]}; crop less")
        return Size(inputs[0].format, tuple(shape))

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        kept = self._axes(inputs[0])
        return tuple(
            Operation("slice", (), {"start": start, "length": length, "axis": axis + 1})
            for axis, start, length in kept
            if length < inputs[0].shape[axis]
        )


@dataclass(frozen=True, eq=False)
class _BlockLayer(Layer):
    """A layer with blocks of positions that become channels, or that channels become."""

    block: PositiveInt
    _: KW_ONLY
    order: Annotated[str, one_of("depth-first", "column-first")] = "depth-first"

    def _image(self, size: Size) -> tuple[int, ...]:
        """Height, width and channels."""
        if size.format not in ("SSC", "TSSC"):
            raise LayerError(
                f"the input {size} has {size.format.count('S')} spatial axes; allowed: SSC, TSSC; "
                "put the layer where images are"
            )
        return size.shape[-3:]

    def _sized(self, size: Size, image: tuple[int, ...]) -> Size:
        """The size with other images."""
        return Size(size.format, (*size.shape[:-3], *image))

    def _chain(
        self, size: Size, apart: tuple[int, ...], permutation: tuple[int, ...], shape: tuple[int, ...]
    ) -> tuple[Operation, ...]:
        """Reshape each image to `apart`, transpose, reshape to `shape`, the output's; batch and steps come first."""
        steps = size.shape[:-3]
        ahead = 1 + len(steps)
        order: dict[str, Attribute] = {"permutation": (*range(ahead), *(axis + ahead for axis in permutation))}
        return (
            Operation("reshape", (), {"shape": (*steps, *apart)}),
            Operation("transpose", (), order),
            Operation("reshape", (), {"shape": shape}),
        )


@dataclass(frozen=True, eq=False)
class DepthToSpaceLayer(_BlockLayer):
    """(H, W, b²·C) → (b·H, b·W, C): the channels of a position become a block of b × b positions.

    Args:
        block: b.
        order: how channels are numbered: "depth-first" = (row, column, channel), as in TensorFlow and ONNX's DCR;
            "column-first" = (channel, row, column), as in torch.nn.PixelShuffle and ONNX's CRD.
    """

    kind: ClassVar[str] = "depth_to_space"

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        height, width, channels = self._image(inputs[0])
        if channels % self.block**2:
            raise LayerError(
                f"its input has {channels} channels; allowed: a multiple of block² = {self.block**2}; "
                "change the convolution in front"
            )
        image = (height * self.block, width * self.block, channels // self.block**2)
        return self._sized(inputs[0], image)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        height, width, _ = self._image(inputs[0])
        shape, b = self.output_size(inputs).shape, self.block
        if self.order == "depth-first":
            return self._chain(inputs[0], (height, width, b, b, shape[-1]), (0, 2, 1, 3, 4), shape)
        return self._chain(inputs[0], (height, width, shape[-1], b, b), (0, 3, 1, 4, 2), shape)


@dataclass(frozen=True, eq=False)
class SpaceToDepthLayer(_BlockLayer):
    """(b·H, b·W, C) → (H, W, b²·C): each block of b × b positions becomes the channels of one.

    Args:
        block: b.
        order: how channels are numbered, as in `DepthToSpaceLayer`.
    """

    kind: ClassVar[str] = "space_to_depth"

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        height, width, channels = self._image(inputs[0])
        if height % self.block or width % self.block:
            raise LayerError(f"its input is {inputs[0]}; allowed: multiples of block = {self.block}; pad or crop it")
        image = (height // self.block, width // self.block, channels * self.block**2)
        return self._sized(inputs[0], image)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        shape, b, channels = self.output_size(inputs).shape, self.block, inputs[0].channels
        apart = (shape[-3], b, shape[-2], b, channels)
        order = (0, 2, 1, 3, 4) if self.order == "depth-first" else (0, 2, 4, 1, 3)
        return self._chain(inputs[0], apart, order, shape)
