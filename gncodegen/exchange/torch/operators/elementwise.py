"""What treats every element alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from gncodegen.exchange.construction import Unsupported
from gncodegen.exchange.torch.call import Array, Call, Row, require, row


def same(operator: str, **attributes: float) -> Row:
    """The row of a function that both have, with constants."""
    return row(lambda call: call.emit(operator, call.first, **attributes), operator)


def given(operator: str, **names: str) -> Row:
    """The same, with attributes that are arguments of other names."""

    def convert(call: Call) -> Array:
        return call.emit(operator, call.first, **{name: call[argument] for name, argument in names.items()})

    return row(convert, operator)


def elu(call: Call) -> Array:
    """Elu with factors outside and inside; selu and celu are forms of it."""
    alpha, scale, input_scale = (float(call.get(name, 1)) for name in ("alpha", "scale", "input_scale"))
    if scale == 1 and input_scale == 1:
        return call.emit("Elu", call.first, alpha=alpha)
    if scale == 1 and np.isclose(input_scale * alpha, 1):
        return call.emit("Celu", call.first, alpha=alpha)
    require(input_scale == 1, f"input_scale = {input_scale}", "1, or 1 / alpha")
    return call.emit("Selu", call.first, alpha=alpha, gamma=scale)


def softplus(call: Call) -> Array:
    """Ln(1 + exp(beta · x)) / beta."""
    beta = float(call.get("beta", 1))
    if beta == 1:
        return call.emit("Softplus", call.first)
    return call.emit("Mul", call.emit("Softplus", call.emit("Mul", call.first, beta)), 1 / beta)


def log_sigmoid(call: Call) -> Array:
    """- softplus(- x)."""
    return call.emit("Neg", call.emit("Softplus", call.emit("Neg", call.first)))


def clip(low: str, high: str) -> Callable[[Call], Array]:
    """The conversion of a function with bounds under these names."""

    def convert(call: Call) -> Array:
        given = [call.get(name) for name in (low, high)]
        bounds = [call.known(each) for each in given]
        if all(
            each is None or (bound is not None and bound.size == 1) for each, bound in zip(given, bounds, strict=True)
        ):
            return call.emit("Clip", call.first, *bounds)
        result = call.first
        for operator, bound in zip(("Max", "Min"), given, strict=True):
            result = result if bound is None else call.emit(operator, result, bound)
        return result

    return convert


def rounded(call: Call) -> Array:
    """The nearest whole number, of two the even one."""
    require(call.get("decimals", 0) == 0, f"decimals = {call.get('decimals')}", "0")
    return call.emit("Round", call.first)


def truncated(call: Call) -> Array:
    """The whole number next to x towards 0."""
    return call.emit("Mul", call.emit("Sign", call.first), call.emit("Floor", call.emit("Abs", call.first)))


def logarithm(base: float) -> Callable[[Call], Array]:
    """The conversion of the logarithm to a base."""
    return lambda call: call.emit("Mul", call.emit("Log", call.first), 1 / np.log(base))


def threshold(call: Call) -> Array:
    """X above a threshold, else a value."""
    least, value = float(call["threshold"]), float(call["value"])
    if value == 0 and least >= 0:
        return call.emit("ThresholdedRelu", call.first, alpha=least)
    return call.emit("Where", call.emit("LessOrEqual", call.first, least), value, call.first)


def mean_slope(call: Call) -> Array:
    """A leaky relu whose slope is drawn in training: in prediction, the mean of its bounds."""
    return call.emit("LeakyRelu", call.first, alpha=(call["lower"] + call["upper"]) / 2)


def prelu(call: Call) -> Array:
    """One slope, or one per channel."""
    slope = call.known(call["weight"])
    if slope is None:
        raise Unsupported("its slopes are computed at run time; allowed: constants")
    axes = [1] * max(call.rank(call.first) - 2, 0)
    return call.emit("PRelu", call.first, slope if slope.size == 1 else slope.reshape(-1, *axes))


def dropout(call: Call) -> list[Array]:
    """Active in training mode alone; the mask is no result."""
    training = call.get("train", True)
    return [call.emit("Dropout", call.first, ratio=float(call["p"])) if training else call.emit("Identity", call.first)]


def cast(call: Call) -> Array:
    """Nothing between floats and conditions; whole numbers are floats without a fraction."""
    kind = call.dtype
    if kind == "torch.bool":
        return call.emit("Not", call.emit("Equal", call.first, 0.0))
    if kind in ("torch.int64", "torch.int32"):
        return truncated(call)
    if kind == "torch.uint8":
        return call.emit("Mod", truncated(call), 256.0)
    allowed = ("torch.float32", "torch.float64", "torch.int64", "torch.int32", "torch.uint8", "torch.bool")
    require(kind in allowed, f"dtype = {kind}", ", ".join(allowed))
    return call.emit("Identity", call.first)


def gated(call: Call) -> Array:
    """A half times the sigmoid of the other."""
    axis = call.axis(call.get("dim", -1), call.first)
    half, gate = call.emit_several("Split", 2, call.first, axis=axis)
    return call.emit("Mul", half, call.emit("Sigmoid", gate))


def along(operator: str) -> Row:
    """The row of a function along one axis."""
    return row(lambda call: call.emit(operator, call.first, axis=call.axis(call["dim"], call.first)), operator)


OPERATORS: Mapping[str, Row] = {
    **{
        name: same(operator)
        for name, operator in {
            "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "mish": "Mish", "silu": "Swish", "selu": "Selu",
            "hardswish": "HardSwish", "abs": "Abs", "neg": "Neg", "sqrt": "Sqrt", "exp": "Exp", "log": "Log",
            "reciprocal": "Reciprocal", "erf": "Erf", "special_erf": "Erf", "floor": "Floor", "ceil": "Ceil",
            "sign": "Sign", "sgn": "Sign", "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos",
            "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh",
            "clone": "Identity", "alias": "Identity", "detach": "Identity",
            "contiguous": "Identity", "lift_fresh_copy": "Identity",
        }.items()
    },
    "round": row(rounded, "Round"),
    "trunc": row(truncated, "Sign", "Abs", "Floor", "Mul"),
    "frac": row(lambda call: call.emit("Sub", call.first, truncated(call)), "Sign", "Abs", "Floor", "Mul", "Sub"),
    "expm1": row(lambda call: call.emit("Sub", call.emit("Exp", call.first), 1.0), "Exp", "Sub"),
    "log1p": row(lambda call: call.emit("Log", call.emit("Add", call.first, 1.0)), "Add", "Log"),
    "log2": row(logarithm(2.0), "Log", "Mul"),
    "log10": row(logarithm(10.0), "Log", "Mul"),
    "exp2": row(lambda call: call.emit("Pow", 2.0, call.first), "Pow"),
    "hardsigmoid": same("HardSigmoid", alpha=1 / 6, beta=0.5),
    "relu6": row(lambda call: call.emit("Clip", call.first, 0.0, 6.0), "Clip"),
    "leaky_relu": given("LeakyRelu", alpha="negative_slope"),
    "rrelu": row(mean_slope, "LeakyRelu"),
    "gelu": given("Gelu", approximate="approximate"),
    "elu": row(elu, "Elu", "Celu", "Selu"),
    "celu": row(elu, "Celu"),
    "softplus": row(softplus, "Softplus"),
    "log_sigmoid": row(log_sigmoid, "Neg", "Softplus"),
    "log_sigmoid_forward": row(lambda call: [log_sigmoid(call)], "Neg", "Softplus"),
    "hardtanh": row(clip("min_val", "max_val"), "Clip"),
    "clamp": row(clip("min", "max"), "Clip", "Max", "Min"),
    "clamp_min": row(clip("min", "none"), "Clip", "Max", "Min"),
    "clamp_max": row(clip("none", "max"), "Clip", "Max", "Min"),
    "threshold": row(threshold, "ThresholdedRelu", "LessOrEqual", "Where"),
    "prelu": row(prelu, "PRelu"),
    "_prelu_kernel": row(prelu, "PRelu"),
    "dropout": row(lambda call: dropout(call)[0], "Dropout"),
    "native_dropout": row(dropout, "Dropout"),
    **{
        name: row(cast, "Identity", "Equal", "Not", "Sign", "Abs", "Floor", "Mul", "Mod")
        for name in ("_to_copy", "to", "type_as")
    },
    "glu": row(gated, "Split", "Sigmoid", "Mul"),
    "softmax": along("Softmax"),
    "_softmax": along("Softmax"),
    "log_softmax": along("LogSoftmax"),
    "_log_softmax": along("LogSoftmax"),
}  # fmt: skip
