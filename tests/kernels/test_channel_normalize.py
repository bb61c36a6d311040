"""Affine maps of columns on every target: normalization of inputs, and of channels by trained statistics."""

import numpy as np
import pytest
import reference
from support.sets import diagonal

TOLERANCE = {"float32": 4e-7, "float64": 4e-16}


def drawn(shape, dtype="float32", seed=0, spread=3.0):
    return (np.random.default_rng(seed).standard_normal(shape) * spread).astype(dtype)


def close(got, expected, dtype, slack=1.0):
    tolerance = TOLERANCE[dtype] * slack
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


METHODS = {
    "zerocenter": ("mean",),
    "zscore": ("mean", "standard_deviation"),
    "rescale-symmetric": ("min", "max"),
    "rescale-zero-one": ("min", "max"),
}


@pytest.mark.few
@pytest.mark.parametrize(
    ("method", "shape", "statistic", "dtype"),
    [
        ("zerocenter", (3, 7, 5, 3), (3,), "float32"),
        ("zscore", (5, 7, 9, 3), (3,), "float32"),
        ("zscore", (5, 11, 7, 1), (1,), "float64"),
        ("rescale-symmetric", (4, 5, 5, 3), (5, 5, 3), "float32"),
        ("rescale-zero-one", (2, 31, 29, 5), (31, 29, 5), "float32"),
        ("zscore", (5, 8, 9, 3), (3,), "float32"),
        ("zscore", (80, 23), (23,), "float32"),
        ("zerocenter", (3, 1028), (1028,), "float32"),
        pytest.param("zerocenter", (2, 83, 71, 3), (83, 71, 3), "float32", marks=pytest.mark.full("cuda")),
        pytest.param("zscore", (3000, 23), (23,), "float32", marks=pytest.mark.full("cuda")),
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
    (got,) = execute("input_normalization", [x, *statistics], [(shape, dtype)], {"method": method}, cores=1)
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


@pytest.mark.few
@pytest.mark.parametrize("shape", [(2, 6, 6, 16), (300, 13), (3, 5, 2)])
def test_statistics_gradient(execute, shape):
    """With the dx of fixed statistics it is the gradient of a norm by x's own."""
    rng, channels = np.random.default_rng(6), shape[-1]
    x, dy = rng.standard_normal((2, *shape))
    mean, variance = x.reshape(-1, channels).mean(0), x.reshape(-1, channels).var(0)
    scale, offset = rng.standard_normal((2, channels))
    given = {"epsilon": 1e-3}
    _, back = reference.channel_normalize(x, mean, variance, scale, offset, epsilon=1e-3)
    dx, dscale, doffset = back(dy)
    operands = [np.asarray(each, "float32") for each in (dx, x, mean, variance, scale, dscale, doffset)]
    (found,) = execute("statistics_gradient", operands, [(shape, "float32")], given, in_place={0: 0})
    _, back = reference.batch_norm(x, scale, offset, epsilon=1e-3)
    np.testing.assert_allclose(found, back(dy)[0], atol=2e-6)


@pytest.mark.parametrize("channels", [11, 12])
def test_statistics_gradient_of_steps(execute, channels):
    """Of sequences it is that of the steps there are, and 0 behind them, whatever stands there."""
    rng = np.random.default_rng(7)
    x, dy = rng.standard_normal((2, 3, 7, 2, channels))
    steps = np.array([[7.0], [2.0], [4.0]])
    own = np.arange(7) < steps
    mean, variance = x[own].reshape(-1, channels).mean(0), x[own].reshape(-1, channels).var(0)
    scale, offset = rng.standard_normal((2, channels))
    _, back = reference.channel_normalize(x[own], mean, variance, scale, offset, epsilon=1e-3)
    part, dscale, doffset = back(dy[own])
    dx = np.full(x.shape, np.nan)
    dx[own] = part
    count = steps.mean(0)
    operands = [np.asarray(each, "float32") for each in (dx, x, mean, variance, scale, dscale, doffset, steps, count)]
    given, kinds = {"epsilon": 1e-3}, [(x.shape, "float32")]
    (found,) = execute("statistics_gradient", operands, kinds, given)
    _, back = reference.masked_batch_norm(x, scale, offset, steps, epsilon=1e-3)
    np.testing.assert_allclose(found, back(dy)[0], atol=2e-6)
    inputs = [np.asarray(each, "float32") for each in (x, mean, variance, scale, offset, steps, count)]
    (y,) = execute("masked_channel_normalize", inputs, kinds, given)
    np.testing.assert_allclose(y[own], reference.batch_norm(x[own], scale, offset, epsilon=1e-3)[0], atol=2e-6)


@pytest.mark.few
@pytest.mark.parametrize(
    ("shape", "activation"),
    diagonal([((2, 6, 6, 16),), ((3, 5, 7, 3),), ((2, 3, 30),), ((1, 40, 9, 64),)], ["", "relu"]),
)
def test_channel_normalize_and_its_gradient(execute, shape, activation):
    rng, c = np.random.default_rng(5), shape[-1]
    x, dy = rng.standard_normal((2, *shape)).astype(np.float32)
    mean, scale, offset = rng.standard_normal((3, c)).astype(np.float32)
    variance = rng.uniform(0.5, 2, c).astype(np.float32)
    given = {"epsilon": 1e-5, "activation": activation, "alpha": 0.0}
    (y,) = execute("channel_normalize", [x, mean, variance, scale, offset], [(shape, "float32")], given, cores=4)
    inverse = 1 / np.sqrt(variance.astype(np.float64) + 1e-5)
    normal = (x.astype(np.float64) - mean) * inverse
    linear = normal * scale + offset
    passes = linear > 0 if activation else np.ones(shape)
    assert np.abs(y - linear * passes).max() < 4e-6
    operands = [x, dy, mean, variance, scale, offset]
    ends = [(shape, "float32"), ((c,), "float32"), ((c,), "float32")]
    dx, dscale, doffset = execute("channel_normalize_gradient", operands, ends, given, cores=4)
    g, axes = dy.astype(np.float64) * passes, tuple(range(len(shape) - 1))
    assert np.abs(dx - g * inverse * scale).max() < 1e-5
    assert np.abs(dscale - (g * normal).sum(axes)).max() < 1e-4
    assert np.abs(doffset - g.sum(axes)).max() < 1e-4
