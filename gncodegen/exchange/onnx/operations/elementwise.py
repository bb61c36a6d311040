"""What treats every element alike, and functions of several arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from gncodegen.exchange.construction import Unsupported
from gncodegen.exchange.onnx.emission import Array
from gncodegen.exchange.onnx.operations.row import Emit, Row, Step, alike, chained


def _named(operator: str, *names: str) -> Emit:
    """An operator whose attributes are the function's alpha and beta."""
    return alike(operator, lambda step: dict(zip(names, _constants(step), strict=False)))


def _constants(step: Step) -> list[float]:
    return [float(step.attribute(name, 0.0)) for name in ("alpha", "beta")]


def _with_bounds(low: float | None) -> Emit:
    """Clip from a fixed bound, or from alpha, to the next constant."""

    def emit(step: Step) -> Array:
        bounds = _constants(step) if low is None else [low, _constants(step)[0]]
        order = step.array.order
        names = [step.constant(name, bound) for name, bound in zip(("low", "high"), bounds, strict=True)]
        return Array(step.array.shape, {order: step.emit("Clip", step.stored(order), *names)})

    return emit


def _swish(step: Step) -> Array:
    """X · sigmoid(x)."""
    order = step.array.order
    tensor = step.stored(order)
    return Array(step.array.shape, {order: step.emit("Mul", tensor, step.helping("sigmoid", "Sigmoid", tensor))})


def _log_sigmoid(step: Step) -> Array:
    """-softplus(-x)."""
    order = step.array.order
    below = step.helping("softplus", "Softplus", step.helping("negative", "Neg", step.stored(order)))
    return Array(step.array.shape, {order: step.emit("Neg", below)})


def _square(step: Step) -> Array:
    order = step.array.order
    return Array(step.array.shape, {order: step.emit("Pow", step.stored(order), step.constant("exponent", 2.0))})


def _expm1(step: Step) -> Array:
    """Exp(x) - 1, which comes in again as one layer."""
    order = step.array.order
    power = step.helping("power", "Exp", step.stored(order))
    return Array(step.array.shape, {order: step.emit("Sub", power, step.constant("one", 1.0))})


def _log1p(step: Step) -> Array:
    """Log(x + 1), which comes in again as one layer."""
    order = step.array.order
    more = step.helping("more", "Add", step.stored(order), step.constant("one", 1.0))
    return Array(step.array.shape, {order: step.emit("Log", more)})


def _shifted_power(step: Step) -> Array:
    """(x + alpha)^beta."""
    order, (alpha, beta) = step.array.order, _constants(step)
    shifted = step.helping("shifted", "Add", step.stored(order), step.constant("shift", alpha))
    return Array(step.array.shape, {order: step.emit("Pow", shifted, step.constant("exponent", beta))})


ACTIVATIONS: Mapping[str, Row] = {
    "relu": Row(alike("Relu"), "Relu"),
    "leaky-relu": Row(_named("LeakyRelu", "alpha"), "LeakyRelu"),
    "clipped-relu": Row(_with_bounds(0.0), "Clip"),
    "hard-tanh": Row(_with_bounds(None), "Clip"),
    "thresholded-relu": Row(_named("ThresholdedRelu", "alpha"), "ThresholdedRelu"),
    "elu": Row(_named("Elu", "alpha"), "Elu"),
    "celu": Row(_named("Celu", "alpha"), "Celu"),
    "selu": Row(_named("Selu", "alpha", "gamma"), "Selu"),
    "tanh": Row(alike("Tanh"), "Tanh"),
    "sigmoid": Row(alike("Sigmoid"), "Sigmoid"),
    "log-sigmoid": Row(_log_sigmoid, "Neg, Softplus"),
    "hard-sigmoid": Row(_named("HardSigmoid", "alpha", "beta"), "HardSigmoid"),
    "swish": Row(_swish, "Sigmoid, Mul"),
    "hard-swish": Row(alike("HardSwish"), "HardSwish"),
    "mish": Row(alike("Mish"), "Mish"),
    "gelu": Row(alike("Gelu"), "Gelu"),
    "gelu-tanh": Row(alike("Gelu", lambda _: {"approximate": "tanh"}), "Gelu"),
    "softplus": Row(alike("Softplus"), "Softplus"),
    "softsign": Row(alike("Softsign"), "Softsign"),
    "absolute": Row(alike("Abs"), "Abs"),
    "negative": Row(alike("Neg"), "Neg"),
    "square": Row(_square, "Pow"),
    "square-root": Row(alike("Sqrt"), "Sqrt"),
    "reciprocal": Row(alike("Reciprocal"), "Reciprocal"),
    "logarithm": Row(alike("Log"), "Log"),
    "shifted-power": Row(_shifted_power, "Add, Pow"),
    "exponential": Row(alike("Exp"), "Exp"),
    "expm1": Row(_expm1, "Exp, Sub"),
    "log1p": Row(_log1p, "Add, Log"),
    "erf": Row(alike("Erf"), "Erf"),
    "floor": Row(alike("Floor"), "Floor"),
    "ceiling": Row(alike("Ceil"), "Ceil"),
    "round": Row(alike("Round"), "Round"),
    "sign": Row(alike("Sign"), "Sign"),
    "sine": Row(alike("Sin"), "Sin"),
    "cosine": Row(alike("Cos"), "Cos"),
    "tangent": Row(alike("Tan"), "Tan"),
    "arcsine": Row(alike("Asin"), "Asin"),
    "arccosine": Row(alike("Acos"), "Acos"),
    "arctangent": Row(alike("Atan"), "Atan"),
    "sinh": Row(alike("Sinh"), "Sinh"),
    "cosh": Row(alike("Cosh"), "Cosh"),
    "arsinh": Row(alike("Asinh"), "Asinh"),
    "arcosh": Row(alike("Acosh"), "Acosh"),
    "artanh": Row(alike("Atanh"), "Atanh"),
}
"""Function of gn.activation → its nodes."""


def activation(step: Step) -> Array:
    """The row of its function."""
    name = step.attribute("function")
    if name not in ACTIVATIONS:
        raise Unsupported(f"there is no operator for {name!r}; allowed: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name].emit(step)


@dataclass(frozen=True)
class Function:
    """The operator of a function of several arrays.

    Args:
        operator: for two.
        many: for any number; "" = the other one, again and again.
        emit: makes the nodes where one operator is not all.
    """

    operator: str = ""
    many: str = ""
    emit: Callable[[Step, list[str]], str] | None = None


def _condition(step: Step, tensor: str) -> str:
    """An array of 1 and 0 as ONNX has conditions."""
    from onnx import TensorProto  # noqa: PLC0415

    return step.helping("holds", "Cast", tensor, to=TensorProto.BOOL)


def _comparison(operator: str, negated: bool = False) -> Function:
    """A comparison, as an array of 1 and 0."""

    def emit(step: Step, tensors: list[str]) -> str:
        from onnx import helper  # noqa: PLC0415

        holds = step.helping("holds", operator, *tensors)
        holds = step.helping("fails", "Not", holds) if negated else holds
        return step.emit("Cast", holds, to=helper.np_dtype_to_tensor_dtype(np.dtype(step.emission.dtype)))

    return Function(emit=emit)


def _select(step: Step, tensors: list[str]) -> str:
    """One of two arrays."""
    condition, first, second = tensors
    return step.emit("Where", _condition(step, condition), first, second)


def _mask(step: Step, tensors: list[str]) -> str:
    """A product where the mask is above 0."""
    value, mask = tensors
    zero = step.constant("zero", 0.0)
    product = step.helping("product", "Mul", value, mask)
    return step.emit("Where", step.helping("holds", "Greater", mask, zero), product, zero)


def _mask_lowest(step: Step, tensors: list[str]) -> str:
    """What it is where the mask is above 0, else less than anything."""
    value, mask = tensors
    holds = step.helping("holds", "Greater", mask, step.constant("zero", 0.0))
    return step.emit("Where", holds, value, step.constant("lowest", -np.inf))


def _modulo(step: Step, tensors: list[str]) -> str:
    """The remainder with the sign of a, and b more where that is not b's."""
    value, divisor = tensors
    rest = step.helping("remainder", "Mod", value, divisor, fmod=1)
    product = step.helping("product", "Mul", rest, divisor)
    other = step.helping("other", "Less", product, step.constant("zero", 0.0))
    return step.emit("Where", other, step.helping("more", "Add", rest, divisor), rest)


FUNCTIONS: Mapping[str, Function] = {
    "add": Function("Add", "Sum"),
    "multiply": Function("Mul"),
    "minimum": Function("Min", "Min"),
    "maximum": Function("Max", "Max"),
    "subtract": Function("Sub"),
    "divide": Function("Div"),
    "power": Function("Pow"),
    "prelu": Function("PRelu"),
    "remainder": Function(emit=lambda step, tensors: step.emit("Mod", *tensors, fmod=1)),
    "modulo": Function(emit=_modulo),
    "less": _comparison("Less"),
    "less-or-equal": _comparison("LessOrEqual"),
    "greater": _comparison("Greater"),
    "greater-or-equal": _comparison("GreaterOrEqual"),
    "equal": _comparison("Equal"),
    "not-equal": _comparison("Equal", negated=True),
    "select": Function(emit=_select),
    "mask": Function(emit=_mask),
    "mask-lowest": Function(emit=_mask_lowest),
}
"""Function of gn.elementwise → its operator."""


def elementwise(step: Step) -> Array:
    """A function of arrays, and of a constant behind them; they repeat along axes of extent 1."""
    order = step.shared()
    tensors = [step.stored(order, index) for index in range(len(step.arrays))]
    tensors += [step.spread(index, order) for index in range(len(step.values))]
    shapes = [array.shape for array in step.arrays] + [value.shape for value in step.values]
    return Array(np.broadcast_shapes(*shapes), {order: _combined(step, step.attribute("function", "add"), tensors)})


def _combined(step: Step, function: str, tensors: list[str]) -> str:
    row = FUNCTIONS.get(function)
    if row is None:
        raise Unsupported(f"function = {function!r}; allowed: {', '.join(FUNCTIONS)}; compute it before or behind")
    if row.emit:
        return row.emit(step, tensors)
    if len(tensors) == 1:
        return step.emit("Identity", *tensors)
    if len(tensors) > 2 and row.many:
        return step.emit(row.many, *tensors)
    return chained(step, row.operator, tensors)


def bias(step: Step) -> Array:
    """X + bias along the channels."""
    order = step.array.order
    return Array(step.array.shape, {order: step.emit("Add", step.stored(order), step.spread(0, order))})


def softmax(step: Step) -> Array:
    """Along the channels."""
    order = step.array.order
    axis = order.index(step.array.rank - 1) + 1
    return Array(step.array.shape, {order: step.emit("Softmax", step.stored(order), axis=axis)})


def dropout(step: Step) -> Array:
    """Its form for prediction, which keeps the probability."""
    order, emission = step.array.order, step.emission
    name = emission.free(f"{step.title}/probability")
    # In float64, so that the number stays what it was.
    emission.constants[name] = np.asarray(step.attribute("probability"), np.float64)
    return Array(step.array.shape, {order: step.emit("Dropout", step.stored(order), name)})


ROWS: Mapping[str, Row] = {
    "activation": Row(activation, "one operator per function"),
    "add": Row(elementwise, "Add, Sum"),
    "elementwise": Row(elementwise, "Add, Mul, Min, Max, Sub, Div, Pow, PRelu, Mod, Where, comparisons"),
    "bias": Row(bias, "Add"),
    "softmax": Row(softmax, "Softmax"),
    "dropout": Row(dropout, "Dropout"),
}
