"""Kernels that only move elements, on every target, against NumPy and the float64 oracle."""

import numpy as np
import pytest
import reference
from support.sets import diagonal

from gncodegen.kernels.movement import collapsed

MODES = ["constant", "symmetric-include-edge", "symmetric-exclude-edge", "replicate"]
FEW = 1
"""So few cores that small arrays already get several vectors per thread of a GPU."""


def drawn(shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "widths", "dtype"),
    [
        ((3, 5, 7), (8, 3, 1), "float32"),
        ((3, 5, 7), (8, 4, 12), "float32"),
        ((401,), (2, 37), "float64"),
        pytest.param((4001,), (2, 37), "float64", marks=pytest.mark.full("cuda")),
    ],
)
def test_concatenate_and_slice(execute, shape, widths, dtype):
    xs = [drawn((*shape, width), dtype, width) for width in widths]
    expected = np.concatenate(xs, axis=-1)
    (y,) = execute("concatenate", xs, [(expected.shape, dtype)], cores=FEW)
    np.testing.assert_array_equal(y, expected)
    start = 0
    for x in xs:
        length = x.shape[-1]
        (part,) = execute("slice", [y], [(x.shape, dtype)], {"start": start, "length": length}, cores=FEW)
        np.testing.assert_array_equal(part, x)
        start += length


@pytest.mark.parametrize(("axis", "inner"), diagonal([0, 1, 2, -2], [3, 8]))
def test_concatenate_and_slice_along_any_axis(execute, axis, inner):
    shape = (2, 5, 4, inner)
    extents = [shape[axis], 1, 3]
    xs = [drawn((*shape[: axis % 4], extent, *shape[axis % 4 + 1 :]), seed=extent) for extent in extents]
    expected = np.concatenate(xs, axis)
    (y,) = execute("concatenate", xs, [(expected.shape, "float32")], {"axis": axis})
    np.testing.assert_array_equal(y, expected)
    start = 0
    for x, extent in zip(xs, extents, strict=True):
        attributes = {"start": start, "length": extent, "axis": axis}
        (part,) = execute("slice", [y], [(x.shape, "float32")], attributes)
        np.testing.assert_array_equal(part, x)
        start += extent


@pytest.mark.parametrize(
    ("shape", "permutation", "dtype"),
    [
        ((3, 13, 11, 20), (0, 3, 1, 2), "float32"),
        ((3, 20, 13, 11), (0, 2, 3, 1), "float32"),
        ((2, 67, 91, 3), (0, 3, 1, 2), "float32"),
        ((2, 3, 67, 91), (0, 2, 3, 1), "float64"),
        ((5, 7, 9, 1), (0, 3, 1, 2), "float32"),
        ((33, 65), (1, 0), "float32"),
        ((136, 72), (1, 0), "float32"),
        ((4, 3, 5, 7), (1, 0, 2, 3), "float32"),
        ((4, 3, 5, 8), (1, 0, 2, 3), "float32"),
        ((4, 3, 5, 7), (3, 1, 0, 2), "float32"),
        ((2, 3, 4, 5, 6), (0, 4, 1, 2, 3), "float32"),
        ((1, 1), (0, 1), "float64"),
        ((1, 17), (0, 1), "float32"),
        ((0, 4, 4, 3), (0, 3, 1, 2), "float32"),
        ((8, 8, 16), (1, 2, 0), "float64"),
    ],
)
def test_transpose(execute, shape, permutation, dtype):
    x = drawn(shape, dtype)
    expected = x.transpose(permutation)
    (y,) = execute("transpose", [x], [(expected.shape, dtype)], {"permutation": permutation})
    np.testing.assert_array_equal(y, expected)


def test_collapsed():
    assert collapsed((8, 5, 6, 3), (0, 3, 1, 2)) == ((8, 30, 3), (0, 2, 1))
    assert collapsed((8, 5, 6, 1), (0, 3, 1, 2)) == ((240,), (0,))
    assert collapsed((1, 5, 6, 3), (0, 3, 1, 2)) == ((30, 3), (1, 0))
    assert collapsed((1, 1), (1, 0)) == ((), ())


def test_copy_in_place(execute):
    x = drawn((3, 4))
    (y,) = execute("transpose", [x], [(x.shape, "float32")], {"permutation": (0, 1)}, in_place={0: 0})
    np.testing.assert_array_equal(y, x)


@pytest.mark.few
@pytest.mark.parametrize(
    ("shape", "padding", "dtype", "mode"),
    [
        *(((3, 7, 5, 4), (1, 2, 0, 3), "float32", mode) for mode in MODES),
        ((2, 4, 1), (3, 1), "float64", "symmetric-exclude-edge"),
        ((2, 3, 3), (5, 4), "float64", "symmetric-include-edge"),
        ((2, 3, 4, 5, 2), (1, 0, 2, 1, 0, 4), "float32", "constant"),
        ((2, 3, 4, 5, 2), (1, 0, 2, 1, 0, 4), "float32", "replicate"),
        ((2, 3, 4, 5, 2), (2, 1, 0, 4), "float32", "symmetric-include-edge"),
        ((2, 2, 2, 3, 3, 2), (0, 1, 2, 1, 1, 0), "float32", "replicate"),
    ],
)
def test_pad(execute, mode, shape, padding, dtype):
    x, value = drawn(shape, dtype), 1.5
    pairs = list(zip(padding[::2], padding[1::2], strict=True))
    pairs = [(0, 0)] * (len(shape) - 2 - len(pairs)) + pairs
    expected, backward = reference.pad(x, pairs, mode=mode, value=value)
    attributes = {"padding": padding, "mode": mode, "value": value}
    (y,) = execute("pad", [x], [(expected.shape, dtype)], attributes)
    np.testing.assert_array_equal(y, expected)
    dy = drawn(expected.shape, dtype, 1)
    (dx,) = execute("pad_gradient", [dy], [(shape, dtype)], {"padding": padding, "mode": mode}, cores=FEW)
    np.testing.assert_allclose(dx, backward(dy)[0], rtol=1e-6, atol=1e-6)
