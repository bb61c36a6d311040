"""Element-by-element kernels on every target against the float64 oracle."""

import numpy as np
import pytest
import reference
from support.sets import diagonal, few

from gncodegen.kernels.activations import ACTIVATIONS, gradient_from

OF_POSITIVE = ("square-root", "logarithm", "log1p", "arcosh")
"""Functions of numbers above 0 only."""
OF_FRACTIONS = ("arcsine", "arccosine", "artanh")
"""Functions of numbers between -1 and 1."""
GROWING = ("logarithm", "log1p", "arsinh", "arcosh")
"""Functions that grow without limit, but slowly."""
PERIODIC = ("sine", "cosine", "tangent")
TOLERANCE = {"float32": 4e-7, "float64": 4e-16}


def drawn(shape, dtype="float32", seed=0, spread=3.0):
    return (np.random.default_rng(seed).standard_normal(shape) * spread).astype(dtype)


def close(got, expected, dtype, slack=1.0):
    tolerance = TOLERANCE[dtype] * slack
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def constants(function):
    """Alpha and beta of a row: what layers start from, moved a little so that no number is special."""
    return {name: 0.9 * value for name, value in zip(("alpha", "beta"), ACTIVATIONS[function].constants, strict=False)}


def argument(function, *args, **options):
    x = drawn(*args, **options)
    if function in OF_FRACTIONS:
        return np.tanh(x) * x.dtype.type(0.9)
    least = x.dtype.type(1.01 if function == "arcosh" else 0.01)
    return abs(x) + least if function in OF_POSITIVE else x


@pytest.mark.few
@pytest.mark.parametrize(("function", "dtype"), diagonal(list(ACTIVATIONS), ["float32", "float64"]))
def test_activation(execute, function, dtype):
    more = constants(function)
    x, dy = argument(function, (1, 43, 3), dtype), drawn((1, 43, 3), dtype, 1)
    y, backward = reference.activation(x, function, **more)
    attributes = {"function": function, **more}
    (got,) = execute("activation", [x], [(x.shape, dtype)], attributes)
    close(got, y, dtype, 4)
    source = gradient_from(function, **more)
    values = x if source == "input" else got
    (dx,) = execute(
        "activation_gradient", [values, dy], [(x.shape, dtype)], {**attributes, "from": source}, in_place={0: 1}
    )
    close(dx, backward(dy)[0], dtype, 64)  # the oracle's 1 + tanh cancels


THIRD_ON_GPU = [
    pytest.param(function, marks=[pytest.mark.full("cuda")] if i % 3 else []) for i, function in enumerate(ACTIVATIONS)
]
"""By default the emulator runs a third: `test_activation` has all functions."""


@pytest.mark.few
@pytest.mark.parametrize("function", THIRD_ON_GPU)
def test_activation_from_input(execute, function):
    more = constants(function)
    x, dy = argument(function, (132,)), drawn((132,), seed=1)
    _, backward = reference.activation(x, function, **more)
    attributes = {"function": function, "from": "input", **more}
    (dx,) = execute("activation_gradient", [x, dy], [(x.shape, "float32")], attributes)
    close(dx, backward(dy)[0], "float32", 16)


@pytest.mark.few
@pytest.mark.parametrize(("function", "dtype"), diagonal(list(ACTIVATIONS), ["float32", "float64"]))
def test_activation_of_special_values(execute, target, function, dtype):
    more = constants(function)
    finite = np.array([0.0, -0.0, 1e-30, -1e-30, 5e-4, -5e-4, 20, -20, 80, -80, 200, -200, 1e30, -1e30])
    x = np.array([np.nan, np.inf, *finite, *[np.nan] * 113], dtype)
    (y,) = execute("activation", [x], [(x.shape, dtype)], {"function": function, **more})
    assert np.isnan(y[[0, *range(16, 129)]]).all()
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        limit = reference.activation([1e300], function, **more)[0][0]
        limit = np.copysign(np.inf, limit) if abs(limit) > 1e100 or function in GROWING else limit
        limit = np.nan if function in PERIODIC else limit
        np.testing.assert_allclose(y[1], x.dtype.type(limit), rtol=0 if target == "cpu" else 1e-7, atol=1e-290)
        expected = reference.activation(x[2:16], function, **more)[0].astype(dtype)
    np.testing.assert_allclose(
        y[2:16], expected, rtol=16 * TOLERANCE[dtype], atol=1e-30 if "gelu" not in function else 3e-6
    )
    if function == "relu":
        dy = np.full_like(x, np.nan)
        (dx,) = execute(
            "activation_gradient", [y, dy], [(x.shape, dtype)], {"function": function, "alpha": 0.0, "from": "output"}
        )
        assert np.isnan(dx[0])
        assert dx[3] == 0, "a zero slope is zero whatever comes in"


@pytest.mark.few
@pytest.mark.parametrize(("function", "dtype"), diagonal(list(ACTIVATIONS), ["float32", "float64"]))
def test_slopes_of_large_and_small_arguments(execute, function, dtype):
    more = constants(function)
    x = np.array([np.nan, 1e-30, -1e-30, 5e-4, -5e-4, 12, -12, 20, -20, 80, -80, 200, -200, 1e18, -1e18], dtype)
    attributes = {"function": function, "from": "input", **more}
    (dx,) = execute("activation_gradient", [x, np.ones_like(x)], [(x.shape, dtype)], attributes)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        (expected,) = reference.activation(x[1:], function, **more)[1](np.ones(len(x) - 1))
        expected = expected.astype(dtype)
    # Slopes that vanish do so next to slopes of 1.
    np.testing.assert_allclose(dx[1:], expected, rtol=32 * TOLERANCE[dtype], atol=8 * TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("inputs", "activation", "dtype"),
    [(2, "", "float64"), (2, "relu", "float32"), (3, "leaky-relu", "float32"), (11, "tanh", "float32")],
)
def test_add(execute, target, inputs, activation, dtype):
    xs = [drawn((3, 7, 5, 12), dtype, seed) for seed in range(inputs)]
    expected, _ = reference.addition(*xs)
    expected = reference.activation(expected, activation, alpha=0.01)[0] if activation else expected
    attributes = {"activation": activation, "alpha": 0.01}
    for place in (None, {0: 0}, {0: 1}):
        (y,) = execute("add", xs, [(xs[0].shape, dtype)], attributes, in_place=place)
        close(y, expected, dtype, 4 if target == "cpu" else 16)


@pytest.mark.parametrize("shape", few([((256 * 16 * 2 + 4,),), ((256 * 16 * 3,),), ((8191,),), ((3, 16384 + 77),)], 2))
def test_many_blocks(execute, shape):
    """On a GPU of one multiprocessor several vectors of a thread, on a CPU several tiles."""
    x = drawn(shape)
    attributes = {"function": "relu", "alpha": 0.0}
    (y,) = execute("activation", [x], [(x.shape, "float32")], attributes, in_place={0: 0}, cores=1)
    np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_empty(execute):
    x = np.zeros((0, 4, 4, 3), np.float32)
    (y,) = execute("activation", [x], [(x.shape, "float32")], {"function": "relu", "alpha": 0.0})
    assert y.shape == x.shape
