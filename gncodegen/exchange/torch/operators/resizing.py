"""Interpolation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gncodegen.exchange.torch.call import Array, Call, Row, require, row


def _scales(call: Call) -> list[float] | None:
    """The factor of each axis; None where sizes were said, or corners are aligned, which the sizes alone decide."""
    rank = len(call.shape) - 2
    said = call.get("scale_factors") or [call.get(name) for name in (("scales",) if rank == 1 else _NAMES[-rank:])]
    return None if call.get("align_corners", False) or not all(said) else [float(each) for each in said]


_NAMES = ("scales_d", "scales_h", "scales_w")


def to_sizes(call: Call, sizes: Sequence[int], **attributes: Any) -> Array:
    """Emits a Resize whose last axes have these extents."""
    axes = list(range(2, 2 + len(sizes)))
    return call.emit("Resize", call.first, None, None, np.asarray(sizes), axes=axes, **attributes)


def resized(mode: str, places: str, rounding: str = "floor", **more: Any) -> Callable[[Call], Array]:
    """The conversion of an interpolation.

    Args:
        mode: as ONNX says it.
        places: where outputs lie among the inputs, as ONNX says it, unless corners are aligned.
        rounding: which input is the nearest.
        more: attributes of Resize.
    """

    def convert(call: Call) -> Array:
        own = "align_corners" if call.get("align_corners", False) else places
        scales = _scales(call)
        attributes = {"mode": mode, "coordinate_transformation_mode": own, "nearest_mode": rounding, **more}
        if scales is None:
            return to_sizes(call, call.shape[2:], **attributes)
        return call.emit("Resize", call.first, None, np.asarray([1.0, 1.0, *scales]), **attributes)

    return convert


def antialiased(mode: str, **more: Any) -> Callable[[Call], Array]:
    """The same as Pillow has it: with wider kernels, of the inputs that there are."""
    convert = resized(mode, "half_pixel", antialias=1, exclude_outside=1, **more)

    def checked(call: Call) -> Array:
        require(not call.get("align_corners", False), "antialias with align_corners", "one of them")
        return convert(call)

    return checked


SAMPLES, OUTSIDE = ("linear", "nearest", "cubic"), ("zeros", "border", "reflection")
"""Modes as ONNX names them, by torch's numbers."""


def sampled(call: Call) -> Array:
    """Images at places."""
    mode, outside = SAMPLES[int(call["interpolation_mode"])], OUTSIDE[int(call["padding_mode"])]
    corners = int(bool(call["align_corners"]))
    return call.emit("GridSample", call.first, call["grid"], mode=mode, padding_mode=outside, align_corners=corners)


def affine_grid(call: Call) -> Array:
    """The places of an image's elements, (column, row, 1), times a matrix for each observation."""
    extents = call.shape[1:-1]
    axes = [np.linspace(-1, 1, n) if call["align_corners"] else (np.arange(n) * 2 + 1) / n - 1 for n in extents]
    grids = np.meshgrid(*axes, indexing="ij")[::-1]
    places = np.stack([*grids, np.ones(extents)], -1).reshape(-1, len(extents) + 1)
    found = call.emit("MatMul", places, call.emit("Transpose", call["theta"], perm=[0, 2, 1]))
    return call.reshape(found, call.shape)


OPERATORS: Mapping[str, Row] = {
    **{f"upsample_nearest{rank}d": row(resized("nearest", "asymmetric"), "Resize") for rank in (1, 2, 3)},
    **{
        f"_upsample_nearest_exact{rank}d": row(resized("nearest", "half_pixel", "round_prefer_ceil"), "Resize")
        for rank in (1, 2, 3)
    },
    "grid_sampler": row(sampled, "GridSample"),
    "grid_sampler_2d": row(sampled, "GridSample"),
    "grid_sampler_3d": row(sampled, "GridSample"),
    "affine_grid_generator": row(affine_grid, "Transpose", "MatMul", "Reshape"),
    "upsample_linear1d": row(resized("linear", "half_pixel"), "Resize"),
    "upsample_bilinear2d": row(resized("linear", "half_pixel"), "Resize"),
    "upsample_trilinear3d": row(resized("linear", "half_pixel"), "Resize"),
    "upsample_bicubic2d": row(resized("cubic", "half_pixel"), "Resize"),
    "_upsample_bilinear2d_aa": row(antialiased("linear"), "Resize"),
    "_upsample_bicubic2d_aa": row(antialiased("cubic", cubic_coeff_a=-0.5), "Resize"),
}
