"""Products of two arrays on every target, each either way round, against NumPy in float64."""

import numpy as np
import pytest

DRAW = np.random.default_rng(0)
EITHER = ((False, False), (True, False), (False, True), (True, True))


def product(a, b, left, right):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (np.swapaxes(a, -1, -2) if left else a) @ (np.swapaxes(b, -1, -2) if right else b)


def crosswise(shape, transposed):
    return (*shape[:-2], shape[-1], shape[-2]) if transposed else shape


@pytest.mark.parametrize(
    ("a", "b", "turned", "dtype"),
    [
        ((2, 3, 17, 5), (2, 3, 5, 33), EITHER[0], "float32"),
        ((2, 19, 40), (2, 40, 21), EITHER[1], "float32"),
        ((3, 2, 18, 37), (3, 2, 37, 50), EITHER[2], "float32"),
        ((2, 7, 9), (2, 9, 6), EITHER[3], "float32"),
        ((2, 1, 5), (2, 5, 1), EITHER[2], "float64"),
        ((2, 3, 2, 4, 8), (2, 1, 2, 8, 16), EITHER[0], "float64"),  # heads share a key
        ((2, 1, 3, 9, 4), (5, 1, 4, 7), EITHER[0], "float32"),  # no axis of observations
        ((2, 70, 130), (2, 130, 100), EITHER[0], "float32"),  # more than L1 holds
        ((2, 5, 1500), (2, 1500, 4), EITHER[2], "float32"),  # more than one sum
        ((1, 64, 64), (1, 64, 64), EITHER[3], "float32"),
    ],
)
def test_matrix_product(execute, a, b, turned, dtype):
    x, z = (DRAW.standard_normal(crosswise(*each)).astype(dtype) for each in zip((a, b), turned, strict=True))
    expected = product(x, z, *turned)
    attributes = {"left_crosswise": turned[0], "right_crosswise": turned[1]}
    (y,) = execute("matrix_product", [x, z], [(expected.shape, dtype)], attributes)
    scale = np.sqrt(a[-1])
    np.testing.assert_allclose(y, expected, rtol=0, atol=scale * (4e-6 if dtype == "float32" else 1e-14))


def test_a_nan_stays_in_its_rows_and_columns(execute):
    x, z = DRAW.standard_normal((2, 2, 6, 4)).astype(np.float32), DRAW.standard_normal((2, 2, 4, 20)).astype(np.float32)
    x[0, 1, 2, 3], z[1, 0, 1, 5] = np.nan, np.inf
    attributes = {"left_crosswise": False, "right_crosswise": False}
    (y,) = execute("matrix_product", [x, z], [((2, 2, 6, 20), "float32")], attributes)
    finite = np.ones(y.shape, bool)
    finite[0, 1, 2], finite[1, 0, :, 5] = False, False
    np.testing.assert_array_equal(np.isfinite(y), finite)
