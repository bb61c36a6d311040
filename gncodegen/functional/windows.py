"""Convolutions, pools and products of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gncodegen.errors import ArrayError
from gncodegen.functional.call import Given
from gncodegen.functional.form import Form
from gncodegen.functional.prepared import kind, order_of
from gncodegen.layers.base import Layer
from gncodegen.layers.convolution import (
    Convolution1dLayer,
    Convolution2dLayer,
    Convolution3dLayer,
    GroupedConvolution1dLayer,
    GroupedConvolution2dLayer,
    GroupedConvolution3dLayer,
)
from gncodegen.layers.dense import FullyConnectedLayer
from gncodegen.layers.pooling import (
    AveragePooling1dLayer,
    AveragePooling2dLayer,
    AveragePooling3dLayer,
    MaxPooling1dLayer,
    MaxPooling2dLayer,
    MaxPooling3dLayer,
)
from gncodegen.layers.transposed_convolution import (
    TransposedConvolution1dLayer,
    TransposedConvolution2dLayer,
    TransposedConvolution3dLayer,
)
from gncodegen.runtime.arrays import as_array

Window = int | tuple[int, ...]

CONVOLUTIONS = {1: Convolution1dLayer, 2: Convolution2dLayer, 3: Convolution3dLayer}
GROUPED = {1: GroupedConvolution1dLayer, 2: GroupedConvolution2dLayer, 3: GroupedConvolution3dLayer}
TRANSPOSED = {1: TransposedConvolution1dLayer, 2: TransposedConvolution2dLayer, 3: TransposedConvolution3dLayer}
MAXIMUM = {1: MaxPooling1dLayer, 2: MaxPooling2dLayer, 3: MaxPooling3dLayer}
AVERAGE = {1: AveragePooling1dLayer, 2: AveragePooling2dLayer, 3: AveragePooling3dLayer}


@Form
def convolution(
    x: Any,
    weights: Any,
    bias: Any = None,
    *,
    num_groups: int = 1,
    stride: Window = 1,
    padding: str | Window = 0,
    padding_value: float | str = 0.0,
    dilation_factor: Window = 1,
    data_format: str | None = None,
) -> Given:
    """Cross-correlation over one to three axes, plus a bias; the formula is that of `Convolution2dLayer`.

    Args:
        x: array with a C axis; float64 is computed in float64, everything else in float32.
        weights: (*filter size, C / num_groups, K).
        bias: (K,); None = zeros.
        num_groups: of channels and filters; as many as channels for a channel-wise convolution.
        stride: step between window positions, one int or one per axis.
        padding: as of `Convolution2dLayer`.
        padding_value: likewise.
        dilation_factor: step between the window's elements.
        data_format: axis order of x, as for `groupnorm`; the window slides over its axes in the order T, S.

    Returns:
        array with K channels, in the same order of axes.
    """
    *filter_size, channels, filters = _extents("convolution", weights)
    shared = {"stride": stride, "padding": padding, "padding_value": padding_value, "dilation_factor": dilation_factor}
    if not isinstance(num_groups, int) or num_groups < 1 or filters % num_groups:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArrayError(
            f"convolution: num_groups = {num_groups!r} for {filters} filters; allowed: an int that divides them; write "
            "num_groups=1"
        )
    rank, window = len(filter_size), tuple(filter_size)
    if num_groups == 1:
        layer = kind(CONVOLUTIONS[rank], window, filters, num_channels=channels, **shared)
    else:
        every = channels * num_groups
        layer = kind(GROUPED[rank], window, filters // num_groups, num_groups, num_channels=every, **shared)
    return Given(layer, x, {"weights": weights, "bias": bias}, data_format)


@Form
def transposed_convolution(
    x: Any,
    weights: Any,
    bias: Any = None,
    *,
    stride: Window = 1,
    cropping: str | Window = 0,
    dilation_factor: Window = 1,
    data_format: str | None = None,
) -> Given:
    """The adjoint of a convolution, plus a bias; the formula is that of `TransposedConvolution2dLayer`.

    Args:
        x: as for `convolution`.
        weights: (*filter size, K, C).
        bias: (K,); None = zeros.
        stride: distance of neighbouring inputs in the output.
        cropping: as of `TransposedConvolution2dLayer`.
        dilation_factor: step between the window's elements.
        data_format: as for `convolution`.
    """
    *filter_size, filters, channels = _extents("transposed_convolution", weights)
    shared = {"stride": stride, "cropping": cropping, "dilation_factor": dilation_factor, "num_channels": channels}
    layer = kind(TRANSPOSED[len(filter_size)], tuple(filter_size), filters, **shared)
    return Given(layer, x, {"weights": weights, "bias": bias}, data_format)


@Form
def fullyconnect(x: Any, weights: Any, bias: Any = None, *, data_format: str | None = None) -> Given:
    """Weights · flatten(x) + bias, with S and C flattened in the order (S, C), at each time step alike.

    Args:
        x: as for `convolution`.
        weights: (K, inputs).
        bias: (K,); None = zeros.
        data_format: as for `convolution`.

    Returns:
        (N, K), or over time (N, T, K), in the order of axes of x.
    """
    shape = _shape(weights, "fullyconnect: weights")
    if len(shape) != 2:
        raise ArrayError(f"fullyconnect: weights of shape {shape}; allowed: (K, inputs); reshape them")
    return Given(kind(FullyConnectedLayer, shape[0]), x, {"weights": weights, "bias": bias}, data_format)


@Form
def maxpool(
    x: Any, pool_size: Window, *, stride: Window = 1, padding: str | Window = 0, data_format: str | None = None
) -> Given:
    """The largest number of each window; padding counts as −Inf.

    Args:
        x: as for `convolution`.
        pool_size: window extents, one per axis; or one int for all S axes, or for T where there is no S.
        stride: step between window positions.
        padding: as of `MaxPooling2dLayer`.
        data_format: as for `convolution`.
    """
    return _pool("maxpool", MAXIMUM, x, pool_size, data_format, stride=stride, padding=padding)


@Form
def avgpool(
    x: Any,
    pool_size: Window,
    *,
    stride: Window = 1,
    padding: str | Window = 0,
    padding_value: float | str = 0.0,
    data_format: str | None = None,
) -> Given:
    """The mean of each window; padding counts as zeros, or not at all: padding_value = "mean"; else as `maxpool`."""
    properties = {"stride": stride, "padding": padding, "padding_value": padding_value}
    return _pool("avgpool", AVERAGE, x, pool_size, data_format, **properties)


def _pool(
    form: str, layers: Mapping[int, type[Layer]], x: Any, pool_size: Any, data_format: str | None, **properties: Any
) -> Given:
    if isinstance(pool_size, (tuple, list)):
        rank = len(pool_size)
    else:
        letters = order_of(data_format, len(_shape(x, f"{form}: x")), form).letters
        rank = letters.count("S") or letters.count("T")
    if rank not in layers:
        raise ArrayError(
            f"{form}: a window of {rank} axes; allowed: 1 to 3; give one extent per axis, and data_format where x has "
            "others than it seems"
        )
    return Given(kind(layers[rank], pool_size, **properties), x, {}, data_format)


def _shape(value: Any, what: str) -> tuple[int, ...]:
    """The extents of an array, also of one in a GPU's memory."""
    return tuple(value.shape) if hasattr(value, "shape") else as_array(value, what).shape


def _extents(form: str, weights: Any) -> tuple[int, ...]:
    shape = _shape(weights, f"{form}: weights")
    if len(shape) not in (3, 4, 5):
        raise ArrayError(
            f"{form}: weights of shape {shape}; allowed: one to three extents of the window and two numbers of "
            "channels; reshape them"
        )
    return shape
