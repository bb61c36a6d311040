"""Norms of padded sequences on every target: as if there were no padding, whatever stands in it."""

import numpy as np
import pytest
import reference

SHAPES = [
    ((3, 19, 12), 4, "float32"),
    pytest.param((2, 5, 3, 10), 1, "float64", marks=pytest.mark.full),
    pytest.param((2, 37, 8), 8, "float32", marks=pytest.mark.full),
]
"""Of x, and groups: neither whole vectors nor whole chunks; several positions a step; a channel a group."""

STEPS = [19, 1, 7]


@pytest.mark.parametrize(("shape", "groups", "dtype"), SHAPES)
def test_each_sequence_is_alone(execute, shape, groups, dtype):
    tolerance = {"float32": 2e-6, "float64": 2e-13}[dtype]
    draw = np.random.default_rng(5)
    steps = np.minimum(STEPS[: shape[0]], shape[1])[:, None].astype(dtype)
    scale, offset = (draw.normal(1, 0.5, shape[-1]).astype(dtype) for _ in range(2))
    x, dy = (draw.normal(mean, 2, shape).astype(dtype) for mean in (300.0, 0.0))
    y, backward = reference.masked_group_norm(x, scale, offset, steps, groups=groups)
    for each, count in zip(range(shape[0]), steps.ravel(), strict=True):
        x[each, int(count) :] = dy[each, int(count) :] = [np.nan, 1e30, -1.0][each]
    kinds = [(shape, dtype), ((shape[0], groups, 3), dtype)]
    attributes = {"groups": groups, "epsilon": 1e-5}
    got, statistics = execute("masked_group_norm", [x, scale, offset, steps], kinds, attributes)
    np.testing.assert_allclose(got, y, rtol=tolerance, atol=50 * tolerance)
    kinds = [(shape, dtype), *[((shape[0], shape[-1]), dtype)] * 2]
    found = execute("masked_group_norm_gradient", [x, dy, scale, steps, statistics], kinds, {"groups": groups})
    for got, expected in zip(found, backward(dy), strict=True):
        np.testing.assert_allclose(got, expected, rtol=20 * tolerance, atol=200 * tolerance)


@pytest.mark.parametrize(("shape", "groups", "dtype"), SHAPES)
def test_batch_norm_of_the_steps_there_are(execute, shape, groups, dtype):
    del groups
    tolerance = {"float32": 2e-6, "float64": 2e-13}[dtype]
    draw = np.random.default_rng(6)
    steps = np.minimum(STEPS[: shape[0]], shape[1])[:, None].astype(dtype)
    scale, offset = (draw.normal(1, 0.5, shape[-1]).astype(dtype) for _ in range(2))
    x, dy = (draw.normal(mean, 2, shape).astype(dtype) for mean in (300.0, 0.0))
    y, backward = reference.masked_batch_norm(x, scale, offset, steps)
    dx, *sums = backward(dy)
    for each, count in zip(range(shape[0]), steps.ravel(), strict=True):
        x[each, int(count) :] = dy[each, int(count) :] = [np.nan, 1e30, np.nan][each]
    kinds = [(shape, dtype), ((1, shape[-1], 3), dtype)]
    got, statistics = execute("masked_batch_norm", [x, scale, offset, steps], kinds, {"epsilon": 1e-5})
    np.testing.assert_allclose(got, y, rtol=tolerance, atol=50 * tolerance)
    kinds = [(shape, dtype), *[((shape[-1],), dtype)] * 2]
    found = execute("masked_batch_norm_gradient", [x, dy, scale, steps, statistics], kinds, {})
    for got, expected in zip(found, (dx, *sums), strict=True):
        np.testing.assert_allclose(got, expected, rtol=20 * tolerance, atol=200 * tolerance)
