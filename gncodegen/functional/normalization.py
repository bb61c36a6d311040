"""Normalizations of arrays."""

from __future__ import annotations

from typing import Any

from gncodegen.functional.call import Given
from gncodegen.functional.form import Form
from gncodegen.functional.prepared import kind
from gncodegen.layers.normalization import (
    BatchNormalizationLayer,
    GroupNormalizationLayer,
    InstanceNormalizationLayer,
    LayerNormalizationLayer,
)


@Form
def groupnorm(
    x: Any,
    num_groups: int | str,
    offset: Any,
    scale: Any,
    *,
    data_format: str | None = None,
    epsilon: float = 1e-5,
) -> Given:
    """Group normalization of an array: y = scale·(x − mean)/sqrt(variance + epsilon) + offset.

    Mean and population variance are taken per observation over a group's channels and all space and time positions.

    Args:
        x: array with a C axis; float64 is computed in float64, everything else in float32.
        num_groups: divides C, or "all-channels", or "channel-wise".
        offset: (C,).
        scale: (C,).
        data_format: one letter per axis of x, in any order: S space, C channel, B batch, T time;
            None = "BC", "BTC", "BSSC" or "BSSSC" by the number of axes.
        epsilon: > 0.

    Returns:
        array shaped like x.

    Raises:
        ArrayError: x, offset, scale or data_format do not fit.
        LayerError: num_groups or epsilon is out of range.
        NetworkError: num_groups does not divide C.

    Source: Y. Wu, K. He, Group Normalization, 2018.
    """
    layer = kind(GroupNormalizationLayer, num_groups, epsilon=epsilon)
    return Given(layer, x, {"offset": offset, "scale": scale}, data_format)


@Form
def instancenorm(x: Any, offset: Any, scale: Any, *, data_format: str | None = None, epsilon: float = 1e-5) -> Given:
    """Group normalization in which every channel is a group; arguments as of `groupnorm`."""
    layer = kind(InstanceNormalizationLayer, epsilon=epsilon)
    return Given(layer, x, {"offset": offset, "scale": scale}, data_format)


@Form
def layernorm(
    x: Any,
    offset: Any,
    scale: Any,
    *,
    operation_dimension: str = "auto",
    data_format: str | None = None,
    epsilon: float = 1e-5,
) -> Given:
    """Layer normalization: over the axes that `LayerNormalizationLayer` names; other arguments as of `groupnorm`."""
    layer = kind(LayerNormalizationLayer, operation_dimension=operation_dimension, epsilon=epsilon)
    return Given(layer, x, {"offset": offset, "scale": scale}, data_format)


@Form
def batchnorm(
    x: Any,
    offset: Any,
    scale: Any,
    mean: Any = None,
    variance: Any = None,
    *,
    data_format: str | None = None,
    epsilon: float = 1e-5,
) -> Given:
    """Batch normalization: every channel over all observations and positions, or by a mean and a variance (C,).

    Args:
        x: as for `groupnorm`.
        offset: (C,).
        scale: (C,).
        mean: None = that of x.
        variance: None = that of x; both are given, or none.
        data_format: as for `groupnorm`.
        epsilon: > 0.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015.
    """
    layer, own = kind(BatchNormalizationLayer, epsilon=epsilon), {"offset": offset, "scale": scale}
    if mean is None and variance is None:
        return Given(layer, x, own, data_format, training=True)
    return Given(layer, x, own | {"trained_mean": mean, "trained_variance": variance}, data_format)
