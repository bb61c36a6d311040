"""Activations, softmax and losses of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gncodegen.errors import ArrayError
from gncodegen.functional.call import Given
from gncodegen.functional.form import Form
from gncodegen.functional.prepared import kind
from gncodegen.layers import activations
from gncodegen.layers.activations import UNARY, ActivationLayer, SoftmaxLayer, UnaryLayer
from gncodegen.layers.outputs import ClassificationLayer, RegressionLayer
from gncodegen.layers.prelu import PreluLayer
from gncodegen.runtime.arrays import as_array


@Form
def softmax(x: Any, *, data_format: str | None = None) -> Given:
    """y_c = exp(x_c) / Σ_j exp(x_j) over the C axis; arguments as of `groupnorm`."""
    return Given(kind(SoftmaxLayer), x, {}, data_format)


@Form
def prelu(x: Any, alpha: Any, *, data_format: str | None = None) -> Given:
    """Y = x where x > 0, else alpha · x.

    Args:
        x: array with a C axis.
        alpha: (C,), or (1,) for one slope of all channels.
        data_format: as for `groupnorm`.

    Returns:
        array shaped like x.
    """
    slopes = "shared" if as_array(alpha, "prelu: alpha").size == 1 else "channel-wise"
    return Given(kind(PreluLayer, slopes=slopes), x, {"alpha": alpha}, data_format)


@Form
def crossentropy(x: Any, targets: Any, class_weights: Any = None, *, data_format: str | None = None) -> Given:
    """−(1/N) Σ_n Σ_i w_i · t_ni · ln x_ni of probabilities; over positions their sum, divided by N.

    Args:
        x: probabilities, such as `softmax` gives, with a C axis of K classes.
        targets: class indices 0 … K − 1 with the axes of x but C, or rows shaped like x.
        class_weights: None = 1 each; or K numbers > 0.
        data_format: as for `groupnorm`.

    Returns:
        float.
    """
    weights = None
    if class_weights is not None:
        vector = as_array(class_weights, "crossentropy: class_weights")
        if vector.ndim != 1:
            raise ArrayError(
                f"crossentropy: class_weights of shape {vector.shape}; allowed: a vector, a number > 0 for each class; "
                "reshape it"
            )
        weights = vector.tolist()
    return Given(kind(ClassificationLayer, class_weights=weights), x, {}, data_format, targets=targets)


@Form
def mse(x: Any, targets: Any, *, data_format: str | None = None) -> Given:
    """(1/N) Σ_n ½ Σ_i (x_ni − t_ni)²: half the squared error, as the reference has it; targets are shaped like x."""
    return Given(kind(RegressionLayer), x, {}, data_format, targets=targets)


def _activation(layer: type[ActivationLayer]) -> Form[...]:
    def describe(x: Any, *constants: float, **properties: Any) -> Given:
        return Given(kind(layer, *constants, **properties), x, elementwise=True)

    return _described(describe, layer.kind, layer.__doc__, layer.__name__)


def _unary(function: str) -> Form[...]:
    def describe(x: Any) -> Given:
        return Given(kind(UnaryLayer, function), x, elementwise=True)

    return _described(describe, function.replace("-", "_"), f"The function {function} of each element.", "UnaryLayer")


def _described(describe: Any, name: str, text: str | None, layer: str) -> Form[...]:
    describe.__name__ = describe.__qualname__ = name
    first = (text or "").splitlines()[0]
    describe.__doc__ = f"{first}\n\nx is an array of any shape; what follows it are the properties of `{layer}`."
    return Form(describe)


def _every() -> Iterator[Form[...]]:
    """A form for each function that a layer of activations has."""
    layers = [each for each in vars(activations).values() if isinstance(each, type)]
    own = [layer for layer in layers if issubclass(layer, ActivationLayer) and layer is not ActivationLayer]
    yield from map(_activation, own)
    yield from map(_unary, UNARY)


ACTIVATIONS: Mapping[str, Form[...]] = {form.name: form for form in _every()}
"""Name → function form."""
