"""Networks that take arrays of a format."""

from __future__ import annotations

import gncodegen as gnc


def entrance(letters, shape):
    """An input layer of this size that does nothing."""
    if letters.startswith("T"):
        size = shape[1:] if len(shape) > 2 else shape[1]
        return gnc.SequenceInputLayer(size, min_length=shape[0])
    if letters == "SC":
        return gnc.TensorInputLayer(shape)
    if letters == "C":
        return gnc.FeatureInputLayer(*shape)
    layer = {"SSC": gnc.ImageInputLayer, "SSSC": gnc.Image3dInputLayer}[letters]
    return layer(shape, normalization="none")
