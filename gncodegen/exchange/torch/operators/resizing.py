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


OPERATORS: Mapping[str, Row] = {
    **{f"upsample_nearest{rank}d": row(resized("nearest", "asymmetric"), "Resize") for rank in (1, 2, 3)},
    **{
        f"_upsample_nearest_exact{rank}d": row(resized("nearest", "half_pixel", "round_prefer_ceil"), "Resize")
        for rank in (1, 2, 3)
    },
    "upsample_linear1d": row(resized("linear", "half_pixel"), "Resize"),
    "upsample_bilinear2d": row(resized("linear", "half_pixel"), "Resize"),
    "upsample_trilinear3d": row(resized("linear", "half_pixel"), "Resize"),
    "upsample_bicubic2d": row(resized("cubic", "half_pixel"), "Resize"),
    "_upsample_bilinear2d_aa": row(antialiased("linear"), "Resize"),
    "_upsample_bicubic2d_aa": row(antialiased("cubic", cubic_coeff_a=-0.5), "Resize"),
}
