"""Matrix products on tensor cores: exact on small integers, within the formats' bounds on others; SASS."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from support.sets import diagonal, few
from support.targets import machine

ROUNDING = {"tf32": 0.64 * 2.0**-10, "bf16": 2.0**-8}
"""Relative error of one factor."""

SAME = {"padding": (1, 1, 1, 1)}
CASES = {
    "same": ((2, 9, 8, 16), (3, 3, 16, 40), (1, 1), SAME),
    "odd": ((1, 9, 11, 5), (3, 3, 5, 19), (2, 2), {"padding": (0, 1, 1, 0)}),
    "pointwise": ((2, 8, 9, 36), (1, 1, 36, 72), (1, 1), {}),
}


def products(execute, math, x, weights, stride, attributes):
    """y, dx, dweights and dbias of a convolution, with the oracle's."""
    on = machine("sm_80", cores=2, math=math)
    attributes = {"stride": stride, **attributes}
    padding = attributes.get("padding", (0, 0, 0, 0))
    pairs = list(zip(padding[::2], padding[1::2], strict=True))
    bias = np.zeros(weights.shape[-1], np.float32)
    y, backward = reference.convolution(x, weights, bias, stride=stride, padding=pairs)
    dy = np.random.default_rng(1).integers(-4, 5, y.shape).astype(np.float32)
    shapes = {name: [(array.shape, "float32")] for name, array in (("y", y), ("x", x), ("w", weights), ("b", bias))}
    got = execute("convolution", [x, weights, bias], shapes["y"], attributes, on=on)
    got += execute("convolution_input_gradient", [dy, weights], shapes["x"], attributes, on=on)
    results = [*shapes["w"], *shapes["b"]]
    got += execute("convolution_weight_gradient", [x, dy], results, {**attributes, "bias": True}, on=on)
    return got, (y, *backward(dy)), dy


@pytest.mark.few
@pytest.mark.parametrize(("case", "math"), few(diagonal(list(CASES), list(ROUNDING)), 1))
def test_small_integers_are_exact(execute, math, case):
    """Every value and its place shows: a fragment in a wrong lane gives another integer."""
    shape, window, stride, attributes = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.integers(-8, 9, shape).astype(np.float32)
    weights = rng.integers(-8, 9, window).astype(np.float32)
    got, expected, _ = products(execute, math, x, weights, stride, attributes)
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("math", ROUNDING)
def test_rounding_stays_within_the_format(execute, math):
    rng = np.random.default_rng(2)
    x, weights = rng.standard_normal((8, 96)).astype(np.float32), rng.standard_normal((24, 96)).astype(np.float32)
    on = machine("sm_80", cores=2, math=math)
    (y,) = execute("fully_connected", [x, weights], [((8, 24), "float32")], on=on)
    bound = 2.1 * ROUNDING[math] * np.abs(x.astype(np.float64)) @ np.abs(weights.T.astype(np.float64))
    difference = np.abs(y - x.astype(np.float64) @ weights.T.astype(np.float64))
    assert (difference <= bound).all()
    assert difference.max() > 1e-5, "the factors were rounded"
