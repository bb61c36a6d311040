"""The table of activation functions: a row says all that IR, passes and kernels of every target know of one.

Formulas are those of PyTorch (torch.nn.functional) and of the ONNX operators (onnx/defs) where both have the function.
Every activation passes NaN on. A slope at a kink is that of the lower side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gncodegen.errors import CompileError
from gncodegen.kernels.formulas import intrinsics, written

Source = Literal["input", "output"]


@dataclass(frozen=True)
class Activation:
    """One function of an element.

    Args:
        name: the attribute `function` of gn.activation.
        forward: y as a formula of the input v.
        gradient: dx as a formula of the input v and of dy.
        flops: floating-point operations of one element, forward; the gradient takes about as many and two more.
        from_output: dx as a formula of dy and of the output, named v; "" where the output does not tell the slope.
            Where there is one, gradients use it, so that the input's memory goes early.
        unless: the constants (alpha, beta) for which the function is not monotonic, so that the output does not tell.
        constants: values of alpha and beta that layers start from; as many as the formulas name.
        in_registers: y of a CPU's register tile named `sums`, for epilogues of convolutions and matrix products.
        masks: whether y is v above 0 and alpha·v below, so that a norm applies it and its gradient recomputes the mask.
    """

    name: str
    forward: str
    gradient: str
    flops: int
    from_output: str = ""
    unless: Callable[[float, float], bool] = lambda alpha, beta: False
    constants: tuple[float, ...] = ()
    in_registers: str = ""
    masks: bool = False

    @property
    def intrinsics(self) -> frozenset[str]:
        """The functions that its formulas call."""
        formulas = filter(None, (self.forward, self.gradient, self.from_output, self.in_registers))
        return frozenset[str]().union(*map(intrinsics, formulas))


# ---- what several formulas share ---------------------------------------------------------------------------------
BELOW = "exp(0.0 - absolute(v))"  # e^−|v| never overflows
SOFTPLUS = f"maximum(v, 0.0) + log1p({BELOW})"
# 1 − tanh(softplus(v)), without cancellation: 2n² / (1 + 2n + 2n²) with n = e^−v, and 2 / (2 + 2m + m²) with m = e^v.
MISH_REST = (
    f"select(v < 0.0, 2.0 / (2.0 + {BELOW} * (2.0 + {BELOW})),"
    f" 2.0 * {BELOW} * {BELOW} / (1.0 + {BELOW} * (2.0 + 2.0 * {BELOW})))"
)
FLAT = "select(v == v, 0.0, v)"  # the slope of a step function
BENT = "v * (1.5957691216057308 + 0.07135481627260025 * (v * v))"  # 2·sqrt(2/π)·(v + 0.044715 v³)

ROWS = (
    Activation(
        "relu", "maximum(v, 0.0)", "select(v <= 0.0, 0.0, dy)", 1, "select(v <= 0.0, 0.0, dy)",
        in_registers="tile_relu(sums)", masks=True,
    ),
    Activation(
        "leaky-relu", "select(v < 0.0, v * alpha, v)", "select(v <= 0.0, dy * alpha, dy)", 2,
        "select(v <= 0.0, dy * alpha, dy)", lambda alpha, beta: alpha < 0, (0.01,),
        in_registers="tile_leaky_relu(sums, DTYPE(ALPHA))", masks=True,
    ),
    Activation(
        "clipped-relu", "minimum(maximum(v, 0.0), alpha)", "select((v <= 0.0) | (v >= alpha), 0.0, dy)", 2,
        "select((v <= 0.0) | (v >= alpha), 0.0, dy)", constants=(6.0,),
        in_registers="tile_ceiling(tile_relu(sums), DTYPE(ALPHA))",
    ),
    Activation(
        "hard-tanh", "minimum(maximum(v, alpha), beta)", "select((v <= alpha) | (v >= beta), 0.0, dy)", 2,
        "select((v <= alpha) | (v >= beta), 0.0, dy)", constants=(-1.0, 1.0),
    ),
    Activation(
        "thresholded-relu", "select(v <= alpha, 0.0, v)", "select(v <= alpha, 0.0, dy)", 1,
        "select(v <= alpha, 0.0, dy)", lambda alpha, beta: alpha < 0, (1.0,),
    ),
    Activation(
        "elu", "select(v < 0.0, expm1(v) * alpha, v)", "dy * select(v <= 0.0, exp(v) * alpha, 1.0)", 20,
        "dy * select(v <= 0.0, v + alpha, 1.0)", lambda alpha, beta: alpha < 0, (1.0,),
    ),
    Activation(
        "celu", "select(v < 0.0, expm1(v / alpha) * alpha, v)", "dy * select(v <= 0.0, exp(v / alpha), 1.0)", 21,
        "dy * select(v <= 0.0, v / alpha + 1.0, 1.0)", constants=(1.0,),
    ),
    Activation(
        "selu", "select(v < 0.0, expm1(v) * (alpha * beta), v * beta)",
        "dy * select(v <= 0.0, exp(v) * (alpha * beta), beta)", 21, "dy * select(v <= 0.0, v + alpha * beta, beta)",
        lambda alpha, beta: alpha < 0 or beta < 0, (1.6732632423543772, 1.0507009873554805),
    ),
    Activation("tanh", "tanh(v)", "dy * (1.0 - tanh(v) * tanh(v))", 24, "dy * (1.0 - v * v)"),
    Activation("sigmoid", "sigmoid(v)", "dy * sigmoid_slope(v)", 22, "dy * (v * (1.0 - v))"),
    Activation("log-sigmoid", f"minimum(v, 0.0) - log1p({BELOW})", "dy * sigmoid(0.0 - v)", 40),
    Activation(
        "hard-sigmoid", "minimum(maximum(v * alpha + beta, 0.0), 1.0)",
        "select((v * alpha + beta <= 0.0) | (v * alpha + beta >= 1.0), 0.0, dy * alpha)", 4,
        "select((v <= 0.0) | (v >= 1.0), 0.0, dy * alpha)", constants=(1 / 6, 0.5),
    ),
    Activation("swish", "v * sigmoid(v)", "dy * (sigmoid(v) + v * sigmoid_slope(v))", 22),
    Activation(
        "hard-swish", "select(v <= -3.0, 0.0, v * minimum(v * 0.16666666666666666 + 0.5, 1.0))",
        "dy * select(v <= -3.0, 0.0, select(v <= 3.0, v * 0.3333333333333333 + 0.5, 1.0))", 5,
    ),
    Activation(
        "mish", f"v * tanh({SOFTPLUS})",
        f"dy * (tanh({SOFTPLUS}) + v * sigmoid(v) * ({MISH_REST} * (2.0 - {MISH_REST})))", 66,
    ),
    Activation(
        "gelu", "0.5 * v * (1.0 + erf(v * 0.7071067811865476))",
        "dy * (0.5 * (1.0 + erf(v * 0.7071067811865476)) + 0.3989422804014327 * v * exp(-0.5 * v * v))", 30,
    ),
    Activation(
        "gelu-tanh", f"v * sigmoid({BENT})",
        f"dy * (sigmoid({BENT}) + v * sigmoid_slope({BENT}) * (1.5957691216057308 + 0.21406444881780076 * (v * v)))",
        30,
    ),
    Activation("softplus", SOFTPLUS, "dy * sigmoid(v)", 40),
    Activation(
        "softsign", "select(v < 0.0, 1.0 / (1.0 / v - 1.0), 1.0 / (1.0 / v + 1.0))",
        "dy / (1.0 + absolute(v)) / (1.0 + absolute(v))", 4,
    ),
    Activation("absolute", "absolute(v)", "select(v <= 0.0, dy * -1.0, dy)", 1),
    Activation("negative", "v * -1.0", "dy * -1.0", 1, "dy * -1.0"),
    Activation("square", "v * v", "dy * (v + v)", 1),
    Activation("square-root", "sqrt(v)", "dy * 0.5 / sqrt(v)", 8, "dy * 0.5 / v"),
    Activation("reciprocal", "1.0 / v", "dy * -1.0 / v / v", 8, "dy * (v * v) * -1.0"),
    Activation("logarithm", "log(v)", "dy / v", 20),
    Activation(
        "shifted-power", "power(v + alpha, beta)", "dy * beta * power(v + alpha, beta - 1.0)", 62, constants=(0.0, 1.0)
    ),
    Activation("exponential", "exp(v)", "dy * exp(v)", 18, "dy * v"),
    Activation("expm1", "select(v < 1.0, expm1(v), exp(v) - 1.0)", "dy * exp(v)", 40, "dy * (v + 1.0)"),
    Activation("log1p", "log_of_more(v)", "dy / (v + 1.0)", 20),
    Activation("floor", "floor(v)", FLAT, 1, FLAT),
    Activation("ceiling", "ceil(v)", FLAT, 1, FLAT),
    Activation("round", "rint(v)", FLAT, 1, FLAT),
    Activation("sign", "select(v < 0.0, -1.0, select(v > 0.0, 1.0, v))", FLAT, 2, FLAT),
    Activation("sine", "sin(v)", "dy * cos(v)", 20),
    Activation("cosine", "cos(v)", "dy * -1.0 * sin(v)", 20),
    Activation("tangent", "tan(v)", "dy * (1.0 + tan(v) * tan(v))", 30, "dy * (1.0 + v * v)"),
    Activation("arcsine", "asin(v)", "dy / sqrt((1.0 - v) * (1.0 + v))", 30),
    Activation("arccosine", "acos(v)", "dy * -1.0 / sqrt((1.0 - v) * (1.0 + v))", 30),
    Activation("arctangent", "atan(v)", "dy / (1.0 + v * v)", 30),
    Activation("sinh", "sinh(v)", "dy * cosh(v)", 30),
    Activation("cosh", "cosh(v)", "dy * sinh(v)", 30),
    Activation("arsinh", "asinh(v)", "dy / sqrt(v * v + 1.0)", 40),
    Activation("arcosh", "acosh(v)", "dy / sqrt((v - 1.0) * (v + 1.0))", 40),
    Activation("artanh", "atanh(v)", "dy / ((1.0 - v) * (1.0 + v))", 40),
    Activation("erf", "erf(v)", "dy * 1.1283791670955126 * exp(v * v * -1.0)", 20),
)  # fmt: skip

ACTIVATIONS = {row.name: row for row in ROWS}
"""The functions gn.activation knows, by name; each works element by element."""

IDENTITY = Activation("", "v", "dy", 0, "dy", in_registers="sums")
"""No activation: what the empty name means."""

MASKS = ("", *(row.name for row in ROWS if row.masks))
"""Activations that a norm can apply."""

IN_REGISTERS = ("", *(row.name for row in ROWS if row.in_registers))
"""Activations that the epilogue of a CPU's convolution or matrix product can apply."""

EPILOGUES = ("", *(row.name for row in ROWS if len(row.constants) < 2))
"""Activations that other ops can carry: their attributes have room for alpha."""


def activation(name: str) -> Activation:
    """The row of a function, IDENTITY for "".

    Raises:
        CompileError: there is none; lists those that there are.
    """
    if name and name not in ACTIVATIONS:
        raise CompileError(f"activation {name!r} is unknown; allowed: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS.get(name, IDENTITY)


def gradient_from(name: str, alpha: float = 0.0, beta: float = 0.0) -> Source:
    """Which array the gradient of a function with these constants is taken from."""
    row = activation(name)
    return "output" if row.from_output and not row.unless(alpha, beta) else "input"


def forward(name: str, alpha: float, v: str, beta: float = 0.0) -> str:
    """The expression of y in a kernel whose input is called `v`."""
    return written(activation(name).forward, {"v": v}, {"alpha": alpha, "beta": beta})


def gradient(name: str, alpha: float, source: Source, v: str, dy: str, beta: float = 0.0) -> str:
    """The expression of dx in a kernel that calls the activation's input or output `v`, as `source` says, and dy `dy`.

    Raises:
        CompileError: the output does not tell the slope.
    """
    row = activation(name)
    formula = row.gradient if source == "input" else row.from_output
    if not formula:
        raise CompileError(f"activation {name!r} has no gradient from its output; take it from the input")
    return written(formula, {"v": v, "dy": dy}, {"alpha": alpha, "beta": beta})


def activated(name: str) -> str:
    """The expression of a CPU's register tile `sums` with the activation applied; ALPHA is its constant.

    Raises:
        CompileError: register tiles cannot have the activation.
    """
    row = activation(name)
    if not row.in_registers:
        raise CompileError(f"register tiles cannot apply {name!r}; allowed: {', '.join(map(repr, IN_REGISTERS))}")
    return row.in_registers


def intrinsics_of_formulas() -> frozenset[str]:
    """The functions that the table's formulas call; every target has them, and the CPU those of register tiles."""
    return frozenset[str]().union(*(row.intrinsics for row in ACTIVATIONS.values()))
