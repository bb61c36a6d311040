"""Dropout on every target: the mask bit by bit, its share, its independence."""

import numpy as np
import pytest
import reference as ref
from support.hyperparameters import numbers


def drawn(shape, dtype="float32"):
    return (np.random.default_rng(0).standard_normal(shape) * 3).astype(dtype)


@pytest.mark.parametrize(
    ("count", "probability", "dtype"),
    [(4 * 256 * 2 + 20, 0.5, "float32"), (333, 0.1, "float32"), (250, 0.9, "float64"), (67, 0.3, "float64")],
)
def test_every_target_has_the_same_mask(execute, count, probability, dtype):
    x = drawn((count,), dtype)
    iteration, seed = 3, (7 << 32) + 123456789
    scalars = numbers(iteration=iteration, seed=seed)
    attributes = {"probability": probability, "index": 2}
    mask = ref.dropout_mask(count, probability, 2, iteration, seed)
    for place in (None, {0: 0}):
        (y,) = execute("dropout", [x], [((count,), dtype)], attributes, scalars, in_place=place)
        expected = x * np.where(mask, np.array(1 / (1 - probability), dtype), np.array(0, dtype))
        np.testing.assert_array_equal(y, expected)


def mask(execute, shape, probability, index=0, iteration=1.0, seed=5.0, dtype="float32"):
    scalars = numbers(iteration=iteration, seed=seed)
    attributes = {"probability": probability, "index": index}
    (y,) = execute("dropout", [np.ones(shape, dtype)], [(shape, dtype)], attributes, scalars)
    return y


@pytest.mark.parametrize(
    "probability", [0.1, *(pytest.param(share, marks=pytest.mark.full("cuda")) for share in (0.5, 0.9))]
)
def test_the_right_share_is_kept(execute, probability):
    y = mask(execute, (64, 1001), probability)
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / (1 - probability), rtol=1e-6)
    sigma = np.sqrt(probability * (1 - probability) / y.size)
    assert abs(kept.mean() - (1 - probability)) < 4 * sigma
    columns = kept.mean(axis=0)
    assert abs(columns.std() / np.sqrt(probability * (1 - probability) / 64) - 1) < 0.15


def test_the_gradient_has_the_same_mask(execute):
    scalars = numbers(iteration=7, seed=123456789)
    x = drawn((9, 13))
    attributes = {"probability": 0.3, "index": 2}
    (y,) = execute("dropout", [x], [(x.shape, "float32")], attributes, scalars)
    (dx,) = execute("dropout", [np.ones_like(x)], [(x.shape, "float32")], attributes, scalars, in_place={0: 0})
    np.testing.assert_array_equal(y, x * dx)


def test_streams_are_independent(execute):
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


def test_ends(execute):
    x, scalars = np.full(33, np.nan), numbers(iteration=1, seed=1)
    (y,) = execute("dropout", [x], [(x.shape, "float64")], {"probability": 0.5, "index": 0}, scalars)
    assert np.isnan(y).all()
    x = np.ones(33, np.float32)
    for probability in (0.0, 1.0):
        (y,) = execute("dropout", [x], [(x.shape, "float32")], {"probability": probability, "index": 0}, scalars)
        assert (y == 1 - probability).all()
