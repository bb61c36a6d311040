"""Interpolation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from gncodegen.exchange.torch.call import Array, Call, Row, row


def _scales(call: Call, rank: int) -> list[float]:
    """The factor of each axis that was said, else what the sizes give."""
    extents, sizes = call.shape_of(call.first)[2:], call.shape[2:]
    said = call.get("scale_factors") or [call.get(name) for name in (("scales",) if rank == 1 else _NAMES[-rank:])]
    pairs = zip(said, extents, sizes, strict=True)
    return [float(scale) if scale else size / extent for scale, extent, size in pairs]


_NAMES = ("scales_d", "scales_h", "scales_w")


def resized(mode: str, places: str, rounding: str = "floor") -> Callable[[Call], Array]:
    """The conversion of an interpolation.

    Args:
        mode: "nearest" or "linear".
        places: where outputs lie among the inputs, as ONNX says it, unless corners are aligned.
        rounding: which input is the nearest.
    """

    def convert(call: Call) -> Array:
        own = "align_corners" if call.get("align_corners", False) else places
        factors = np.asarray([1.0, 1.0, *_scales(call, len(call.shape) - 2)])
        attributes = {"mode": mode, "coordinate_transformation_mode": own, "nearest_mode": rounding}
        return call.emit("Resize", call.first, None, factors, **attributes)

    return convert


OPERATORS: Mapping[str, Row] = {
    **{f"upsample_nearest{rank}d": row(resized("nearest", "asymmetric"), "Resize") for rank in (1, 2, 3)},
    **{
        f"_upsample_nearest_exact{rank}d": row(resized("nearest", "half_pixel", "round_prefer_ceil"), "Resize")
        for rank in (1, 2, 3)
    },
    "upsample_linear1d": row(resized("linear", "half_pixel"), "Resize"),
    "upsample_bilinear2d": row(resized("linear", "half_pixel"), "Resize"),
    "upsample_trilinear3d": row(resized("linear", "half_pixel"), "Resize"),
}
