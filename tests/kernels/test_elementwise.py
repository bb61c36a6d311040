"""Element-by-element kernels against the float64 oracle."""

import numpy as np
import pytest
import reference

from gncodegen.kernels.activations import GRADIENT_FROM, gradient_from

ALPHA = {"leaky-relu": 0.01, "clipped-relu": 1.5, "elu": 0.7}
TOLERANCE = {"float32": 4e-7, "float64": 4e-16}


def drawn(shape, dtype="float32", seed=0, spread=3.0):
    return (np.random.default_rng(seed).standard_normal(shape) * spread).astype(dtype)


def close(got, expected, dtype, slack=1.0):
    tolerance = TOLERANCE[dtype] * slack
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", GRADIENT_FROM)
def test_activation(execute, function, dtype):
    alpha = ALPHA.get(function, 0.0)
    x, dy = drawn((1, 43, 3), dtype), drawn((1, 43, 3), dtype, 1)
    y, backward = reference.activation(x, function, alpha=alpha)
    attributes = {"function": function, "alpha": alpha}
    (got,) = execute("activation", [x], [(x.shape, dtype)], attributes)
    close(got, y, dtype, 4)
    source = gradient_from(function, alpha)
    values = x if source == "input" else got
    (dx,) = execute(
        "activation_gradient", [values, dy], [(x.shape, dtype)], {**attributes, "from": source}, in_place={0: 1}
    )
    close(dx, backward(dy)[0], dtype, 64)  # the oracle's 1 + tanh cancels


@pytest.mark.parametrize("function", GRADIENT_FROM)
def test_activation_from_input(execute, function):
    alpha = ALPHA.get(function, 0.0)
    x, dy = drawn((129,)), drawn((129,), seed=1)
    _, backward = reference.activation(x, function, alpha=alpha)
    (dx,) = execute(
        "activation_gradient", [x, dy], [(x.shape, "float32")], {"function": function, "alpha": alpha, "from": "input"}
    )
    close(dx, backward(dy)[0], "float32", 16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", GRADIENT_FROM)
def test_activation_of_special_values(execute, function, dtype):
    alpha = ALPHA.get(function, 0.0)
    finite = np.array([0.0, -0.0, 1e-30, -1e-30, 5e-4, -5e-4, 20, -20, 80, -80, 200, -200, 1e30, -1e30])
    x = np.array([np.nan, np.inf, *finite, *[np.nan] * 113], dtype)
    (y,) = execute("activation", [x], [(x.shape, dtype)], {"function": function, "alpha": alpha})
    assert np.isnan(y[[0, *range(16, 129)]]).all()
    limit = {"clipped-relu": alpha, "tanh": 1.0, "sigmoid": 1.0}.get(function, np.inf)
    assert y[1] == limit
    with np.errstate(over="ignore", invalid="ignore"):
        expected = reference.activation(x[2:16], function, alpha=alpha)[0]
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


def test_exponential_is_accurate_over_the_whole_range(execute):
    """float32 functions within a few units in the last place, denormal results included."""
    x = np.linspace(-110, 90, 4001, dtype=np.float32)
    (y,) = execute("activation", [x], [(x.shape, "float32")], {"function": "elu", "alpha": 1.0})
    negative = x < 0
    expected = np.expm1(x[negative].astype(np.float64))
    assert np.abs((y[negative] - expected) / np.spacing(np.abs(expected).astype(np.float32))).max() < 2
    (s,) = execute("activation", [x], [(x.shape, "float32")], {"function": "sigmoid", "alpha": 0.0})
    middle = x > -87
    exact = 1 / (1 + np.exp(-x[middle].astype(np.float64)))
    assert np.abs((s[middle] - exact) / np.spacing(exact.astype(np.float32))).max() < 3


@pytest.mark.parametrize(
    ("inputs", "activation", "dtype"), [(2, "", "float64"), (2, "relu", "float32"), (3, "leaky-relu", "float32")]
)
def test_add(execute, inputs, activation, dtype):
    xs = [drawn((3, 7, 5, 11), dtype, seed) for seed in range(inputs)]
    expected, _ = reference.addition(*xs)
    expected = reference.activation(expected, activation, alpha=0.01)[0] if activation else expected
    attributes = {"activation": activation, "alpha": 0.01}
    for place in (None, {0: 0}, {0: 1}):
        (y,) = execute("add", xs, [(xs[0].shape, dtype)], attributes, in_place=place)
        close(y, expected, dtype, 4)


def test_many_blocks(execute):
    x = drawn((3, 16384 + 77))
    (y,) = execute("activation", [x], [(x.shape, "float32")], {"function": "relu", "alpha": 0.0}, in_place={0: 0})
    np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_empty(execute):
    x = np.zeros((0, 4, 4, 3), np.float32)
    (y,) = execute("activation", [x], [(x.shape, "float32")], {"function": "relu", "alpha": 0.0})
    assert y.shape == x.shape


# ---- dropout -------------------------------------------------------------------------------------------------------


def mask(execute, shape, probability, index=0, iteration=1.0, seed=5.0, dtype="float32"):
    scalars = [0, 0, 0, 0, iteration, seed, 0, 0]
    attributes = {"probability": probability, "index": index}
    (y,) = execute("dropout", [np.ones(shape, dtype)], [(shape, dtype)], attributes, scalars)
    return y


@pytest.mark.parametrize("probability", [0.5, 0.1, 0.9])
def test_dropout_keeps_the_right_share(execute, probability):
    y = mask(execute, (64, 1001), probability)
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / (1 - probability), rtol=1e-6)
    sigma = np.sqrt(probability * (1 - probability) / y.size)
    assert abs(kept.mean() - (1 - probability)) < 4 * sigma
    columns = kept.mean(axis=0)
    assert abs(columns.std() / np.sqrt(probability * (1 - probability) / 64) - 1) < 0.15


def test_dropout_is_the_same_mask_on_the_gradient_and_repeats(execute):
    scalars = [0, 0, 0, 0, 7, 123456789, 0, 0]
    x = drawn((9, 13))
    attributes = {"probability": 0.3, "index": 2}
    (y,) = execute("dropout", [x], [(x.shape, "float32")], attributes, scalars)
    (dx,) = execute("dropout", [np.ones_like(x)], [(x.shape, "float32")], attributes, scalars, in_place={0: 0})
    np.testing.assert_array_equal(y, x * dx)


def test_dropout_streams_are_independent(execute):
    shape, n = (64, 1000), 64000
    masks = {
        name: mask(execute, shape, 0.5, **changed).ravel() - 1
        for name, changed in {
            "base": {},
            "index": {"index": 1},
            "iteration": {"iteration": 2},
            "seed": {"seed": 6},
        }.items()
    }
    base = masks.pop("base")
    for other in masks.values():
        assert abs((base * other).mean()) < 4 / np.sqrt(n)
        for lag in (1, 2, 3):
            assert abs((base[lag:] * other[:-lag]).mean()) < 4 / np.sqrt(n)
    for lag in (1, 2, 3, 4, 8, 16, 64, 1000):
        assert abs((base[lag:] * base[:-lag]).mean()) < 4 / np.sqrt(n - lag)


def test_dropout_ends(execute):
    assert (mask(execute, (33,), 0.0) == 1).all()
    x = np.full(33, np.nan)
    (y,) = execute("dropout", [x], [(x.shape, "float64")], {"probability": 0.5, "index": 0}, [0, 0, 0, 0, 1, 1, 0, 0])
    assert np.isnan(y).all()


# ---- affine maps of columns ------------------------------------------------------------------------------------------

METHODS = {
    "zerocenter": ("mean",),
    "zscore": ("mean", "standard_deviation"),
    "rescale-symmetric": ("min", "max"),
    "rescale-zero-one": ("min", "max"),
}


@pytest.mark.parametrize(
    ("method", "shape", "statistic", "dtype"),
    [
        ("zerocenter", (3, 7, 5, 3), (3,), "float32"),
        ("zscore", (5, 7, 9, 3), (3,), "float32"),
        ("zscore", (5, 11, 7, 1), (1,), "float64"),
        ("rescale-symmetric", (4, 5, 5, 3), (5, 5, 3), "float32"),
        ("rescale-zero-one", (2, 31, 29, 5), (31, 29, 5), "float32"),
        ("zerocenter", (2, 83, 71, 3), (83, 71, 3), "float32"),
        ("zscore", (3000, 23), (23,), "float32"),
    ],
)
def test_input_normalization(execute, method, shape, statistic, dtype):
    x, dy = drawn(shape, dtype), drawn(shape, dtype, 1)
    low, high = drawn(statistic, dtype, 2), np.abs(drawn(statistic, dtype, 3)) + 0.5
    first, second = (low, low + high) if method.startswith("rescale") else (low, high)
    if second.size > 1:
        second.flat[0] = first.flat[0] if method.startswith("rescale") else 0
    statistics = [first, second][: len(METHODS[method])]
    y, backward = reference.input_normalization(x, method, **dict(zip(METHODS[method], statistics, strict=True)))
    (got,) = execute("input_normalization", [x, *statistics], [(shape, dtype)], {"method": method})
    close(got, y, dtype, 30)
    (got,) = execute("input_normalization", [x, *statistics], [(shape, dtype)], {"method": method}, in_place={0: 0})
    close(got, y, dtype, 30)
    (dx,) = execute(
        "input_normalization_gradient", [dy, *statistics], [(shape, dtype)], {"method": method}, in_place={0: 0}
    )
    close(dx, backward(dy)[0], dtype, 4)


@pytest.mark.parametrize(
    ("shape", "activation", "dtype"),
    [
        ((2, 5, 7, 3), "", "float32"),
        ((130, 20), "relu", "float32"),
        ((3, 4, 5, 8), "tanh", "float64"),
        ((5, 2053), "leaky-relu", "float32"),
    ],
)
def test_channel_normalize(execute, shape, activation, dtype):
    x, channels = drawn(shape, dtype), shape[-1:]
    mean, variance = drawn(channels, dtype, 1), np.abs(drawn(channels, dtype, 2)) + 0.1
    scale, offset = drawn(channels, dtype, 3), drawn(channels, dtype, 4)
    expected, _ = reference.channel_normalize(x, mean, variance, scale, offset, epsilon=1e-3)
    expected = reference.activation(expected, activation, alpha=0.2)[0] if activation else expected
    attributes = {"epsilon": 1e-3, "activation": activation, "alpha": 0.2}
    for place in (None, {0: 0}):
        (y,) = execute(
            "channel_normalize", [x, mean, variance, scale, offset], [(shape, dtype)], attributes, in_place=place
        )
        close(y, expected, dtype, 60)
    (part,) = execute(
        "channel_normalize", [x[1:2], mean, variance, scale, offset], [((1, *shape[1:]), dtype)], attributes
    )
    np.testing.assert_array_equal(part[0], y[1])
