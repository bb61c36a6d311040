"""A sparse matrix times the lines of an array along an axis, on every target, against the whole matrix in NumPy."""

import numpy as np
import pytest

from gncodegen.layers.resampling import along

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "axis", "outputs", "dtype"),
    [
        ((2, 5, 3, 8), 1, 7, "float32"),
        ((2, 3, 6, 5), -2, 4, "float64"),
        ((3, 4, 19), -1, 19, "float32"),
        ((2, 70, 4), 1, 90, "float32"),
    ],
)
def test_sparse_product(execute, shape, axis, outputs, dtype):
    inputs = shape[axis]
    matrix = DRAW.standard_normal((outputs, inputs)) * (DRAW.random((outputs, inputs)) < 3 / inputs)
    matrix[1] = 0  # a row of a gradient's matrix may be empty
    attributes = dict(along(matrix, axis).attributes)
    x = DRAW.standard_normal(shape).astype(dtype)
    expected = np.moveaxis(np.tensordot(matrix, np.moveaxis(x.astype(np.float64), axis, 0), 1), 0, axis)
    (y,) = execute("sparse_product", [x], [(expected.shape, dtype)], attributes)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 if dtype == "float32" else 1e-14)


def test_a_nan_reaches_those_that_take_it(execute):
    matrix = np.eye(4)[[0, 0, 2, 3]]
    x = DRAW.standard_normal((1, 4, 8)).astype(np.float32)
    x[:, 1] = np.nan
    (y,) = execute("sparse_product", [x], [(x.shape, "float32")], dict(along(matrix, 1).attributes))
    np.testing.assert_array_equal(y, x[:, [0, 0, 2, 3]])
