"""Compares a compiled network with its NumPy twin: prediction, loss, every gradient, finite differences in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import reference as ref

import gncodegen as gnc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

INPUT_STATISTICS = ("mean", "standard_deviation", "min", "max")
TOLERANCE = {"float32": 5e-6, "float64": 1e-12}


def assert_near(actual: ArrayLike, expected: ArrayLike, tolerance: float, what: str = "", floor: float = 1e-2) -> None:
    """Shapes agree and no element is off by more than tolerance × the largest expected magnitude (at least `floor`)."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    assert np.isfinite(actual).all(), f"{what}: not finite"
    if expected.size:
        scale = max(float(np.abs(expected).max()), floor)
        worst = float(np.abs(actual - expected).max())
        assert worst <= tolerance * scale, f"{what}: off by {worst:.3g} where the largest value is {scale:.3g}"


def randomize(compiled: Any, seed: int = 1) -> None:
    """Gives all but the input layer's statistics random values, so that none is at a special value such as 0 or 1."""
    random = np.random.default_rng(seed)
    for name in compiled.parameters:
        if name.rpartition(".")[2] in INPUT_STATISTICS:
            continue
        shape = np.shape(compiled.parameters[name])
        if name.endswith("trained_variance"):
            compiled.parameters[name] = random.uniform(0.5, 2, shape)
        elif name.endswith("weights"):
            compiled.parameters[name] = random.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
        else:
            compiled.parameters[name] = random.standard_normal(shape)


def assert_same_network(
    layers: Any,
    nodes: Sequence[ref.Node],
    x: NDArray[Any],
    t: ArrayLike | None = None,
    *,
    dtype: str = "float32",
    tolerance: float | None = None,
    floor: float = 1e-2,
    parameters: Mapping[str, ArrayLike] | None = None,
    loss: Any = ref.half_squared_error,
    loss_options: Mapping[str, Any] | None = None,
    finite_differences: bool | None = None,
    training: bool = False,
    target: str = "cpu",
) -> Any:
    """Compiles `layers`, gives it and the twin of `nodes` the same random parameters, and compares all results.

    Args:
        layers: the product's layers or graph, with the layer names that `nodes` use.
        x: a batch of inputs; cast to `dtype` before either side sees it.
        t: targets for both sides; random of the output's shape where None.
        parameters: values that replace random ones.
        finite_differences: also judge the gradients by the compiled loss itself; None means in float64.
        training: whether loss and gradients are those of training; makes a difference to batch normalization only.
        target: "cpu"; or an architecture, whose kernels are emulated.

    Returns:
        The compiled network.
    """
    x = np.asarray(x, dtype)
    tolerance = tolerance or TOLERANCE[dtype]
    emulate = target != "cpu"
    compiled = gnc.compile(layers, target, batch_size=len(x), training=training, dtype=dtype, seed=0, emulate=emulate)
    randomize(compiled)
    for name, value in (parameters or {}).items():
        compiled.parameters[name] = np.asarray(value)
    t, gradients = assert_same_results(
        compiled, nodes, x, t, tolerance, floor, loss=loss, loss_options=loss_options, training=training
    )
    if finite_differences or (finite_differences is None and dtype == "float64"):
        assert_gradients_are_slopes(compiled, x, t, gradients)
    return compiled


def assert_same_results(
    compiled: Any,
    nodes: Sequence[ref.Node],
    x: NDArray[Any],
    t: ArrayLike | None,
    tolerance: float,
    floor: float = 1e-2,
    *,
    loss: Any = ref.half_squared_error,
    loss_options: Mapping[str, Any] | None = None,
    training: bool = False,
    share: float = 0.0,
) -> tuple[ArrayLike, Mapping[str, Any]]:
    """Compares prediction, loss and gradients of one batch with those of the twin; returns targets and gradients.

    With a `share`, no gradient counts as smaller than this share of the largest: it may be a sum that cancels.
    """
    twin = ref.ReferenceNetwork(nodes, dict(compiled.parameters), loss=loss, loss_options=loss_options)
    expected = twin.predict(x)
    assert_near(compiled.predict(x), expected, tolerance, "predict", floor)
    if t is None:
        t = np.random.default_rng(5).standard_normal(expected.shape).astype(x.dtype)
    assert_near(compiled.loss(x, t), twin.loss(x, t, training=training), tolerance, "loss", floor)
    gradients, right = compiled.gradients(x, t), twin.gradients(x, t, training=training)
    assert set(gradients) == set(right)
    floor = max(floor, share * max(float(np.abs(value).max(initial=0)) for value in right.values()))
    for name, gradient in gradients.items():
        shape = x.shape if name == "input" else np.shape(compiled.parameters[name])
        assert_near(gradient, right[name].reshape(shape), tolerance, f"gradient of {name}", floor)
    return t, gradients


def assert_gradients_are_slopes(compiled: Any, x: NDArray[Any], t: ArrayLike, gradients: Mapping[str, Any]) -> None:
    """Every gradient against finite differences of the network's own loss, along one random direction each."""
    for name, gradient in gradients.items():
        if name == "input":
            error = ref.directional_error(lambda changed: float(compiled.loss(changed, t)), x, gradient)
        else:
            kept = np.array(compiled.parameters[name])

            def value(changed: NDArray[Any], name: str = name) -> float:
                compiled.parameters[name] = changed
                return float(compiled.loss(x, t))

            error = ref.directional_error(value, kept, gradient)
            compiled.parameters[name] = kept
        assert error < 1e-6, f"gradient of {name} is not the slope of the loss: relative error {error:.3g}"
