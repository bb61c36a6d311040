"""Softmax and the losses on every target against the float64 oracle."""

import numpy as np
import pytest
import reference

ROWS = [
    ((5, 10), "float32"),
    ((7, 3), "float64"),
    ((2, 3, 17), "float32"),
    ((3, 1), "float32"),
    ((11, 1003), "float32"),
    ((601, 9), "float32"),
    ((9, 70), "float64"),
]
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}


def scores(shape, dtype, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 3).astype(dtype)


def targets(shape, dtype, seed=1):
    labels = np.random.default_rng(seed).integers(0, shape[-1], shape[:-1])
    return reference.one_hot(labels, shape[-1]).astype(dtype)


def close(got, expected, dtype):
    np.testing.assert_allclose(got, expected, rtol=8 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.few
@pytest.mark.parametrize(("shape", "dtype"), ROWS)
def test_softmax(execute, shape, dtype):
    x, dy = scores(shape, dtype), scores(shape, dtype, 3)
    expected, backward = reference.softmax(x)
    (y,) = execute("softmax", [x], [(shape, dtype)])
    close(y, expected, dtype)
    (again,) = execute("softmax", [x], [(shape, dtype)], in_place={0: 0})
    np.testing.assert_array_equal(again, y)
    (dx,) = execute("softmax_gradient", [y, dy], [(shape, dtype)], in_place={0: 1})
    close(dx, backward(dy)[0], dtype)
    (part,) = execute("softmax", [x[1:2]], [((1, *shape[1:]), dtype)])
    np.testing.assert_array_equal(part[0], y[1])


@pytest.mark.few
@pytest.mark.parametrize(
    ("shape", "dtype", "weighted"), [*((*row, False) for row in ROWS), (*ROWS[1], True), (*ROWS[2], True)]
)
def test_cross_entropies(execute, shape, dtype, weighted):
    z, t = scores(shape, dtype), targets(shape, dtype)
    weights = tuple(np.linspace(0.5, 2, shape[-1])) if weighted else ()
    attributes = {"class_weights": weights}
    y, through_softmax = reference.softmax(z)
    loss, backward = reference.cross_entropy(y, t, class_weights=weights or None)
    fused, got = execute("softmax_cross_entropy", [z, t], [((), "float64"), (shape, dtype)], attributes)
    np.testing.assert_allclose(fused, loss, rtol=TOLERANCE[dtype])
    close(got, y, dtype)
    again, _ = execute("softmax_cross_entropy", [z, t], [((), "float64"), (shape, dtype)], attributes, in_place={1: 0})
    assert again == fused
    (dz,) = execute("softmax_cross_entropy_gradient", [got, t], [(shape, dtype)], attributes, in_place={0: 0})
    np.testing.assert_allclose(dz, through_softmax(backward())[0], rtol=1e-5, atol=TOLERANCE[dtype] / shape[0])
    (plain,) = execute("cross_entropy", [got, t], [((), "float64")], attributes)
    np.testing.assert_allclose(plain, loss, rtol=2 * TOLERANCE[dtype])
    (dy,) = execute("cross_entropy_gradient", [got, t], [(shape, dtype)], attributes)
    np.testing.assert_allclose(
        dy, reference.cross_entropy(got, t, class_weights=weights or None)[1](), rtol=4 * TOLERANCE[dtype]
    )


def test_soft_targets(execute):
    z, t = scores((4, 6), "float64"), np.random.default_rng(2).random((4, 6))
    y, through_softmax = reference.softmax(z)
    loss, backward = reference.cross_entropy(y, t)
    fused, got = execute(
        "softmax_cross_entropy", [z, t], [((), "float64"), (z.shape, "float64")], {"class_weights": ()}
    )
    np.testing.assert_allclose(fused, loss, rtol=1e-14)
    (dz,) = execute(
        "softmax_cross_entropy_gradient", [got, t], [(z.shape, "float64")], {"class_weights": ()}, in_place={0: 1}
    )
    np.testing.assert_allclose(dz, through_softmax(backward())[0], rtol=1e-12, atol=1e-14)


def test_extreme_scores(execute):
    """A certain answer loses nothing, an impossible one loses its whole margin, and NaN shows."""
    z = np.array([[1000, 0, -1000], [1000, 0, -1000], [-np.inf, 0, 0], [1e30, -1e30, 0]], np.float32)
    t = np.eye(3, dtype=np.float32)[[0, 2, 1, 0]]
    attributes = {"class_weights": ()}
    loss, y = execute("softmax_cross_entropy", [z, t], [((), "float64"), (z.shape, "float32")], attributes)
    np.testing.assert_allclose(loss, (2000 + np.log(2)) / 4, rtol=1e-6)
    np.testing.assert_allclose(y, [[1, 0, 0], [1, 0, 0], [0, 0.5, 0.5], [1, 0, 0]])
    z[1, 1] = np.nan
    loss, y = execute("softmax_cross_entropy", [z, t], [((), "float64"), (z.shape, "float32")], attributes)
    assert np.isnan(loss)
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[[0, 2, 3]]).all()
    (loss,) = execute("cross_entropy", [np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])], [((), "float64")], attributes)
    assert loss == 0
    (dy,) = execute(
        "cross_entropy_gradient", [np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])], [((1, 2), "float64")], attributes
    )
    np.testing.assert_array_equal(dy, [[-1, 0]])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((5, 1), "float32"),
        ((3, 7, 11, 2), "float64"),
        pytest.param((3, 83, 97, 2), "float32", marks=pytest.mark.full("cuda")),
        ((3, 33, 47, 4), "float32"),
    ],
)
def test_half_squared_error(execute, target, shape, dtype):
    y, t = scores(shape, dtype), scores(shape, dtype, 1)
    loss, backward = reference.half_squared_error(y, t)
    (got,) = execute("half_squared_error", [y, t], [((), "float64")])
    np.testing.assert_allclose(got, loss, rtol=1e-13 if target == "cpu" else TOLERANCE[dtype])
    (dy,) = execute("half_squared_error_gradient", [y, t], [(shape, dtype)], in_place={0: 0})
    close(dy, backward(), dtype)


def test_empty_batch(execute):
    nothing = np.zeros((0, 4), np.float32)
    loss, y = execute(
        "softmax_cross_entropy", [nothing, nothing], [((), "float64"), ((0, 4), "float32")], {"class_weights": ()}
    )
    assert loss == 0
    assert y.shape == (0, 4)
