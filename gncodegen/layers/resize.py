"""Layers that make images larger or smaller by interpolation."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from math import floor
from typing import TYPE_CHECKING, Annotated, ClassVar

from gncodegen.errors import LayerError
from gncodegen.layers.base import Layer, Operation, Size
from gncodegen.layers.checks import finite_number, flag, one_of, optional, per_axis, positive_int, positive_number
from gncodegen.layers.geometry import per_axis as one_per_axis
from gncodegen.layers.resampling import COORDINATES, CUBIC, METHODS, ROUNDING, Resampling, along, is_identity

if TYPE_CHECKING:
    from collections.abc import Iterator


MOST_WEIGHTS = 1 << 27
"""Of an axis: inputs times outputs."""


@dataclass(frozen=True, eq=False)
class ResizeLayer(Layer):
    """Other extents for the `rank` S axes of an observation, at each time step alike, axis by axis.

    Args:
        extents: of the output, one int or one per axis; None = as `scale` says.
        scale: output extent = floor(scale · input extent), one number or one per axis; None = as `extents` says.
        method: "nearest"; along each axis "linear", which is bilinear for images, or "cubic"; or "area":
            the mean of the inputs that an output covers, as adaptive average pooling has it.
        geometric_transform_mode: where output i lies among the inputs. "half-pixel": (i + ½) / scale - ½;
            "asymmetric": i / scale; "align-corners": i · (input extent - 1) / (scale · input extent - 1), so first on
            first and, where scale · input extent is whole, last on last; "half-pixel-symmetric" and
            "half-pixel-or-first": half_pixel_symmetric and pytorch_half_pixel of ONNX.
        nearest_rounding_mode: "round" (half goes up), "floor", "ceil" or "round-half-down".
        antialias: to fewer outputs, "linear" and "cubic" take as many more inputs: their kernels are 1 / scale wider.
        exclude_outside: near the ends their kernels weigh the inputs that there are; else the first and the last
            input go on beyond the ends.
        cubic_coefficient: the parameter a of "cubic", -0.5 in Pillow.

    Raises:
        LayerError: both or neither of extents and scale are given; or, when the network is built, the input has
            another number of S axes, or nothing is left of it.
    """

    extents: int | tuple[int, ...] | None = None
    _: KW_ONLY
    scale: float | tuple[float, ...] | None = None
    method: Annotated[str, one_of(*METHODS)] = "nearest"
    geometric_transform_mode: Annotated[str, one_of(*COORDINATES)] = "half-pixel"
    nearest_rounding_mode: Annotated[str, one_of(*ROUNDING)] = "round"
    antialias: Annotated[bool, flag] = False
    exclude_outside: Annotated[bool, flag] = False
    cubic_coefficient: Annotated[float, finite_number] = CUBIC
    kind: ClassVar[str] = "resize"
    rank: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle("extents", optional(per_axis(positive_int, self.rank)))
        self._settle("scale", optional(per_axis(positive_number, self.rank)))
        if (self.extents is None) == (self.scale is None):
            given = "neither extents nor scale" if self.scale is None else "extents and scale"
            raise self._refusal(given, "one of both", "write scale=2")

    def _axes(self, size: Size) -> Iterator[tuple[int, int, int, float]]:
        """Axis within the observation, input and output extents, and scale, of every S axis."""
        axes = [axis for axis, letter in enumerate(size.format) if letter == "S"]
        if len(axes) != self.rank:
            raise LayerError(
                f"the input {size} has {len(axes)} spatial axes; allowed: {self.rank}; "
                f"take Resize{len(axes) or 2}dLayer, or put the layer where images are"
            )
        for place, axis in enumerate(axes):
            n = size.shape[axis]
            if self.extents is not None:
                m = one_per_axis(self.extents, self.rank)[place]
                scale = m / n
            else:
                scale = self.scale[place] if isinstance(self.scale, tuple) else self.scale or 1.0
                m = floor(min(n * scale, MOST_WEIGHTS + 1))
            if n * m > MOST_WEIGHTS:
                raise LayerError(
                    f"weights of {n:,} inputs in {n * scale:,.0f} outputs along an axis are {8 * n * n * scale:,.0f} "
                    f"bytes; allowed: up to {8 * MOST_WEIGHTS:,}; take fewer outputs, or fewer at a time"
                )
            yield axis, n, m, scale

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        shape = list(inputs[0].shape)
        for axis, _, m, _ in self._axes(inputs[0]):
            shape[axis] = m
        if min(shape) < 1:
            raise LayerError(f"scale = {self.scale} leaves nothing of the input {inputs[0]}; write a larger scale")
        return Size(inputs[0].format, tuple(shape))

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        how = Resampling(
            self.method, self.geometric_transform_mode, self.nearest_rounding_mode,
            self.antialias, self.exclude_outside, self.cubic_coefficient,
        )  # fmt: skip
        matrices = ((axis, how.matrix(n, m, scale)) for axis, n, m, scale in self._axes(inputs[0]))
        return tuple(along(matrix, axis + 1) for axis, matrix in matrices if not is_identity(matrix))


class Resize1dLayer(ResizeLayer):
    """Makes lines longer or shorter: `Resize1dLayer(scale=2)`; see `ResizeLayer`."""

    rank: ClassVar[int] = 1


class Resize2dLayer(ResizeLayer):
    """Makes images larger or smaller: `Resize2dLayer((32, 32), method="linear")`; see `ResizeLayer`."""

    rank: ClassVar[int] = 2


class Resize3dLayer(ResizeLayer):
    """Makes volumes larger or smaller: `Resize3dLayer(scale=2)`; see `ResizeLayer`."""

    rank: ClassVar[int] = 3
