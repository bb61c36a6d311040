"""Element-wise activations, and softmax."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import Annotated, ClassVar

from gncodegen.layers.base import Layer, Operation, Size
from gncodegen.layers.checks import Epsilon, finite_number, one_of


@dataclass(frozen=True, eq=False)
class ActivationLayer(Layer):
    """One function of each element; its size is its input's.

    A new one names its function, `class MishLayer(ActivationLayer, function="mish")`, and has its constants, if any, as
    properties: the first is alpha, the second beta.
    """

    function: ClassVar[str]
    """The function's name in gn.activation."""

    def __init_subclass__(cls, function: str = "") -> None:
        if function:
            cls.function, cls.kind = function, function.replace("-", "")

    def _function(self) -> str:
        return self.function

    def _constants(self) -> tuple[float, ...]:
        """Alpha and beta, or as many of them as the function has."""
        of_all = {field.name for field in fields(Layer)}
        return tuple(getattr(self, field.name) for field in fields(self) if field.name not in of_all)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        constants = dict(zip(("alpha", "beta"), self._constants(), strict=False))
        return (Operation("activation", (), {"function": self._function(), "alpha": 0.0, **constants}),)


class ReluLayer(ActivationLayer, function="relu"):
    """y = max(x, 0); NaN stays NaN."""


@dataclass(frozen=True, eq=False)
class LeakyReluLayer(ActivationLayer, function="leaky-relu"):
    """y = x where x ≥ 0, else scale · x.

    Args:
        scale: slope of the negative side.
    """

    scale: Annotated[float, finite_number] = 0.01


@dataclass(frozen=True, eq=False)
class ClippedReluLayer(ActivationLayer, function="clipped-relu"):
    """y = min(max(x, 0), ceiling).

    Args:
        ceiling: the largest output, > 0.
    """

    ceiling: Epsilon


@dataclass(frozen=True, eq=False)
class EluLayer(ActivationLayer, function="elu"):
    """y = x where x ≥ 0, else alpha · (exp(x) - 1).

    Args:
        alpha: minus the limit on the negative side.

    Source: Clevert, Unterthiner and Hochreiter, ELUs, ICLR 2016.
    """

    alpha: Annotated[float, finite_number] = 1.0


class TanhLayer(ActivationLayer, function="tanh"):
    """y = tanh(x)."""


class SigmoidLayer(ActivationLayer, function="sigmoid"):
    """y = 1 / (1 + exp(-x))."""


class SwishLayer(ActivationLayer, function="swish"):
    """y = x / (1 + exp(-x))."""


@dataclass(frozen=True, eq=False)
class GeluLayer(ActivationLayer, function="gelu"):
    """y = x · Φ(x), Φ the normal distribution function.

    Args:
        approximation: "none" = the exact function; "tanh" = x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³))).

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.
    """

    _: KW_ONLY
    approximation: Annotated[str, one_of("none", "tanh")] = "none"

    def _function(self) -> str:
        return "gelu-tanh" if self.approximation == "tanh" else "gelu"

    def _constants(self) -> tuple[float, ...]:
        return ()


class SoftplusLayer(ActivationLayer, function="softplus"):
    """y = ln(1 + exp(x))."""


class HardSwishLayer(ActivationLayer, function="hard-swish"):
    """y = x · min(max(x + 3, 0), 6) / 6.

    Source: Howard et al., Searching for MobileNetV3, ICCV 2019.
    """


@dataclass(frozen=True, eq=False)
class HardSigmoidLayer(ActivationLayer, function="hard-sigmoid"):
    """y = min(max(slope · x + shift, 0), 1).

    Args:
        slope: of the middle; 1/6 as in PyTorch, 0.2 in ONNX.
        shift: the value at 0.
    """

    slope: Annotated[float, finite_number] = 1 / 6
    shift: Annotated[float, finite_number] = 0.5


@dataclass(frozen=True, eq=False)
class HardTanhLayer(ActivationLayer, function="hard-tanh"):
    """y = min(max(x, lowest), highest).

    Args:
        lowest: the least output.
        highest: the largest output.
    """

    lowest: Annotated[float, finite_number] = -1.0
    highest: Annotated[float, finite_number] = 1.0


class MishLayer(ActivationLayer, function="mish"):
    """y = x · tanh(ln(1 + exp(x))).

    Source: Misra, Mish, BMVC 2020.
    """


class SeluLayer(ActivationLayer, function="selu"):
    """y = 1.0507 · x where x ≥ 0, else 1.0507 · 1.6733 · (exp(x) - 1).

    Source: Klambauer et al., Self-Normalizing Neural Networks, NeurIPS 2017.
    """

    def _constants(self) -> tuple[float, ...]:
        return 1.6732632423543772, 1.0507009873554805


@dataclass(frozen=True, eq=False)
class CeluLayer(ActivationLayer, function="celu"):
    """y = x where x ≥ 0, else alpha · (exp(x / alpha) - 1).

    Args:
        alpha: minus the limit on the negative side, > 0.

    Source: Barron, Continuously Differentiable Exponential Linear Units, 2017.
    """

    alpha: Epsilon = 1.0


class SoftsignLayer(ActivationLayer, function="softsign"):
    """y = x / (1 + |x|)."""


class LogSigmoidLayer(ActivationLayer, function="log-sigmoid"):
    """y = -ln(1 + exp(-x))."""


@dataclass(frozen=True, eq=False)
class ThresholdedReluLayer(ActivationLayer, function="thresholded-relu"):
    """y = x where x > threshold, else 0.

    Args:
        threshold: what x must exceed.

    Source: Konda, Memisevic and Krueger, Zero-bias autoencoders, ICLR 2015.
    """

    threshold: Annotated[float, finite_number] = 1.0


UNARY = (
    "absolute", "negative", "square", "square-root", "reciprocal", "exponential", "logarithm", "expm1", "log1p",
    "floor", "ceiling", "round", "sign", "sine", "cosine", "tangent", "arcsine", "arccosine", "arctangent",
    "sinh", "cosh", "arsinh", "arcosh", "artanh", "erf",
)  # fmt: skip
"""The functions of `UnaryLayer`."""


@dataclass(frozen=True, eq=False)
class UnaryLayer(Layer):
    """y = f(x), element by element, for the plain functions of arithmetic: `UnaryLayer("square-root")`.

    Args:
        function: "absolute", "negative", "square", "square-root", "reciprocal", "exponential", "logarithm", "expm1",
            "log1p", "floor", "ceiling", "round" (halves to even), "sign", "sine", "cosine", "tangent", "arcsine",
            "arccosine", "arctangent", "sinh", "cosh", "arsinh", "arcosh", "artanh" or "erf".
    """

    function: Annotated[str, one_of(*UNARY)]
    kind: ClassVar[str] = "unary"

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("activation", (), {"function": self.function, "alpha": 0.0}),)


@dataclass(frozen=True, eq=False)
class SoftmaxLayer(Layer):
    """y_c = exp(x_c) / Σ_j exp(x_j) over the channels."""

    kind: ClassVar[str] = "softmax"
    numbered: ClassVar[bool] = False

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("softmax"),)
