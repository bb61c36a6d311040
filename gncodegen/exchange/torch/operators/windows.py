"""Convolutions, pools and normalizations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.exchange.torch.call import Array, Call, Row, per_axis, require, row
from gncodegen.exchange.torch.operators.resizing import to_sizes


def _spatial(call: Call) -> int:
    """The spatial axes of the first argument, which has observations and channels in front of them."""
    return call.rank(call.first) - 2


def _pads(sides: list[int]) -> list[int]:
    """The same on both sides, as ONNX says it: all begins, then all ends."""
    return [*sides, *sides]


def convolution(call: Call) -> Array:
    """Y = x ⋆ w + b, or its adjoint."""
    rank, window = _spatial(call), call.shape_of(call["weight"])[2:]
    dilation, padding = per_axis(call["dilation"], rank), call["padding"]
    if isinstance(padding, str):
        totals = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, window, strict=True)]
        pads = [total // 2 for total in totals] + [total - total // 2 for total in totals]
    else:
        pads = _pads(per_axis(padding, rank))
    shared: dict[str, Any] = {
        "strides": per_axis(call["stride"], rank),
        "dilations": dilation,
        "pads": pads,
        "group": int(call["groups"]),
    }
    operands = (call["input"], call["weight"], call.get("bias"))
    if call.get("transposed", "output_padding" in call.arguments and "transposed" not in call.arguments):
        return call.emit("ConvTranspose", *operands, output_padding=per_axis(call["output_padding"], rank), **shared)
    return call.emit("Conv", *operands, **shared)


def _one_each(channels: int, window: Sequence[int], dense: bool) -> NDArray[Any]:
    """Weights of filters that have a 1 at one place of one channel's window: channel by channel, place by place."""
    count = prod(window)
    ones = np.eye(count, dtype=np.float32).reshape(count, *window)
    if not dense:
        return np.tile(ones, (channels, *(1 for _ in window)))[:, None]
    apart = np.eye(channels, dtype=np.float32)[:, None, :, *(None for _ in window)] * ones[None, :, None]
    return apart.reshape(channels * count, channels, *window)


def unfolded(call: Call) -> Array:
    """The elements of every window as channels: a convolution whose filters pick one each."""
    window, channels = per_axis(call["kernel_size"], 2), call.shape_of(call.first)[1]
    found = call.emit(
        "Conv", call.first, _one_each(channels, window, False), strides=per_axis(call["stride"], 2),
        dilations=per_axis(call["dilation"], 2), pads=_pads(per_axis(call["padding"], 2)), group=channels, learned=0,
    )  # fmt: skip
    return call.reshape(found, call.shape)


def folded(call: Call) -> Array:
    """Its adjoint: windows that overlap are added."""
    window, sides = per_axis(call["kernel_size"], 2), per_axis(call["padding"], 2)
    stride, dilation = per_axis(call["stride"], 2), per_axis(call["dilation"], 2)
    extents, count = per_axis(call["output_size"], 2), prod(window)
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    rows = [
        (n + 2 * side - span) // step + 1 for n, side, span, step in zip(extents, sides, spans, stride, strict=True)
    ]
    more = [
        n - ((number - 1) * step + span - 2 * side)
        for n, number, step, span, side in zip(extents, rows, stride, spans, sides, strict=True)
    ]
    observations, channels = call.shape_of(call.first)[0], call.shape_of(call.first)[1] // count
    return call.emit(
        "ConvTranspose", call.reshape(call.first, (observations, channels * count, *rows)),
        _one_each(channels, window, True), strides=stride, dilations=dilation, pads=_pads(sides),
        output_padding=more, learned=0,
    )  # fmt: skip


def _window(call: Call, rank: int) -> dict[str, Any]:
    """The attributes that pools share."""
    window = per_axis(call["kernel_size"], rank)
    return {
        "kernel_shape": window,
        "strides": per_axis(call.get("stride") or window, rank),
        "pads": _pads(per_axis(call["padding"], rank)),
        "ceil_mode": int(call["ceil_mode"]),
    }


def max_pool(call: Call) -> list[Array]:
    """The maximum of every window; where it stands is no result."""
    rank = _spatial(call)
    return [call.emit("MaxPool", call.first, dilations=per_axis(call["dilation"], rank), **_window(call, rank))]


def average_pool(call: Call) -> Array:
    """The mean of every window."""
    shared, divisor = _window(call, _spatial(call)), call.get("divisor_override")
    require(divisor is None or not shared["ceil_mode"], f"divisor_override = {divisor} with ceil_mode", "one of them")
    # Without padding nothing but whole windows is counted; the end that ceil_mode adds never is.
    counted = int((divisor is not None or bool(call.get("count_include_pad", True))) and any(shared["pads"]))
    found = call.emit("AveragePool", call.first, count_include_pad=counted, **shared)
    return found if divisor is None else call.emit("Mul", found, prod(shared["kernel_shape"]) / divisor)


def adaptive(kind: str) -> Callable[[Call], list[Array]]:
    """The conversion of a pool whose windows follow from the size of its result.

    Args:
        kind: "Average", or "Max", whose windows are of one size.
    """

    def convert(call: Call) -> list[Array]:
        extents, wanted = call.shape_of(call.first)[2:], per_axis(call["output_size"], _spatial(call))
        if set(wanted) == {1}:
            return [call.emit(f"Global{kind}Pool", call.first)]
        if any(n % m for n, m in zip(extents, wanted, strict=True)):
            said = f"a maximum of output_size = {wanted} over {list(extents)} positions"
            require(kind == "Average", said, "1, or divisors of the extents")
            return [to_sizes(call, wanted, mode="area")]
        window = [n // m for n, m in zip(extents, wanted, strict=True)]
        return [call.emit(f"{kind}Pool", call.first, kernel_shape=window, strides=window)]

    return convert


def group_norm(call: Call) -> Array:
    """Groups of channels."""
    operands = (call["input"], call.get("weight"), call.get("bias"))
    return call.emit("GroupNormalization", *operands, num_groups=int(call["num_groups"]), epsilon=float(call["eps"]))


def layer_norm(call: Call) -> list[Array]:
    """Over the last axes."""
    axis = call.rank(call["input"]) - len(call["normalized_shape"])
    operands = (call["input"], call.get("weight"), call.get("bias"))
    return [call.emit("LayerNormalization", *operands, axis=axis, epsilon=float(call["eps"]))]


def root_mean_square_norm(call: Call) -> Array:
    """X / sqrt(mean(x²) + epsilon) over the last axes, times a weight."""
    axes = [axis - len(call["normalized_shape"]) for axis in range(len(call["normalized_shape"]))]
    epsilon = float(call.get("eps", np.finfo(np.float32).eps))
    squares = call.emit("ReduceMean", call.emit("Pow", call["input"], 2.0), axes=axes, keepdims=1)
    found = call.emit("Div", call["input"], call.emit("Sqrt", call.emit("Add", squares, epsilon)))
    return found if call.get("weight") is None else call.emit("Mul", found, call["weight"])


def instance_norm(call: Call) -> Array:
    """Each channel of each observation."""
    require(bool(call["use_input_stats"]), "running statistics", "track_running_stats=False")
    operands = (call["input"], call.get("weight"), call.get("bias"))
    return call.emit("InstanceNormalization", *operands, epsilon=float(call["eps"]))


def batch_norm(call: Call) -> list[Array]:
    """With running statistics, which training changes."""
    mean, variance = call.get("running_mean"), call.get("running_var")
    require(mean is not None, "no running statistics", "track_running_stats=True")
    operands = (call["input"], call.get("weight"), call.get("bias"), mean, variance)
    momentum, epsilon = 1.0 - float(call["momentum"]), float(call["eps"])
    return [call.emit("BatchNormalization", *operands, momentum=momentum, epsilon=epsilon)]


def single(convert: Callable[[Call], list[Array]], *operators: str) -> Row:
    """A row whose one result is no list."""
    return row(lambda call: convert(call)[0], *operators)


OPERATORS: Mapping[str, Row] = {
    **{f"conv{rank}d": row(convolution, "Conv") for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": row(convolution, "ConvTranspose") for rank in (1, 2, 3)},
    "im2col": row(unfolded, "Conv", "Reshape"),
    "col2im": row(folded, "Reshape", "ConvTranspose"),
    "convolution": row(convolution, "Conv", "ConvTranspose"),
    **{f"max_pool{rank}d": single(max_pool, "MaxPool") for rank in (1, 2, 3)},
    **{f"max_pool{rank}d_with_indices": row(max_pool, "MaxPool") for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": row(average_pool, "AveragePool") for rank in (1, 2, 3)},
    **{
        f"adaptive_avg_pool{rank}d": single(adaptive("Average"), "GlobalAveragePool", "AveragePool", "Resize")
        for rank in (1, 2, 3)
    },
    **{f"adaptive_max_pool{rank}d": row(adaptive("Max"), "GlobalMaxPool", "MaxPool") for rank in (1, 2, 3)},
    "group_norm": row(group_norm, "GroupNormalization"),
    "layer_norm": single(layer_norm, "LayerNormalization"),
    "native_layer_norm": row(layer_norm, "LayerNormalization"),
    "rms_norm": row(root_mean_square_norm, "Pow", "ReduceMean", "Sqrt", "Div"),
    "instance_norm": row(instance_norm, "InstanceNormalization"),
    "batch_norm": single(batch_norm, "BatchNormalization"),
    "_native_batch_norm_legit": row(batch_norm, "BatchNormalization"),
    "_native_batch_norm_legit_no_training": row(batch_norm, "BatchNormalization"),
    "_native_batch_norm_legit_functional": row(batch_norm, "BatchNormalization"),
}  # fmt: skip
