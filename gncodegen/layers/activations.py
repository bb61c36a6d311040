"""Element-wise activations, and softmax."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, ClassVar

from gncodegen.layers.base import Layer, Operation, Size
from gncodegen.layers.checks import Epsilon, finite_number, one_of


@dataclass(frozen=True, eq=False)
class ActivationLayer(Layer):
    """One function of each element; its size is its input's."""

    def _function(self) -> tuple[str, float]:
        """The function's name in gn.activation, and its alpha."""
        return self.kind, 0.0

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        function, alpha = self._function()
        return (Operation("activation", (), {"function": function, "alpha": alpha}),)


@dataclass(frozen=True, eq=False)
class ReluLayer(ActivationLayer):
    """y = max(x, 0); NaN stays NaN."""

    kind: ClassVar[str] = "relu"


@dataclass(frozen=True, eq=False)
class LeakyReluLayer(ActivationLayer):
    """y = x where x ≥ 0, else scale · x.

    Args:
        scale: slope of the negative side.
    """

    scale: Annotated[float, finite_number] = 0.01
    kind: ClassVar[str] = "leakyrelu"

    def _function(self) -> tuple[str, float]:
        return "leaky-relu", self.scale


@dataclass(frozen=True, eq=False)
class ClippedReluLayer(ActivationLayer):
    """y = min(max(x, 0), ceiling).

    Args:
        ceiling: the largest output, > 0.
    """

    ceiling: Epsilon
    kind: ClassVar[str] = "clippedrelu"

    def _function(self) -> tuple[str, float]:
        return "clipped-relu", self.ceiling


@dataclass(frozen=True, eq=False)
class EluLayer(ActivationLayer):
    """y = x where x ≥ 0, else alpha · (exp(x) - 1).

    Args:
        alpha: minus the limit on the negative side.

    Source: Clevert, Unterthiner and Hochreiter, ELUs, ICLR 2016.
    """

    alpha: Annotated[float, finite_number] = 1.0
    kind: ClassVar[str] = "elu"

    def _function(self) -> tuple[str, float]:
        return "elu", self.alpha


@dataclass(frozen=True, eq=False)
class TanhLayer(ActivationLayer):
    """y = tanh(x)."""

    kind: ClassVar[str] = "tanh"


@dataclass(frozen=True, eq=False)
class SigmoidLayer(ActivationLayer):
    """y = 1 / (1 + exp(-x))."""

    kind: ClassVar[str] = "sigmoid"


@dataclass(frozen=True, eq=False)
class SwishLayer(ActivationLayer):
    """y = x / (1 + exp(-x))."""

    kind: ClassVar[str] = "swish"


@dataclass(frozen=True, eq=False)
class GeluLayer(ActivationLayer):
    """y = x · Φ(x), Φ the normal distribution function.

    Args:
        approximation: "none" = the exact function; "tanh" = x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³))).

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.
    """

    _: KW_ONLY
    approximation: Annotated[str, one_of("none", "tanh")] = "none"
    kind: ClassVar[str] = "gelu"

    def _function(self) -> tuple[str, float]:
        return ("gelu-tanh" if self.approximation == "tanh" else "gelu"), 0.0


@dataclass(frozen=True, eq=False)
class SoftplusLayer(ActivationLayer):
    """y = ln(1 + exp(x))."""

    kind: ClassVar[str] = "softplus"


@dataclass(frozen=True, eq=False)
class SoftmaxLayer(Layer):
    """y_c = exp(x_c) / Σ_j exp(x_j) over the channels."""

    kind: ClassVar[str] = "softmax"
    numbered: ClassVar[bool] = False

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("softmax"),)
