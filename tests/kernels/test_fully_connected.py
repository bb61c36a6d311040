"""Fully connected layers on every target, both directions, against float64 NumPy."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from support.sets import in_full, on_gpu_in_full

TOLERANCE = {"float32": 1.5e-6, "float64": 4e-15}
SIZES = [(32, 392, 10), (1, 300, 5), (5, 1, 1), (9, 64, 150), (0, 8, 4)]
OTHERS = [(9, 2200, 17), (9, 64, 600)]
ALIKE = [(7, 5, 3), (128, 392, 10), (33, 4200, 17), (600, 20, 9), (150, 20, 9), (70, 530, 271)]
"""What the default run has on the CPU only, and what it has not."""
CASES = [
    *((*size, "float32") for size in SIZES), (7, 5, 3, "float64"), (33, 70, 17, "float64"),
    *on_gpu_in_full([(*size, "float32") for size in OTHERS]),
    *in_full([*((*size, "float32") for size in ALIKE), (33, 700, 17, "float64")]),
]  # fmt: skip


def close(got, expected, dtype):
    assert got.shape == expected.shape
    if expected.size:
        assert np.abs(got - expected).max() <= TOLERANCE[dtype] * max(np.abs(expected).max(), 1e-30)


def drawn(rows, inputs, outputs, dtype):
    rng = np.random.default_rng(inputs)
    shapes = ((rows, inputs), (outputs, inputs), (outputs,), (rows, outputs))
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.fixture
def execute(execute):
    """On so few cores that small shapes are not cut into many parts on a GPU."""
    return partial(execute, cores=2)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(9, 64, 150), (8, 30, 8)])
def test_residual(execute, rows, inputs, outputs):
    x, weights, bias, residual = drawn(rows, inputs, outputs, "float32")
    given, ends = {"activation": "relu", "alpha": 0.0, "residual": True}, [(residual.shape, "float32")]
    (y,) = execute("fully_connected", [x, weights, bias, residual], ends, given)
    close(y, np.maximum(x.astype(np.float64) @ weights.astype(np.float64).T + bias + residual, 0), "float32")
    (one,) = execute("fully_connected", [x[1:2], weights, bias, residual[1:2]], [((1, outputs), "float32")], given)
    np.testing.assert_array_equal(one[0], y[1])


@pytest.mark.few
@pytest.mark.parametrize(("rows", "inputs", "outputs", "dtype"), CASES)
def test_against_numpy(execute, rows, inputs, outputs, dtype):
    x, weights, bias, dy = drawn(rows, inputs, outputs, dtype)
    x64, weights64, bias64, dy64 = (array.astype(np.float64) for array in (x, weights, bias, dy))

    (y,) = execute(
        "fully_connected",
        [x, weights, bias],
        [(dy.shape, dtype)],
        {"activation": "leaky-relu", "alpha": 0.5},
    )
    expected = x64 @ weights64.T + bias64
    close(y, np.where(expected < 0, 0.5 * expected, expected), dtype)
    (dx,) = execute("fully_connected_input_gradient", [dy, weights], [(x.shape, dtype)])
    close(dx, dy64 @ weights64, dtype)
    results = [(weights.shape, dtype), (bias.shape, dtype)]
    dweights, dbias = execute("fully_connected_weight_gradient", [x, dy], results, {"bias": True})
    close(dweights, dy64.T @ x64, dtype)
    close(dbias, dy64.sum(0), dtype)


def test_x_is_flattened_and_bias_is_optional(execute):
    x, weights, _, dy = drawn(6, 60, 7, "float32")
    image = x.reshape(6, 3, 4, 5)
    (y,) = execute("fully_connected", [image, weights], [(dy.shape, "float32")])
    close(y, x.astype(np.float64) @ weights.astype(np.float64).T, "float32")
    (dx,) = execute("fully_connected_input_gradient", [dy, weights], [(image.shape, "float32")])
    close(dx.reshape(x.shape), dy.astype(np.float64) @ weights.astype(np.float64), "float32")
    (dweights,) = execute("fully_connected_weight_gradient", [image, dy], [(weights.shape, "float32")])
    close(dweights, dy.astype(np.float64).T @ x.astype(np.float64), "float32")


@pytest.mark.few
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [(37, 300, 10), (8, 40, 33), pytest.param(70, 530, 271, marks=pytest.mark.full("cuda"))],
)
def test_a_row_of_the_batch_keeps_its_bits(execute, rows, inputs, outputs):
    x, weights, bias, dy = drawn(rows, inputs, outputs, "float32")
    (whole,) = execute("fully_connected", [x, weights, bias], [(dy.shape, "float32")])
    (one,) = execute("fully_connected", [x[3:4], weights, bias], [((1, outputs), "float32")])
    np.testing.assert_array_equal(one[0], whole[3])
    (whole,) = execute("fully_connected_input_gradient", [dy, weights], [(x.shape, "float32")])
    (one,) = execute("fully_connected_input_gradient", [dy[3:4], weights], [((1, inputs), "float32")])
    np.testing.assert_array_equal(one[0], whole[3])
