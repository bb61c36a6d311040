"""Transposed convolution with its epilogue on every target, against the float64 oracle."""

from __future__ import annotations

import numpy as np
import pytest
import reference

CASES = {
    "2x2, stride 2": ((2, 4, 5, 16), (2, 2, 8, 16), (2, 2), [(0, 0), (0, 0)], "float32"),
    "odd, cropped": ((2, 5, 4, 5), (3, 2, 7, 5), (2, 1), [(1, 0), (0, 1)], "float32"),
    "stride over window": ((1, 3, 4, 3), (1, 2, 1, 3), (3, 2), [(0, 0), (0, 0)], "float64"),
    "volume": ((2, 3, 2, 4, 5), (2, 3, 2, 7, 5), (2, 1, 2), [(1, 0), (1, 1), (0, 1)], "float32"),
    "one axis": ((2, 9, 5), (4, 7, 5), (3,), [(1, 2)], "float32"),
    "long sum": ((1, 3, 3, 160), (3, 3, 9, 160), (1, 1), [(1, 1), (1, 1)], "float32"),
}
"""x, weights, stride, cropping, dtype."""


def attributes(stride, cropping, extents, **more):
    padding = tuple(side for pair in cropping for side in pair)
    return {"extents": extents, "stride": stride, "dilation": (1,) * len(stride), "padding": padding, **more}


@pytest.mark.few
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bias_residual_and_relu_in_its_epilogue(execute, case):
    size, window, stride, cropping, dtype = case
    random = np.random.default_rng(0)
    x, weights, bias = (random.standard_normal(shape).astype(dtype) for shape in (size, window, window[-2:-1]))
    wanted, _ = reference.transposed_convolution(x, weights, bias, stride=stride, cropping=cropping)
    residual = random.standard_normal(wanted.shape).astype(dtype)
    given = attributes(stride, cropping, wanted.shape[1:-1], activation="relu", alpha=0.0, residual=True)
    (got,) = execute("transposed_convolution", [x, weights, bias, residual], [(wanted.shape, dtype)], given, cores=2)
    tolerance = {"float32": 2e-6, "float64": 1e-14}[dtype]
    assert np.abs(got - np.maximum(wanted + residual, 0)).max() <= tolerance * np.abs(wanted).max()
