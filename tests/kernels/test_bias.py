"""Adding a bias on every target, and its gradient."""

import numpy as np
import pytest
from support.sets import few

TOLERANCE = {"float32": 4e-7, "float64": 4e-16}


def drawn(shape, dtype="float32", seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 3).astype(dtype)


def sums(execute, shape, dtype, cores):
    dy = drawn(shape, dtype)
    (got,) = execute("bias_gradient", [dy], [(shape[-1:], dtype)], cores=cores)
    expected = dy.astype(np.float64).sum(axis=tuple(range(len(shape) - 1)))
    scale = np.abs(dy.astype(np.float64)).sum(axis=tuple(range(len(shape) - 1)))
    assert (np.abs(got - expected) <= TOLERANCE[dtype] * scale + 1e-300).all()


@pytest.mark.few
@pytest.mark.parametrize(
    ("shape", "dtype", "cores"),
    few([
        ((3, 7, 5, 3), "float32", 4),
        ((2, 16, 16, 3), "float32", 4),
        ((1, 7), "float32", 4),
        ((4, 40, 40, 8), "float32", 1),
        ((4, 40, 40, 8), "float32", 3),
        ((33, 1028), "float32", 2),
        ((33, 1027), "float32", 2),
        ((5000, 1), "float32", 3),
        ((5000, 1), "float64", 3),
        ((300, 10), "float64", 4),
        ((0, 4), "float32", 4),
        ((2, 9, 9, 8), "float32", 2),
        ((4, 300), "float32", 2),
        ((1, 1, 1, 1), "float32", 2),
        pytest.param((5, 61, 61, 20), "float32", 2, marks=pytest.mark.full("cuda")),
    ], 7),
)  # fmt: skip
def test_bias_and_its_gradient(execute, shape, dtype, cores):
    x, bias = drawn(shape, dtype), drawn(shape[-1:], dtype, 1)
    for place in (None, {0: 0}):
        (y,) = execute("bias", [x, bias], [(shape, dtype)], in_place=place, cores=cores)
        np.testing.assert_array_equal(y, x + bias)
    sums(execute, shape, dtype, cores)
