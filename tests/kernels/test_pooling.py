"""Pooling on every target against the float64 oracle."""

import numpy as np
import pytest
import reference
from support.sets import few, on_gpu_in_full

CASES = [
    # shape, window, stride, padding (before, after per axis), dtype
    ((3, 6, 8, 8), (2, 2), (2, 2), (0, 0, 0, 0), "float32"),
    ((2, 7, 5, 20), (2, 2), (2, 2), (0, 0, 0, 0), "float32"),
    ((2, 7, 9, 3), (3, 2), (2, 1), (1, 1, 0, 1), "float32"),
    ((1, 5, 5, 1), (3, 3), (1, 1), (1, 1, 1, 1), "float64"),
    ((2, 11, 9, 13), (2, 3), (4, 5), (1, 0, 2, 1), "float32"),
    ((2, 29, 8), (3,), (2,), (1, 1), "float32"),
    ((2, 5, 4, 6, 8), (2, 2, 3), (2, 1, 3), (0, 1, 1, 0, 0, 0), "float32"),
    ((1, 30, 40, 96), (30, 40), (1, 1), (0, 0, 0, 0), "float32"),
    ((2, 300, 3), (300,), (1,), (0, 0), "float64"),
    ((2, 9, 8, 6), (6, 7), (2, 2), (3, 1, 2, 3), "float32"),
]
TIME_STEPS = [
    ((2, 3, 6, 7, 5), (2, 3), (2, 1), (0, 1, 1, 0)),
    ((2, 2, 3, 5, 4, 3), (2, 2, 2), (1, 2, 2), (1, 0, 0, 0, 0, 1)),
]
"""The windows slide over the last axes; those before are more observations."""


def given(case, seed=0):
    shape, window, stride, padding, dtype = case
    pairs = list(zip(padding[::2], padding[1::2], strict=True))
    options = {"window": window, "stride": stride, "padding": pairs}
    attributes = {"window": window, "stride": stride, "padding": padding}
    # Halves repeat often, so that windows have ties.
    x = (np.random.default_rng(seed).integers(-4, 4, shape) / 2).astype(dtype)
    return x, options, attributes, dtype


FIRST, SECOND = CASES[::2], CASES[1::2]


@pytest.mark.few
@pytest.mark.parametrize("case", [*FIRST, *few([(case,) for case in SECOND], 2)], ids=str)
def test_max_pool(execute, case):
    x, options, attributes, dtype = given(case)
    expected, backward = reference.max_pool(x, **options)
    (y,) = execute("max_pool", [x], [(expected.shape, dtype)], attributes)
    np.testing.assert_array_equal(y, expected)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    (dx,) = execute("max_pool_gradient", [x, y, dy], [(x.shape, dtype)], attributes)
    np.testing.assert_allclose(dx, backward(dy)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.few
@pytest.mark.parametrize(
    ("case", "count_padding"),
    [
        *((case, True) for case in SECOND),
        (CASES[2], False),
        *few([*((case, True) for case in FIRST), (CASES[4], False), (CASES[9], False)], 2),
    ],
    ids=str,
)
def test_average_pool(execute, case, count_padding):
    x, options, attributes, dtype = given(case)
    attributes = {**attributes, "count_padding": count_padding}
    expected, backward = reference.average_pool(x, count_padding=count_padding, **options)
    (y,) = execute("average_pool", [x], [(expected.shape, dtype)], attributes)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=3e-7)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    (dx,) = execute("average_pool_gradient", [dy], [(x.shape, dtype)], attributes)
    np.testing.assert_allclose(dx, backward(dy)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", [CASES[2], CASES[8], *on_gpu_in_full([(case,) for case in CASES[:2]])], ids=str)
def test_special_values(execute, case):
    x, options, attributes, dtype = given(case)
    x[0, :2, :2] = np.nan
    x[-1, 2:, -3:] = -np.inf
    expected, backward = reference.max_pool(x, **options)
    (y,) = execute("max_pool", [x], [(expected.shape, dtype)], attributes)
    np.testing.assert_array_equal(y, expected)
    dy = np.ones_like(y)
    (dx,) = execute("max_pool_gradient", [x, y, dy], [(x.shape, dtype)], attributes)
    np.testing.assert_array_equal(dx, backward(dy)[0])
    (y,) = execute("average_pool", [x], [(expected.shape, dtype)], attributes)
    assert np.isnan(y[0, 0, 0]).all()
    assert np.isfinite(y[0, -1, -1]).all()


@pytest.mark.parametrize("case", TIME_STEPS, ids=str)
@pytest.mark.parametrize("kind", ["max_pool", "average_pool"])
def test_axes_before_the_windows_are_more_observations(execute, kind, case):
    x, options, attributes, dtype = given((*case, "float32"))
    steps = x.shape[: -len(options["window"]) - 1]
    y, backward = getattr(reference, kind)(x.reshape(-1, *x.shape[len(steps) :]), **options)
    expected = y.reshape(*steps, *y.shape[1:])
    (got,) = execute(kind, [x], [(expected.shape, dtype)], attributes)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=3e-7)
    dy = np.random.default_rng(1).standard_normal(expected.shape).astype(dtype)
    operands = [x, got, dy] if kind == "max_pool" else [dy]
    (dx,) = execute(f"{kind}_gradient", operands, [(x.shape, dtype)], attributes)
    np.testing.assert_allclose(dx, backward(dy.reshape(y.shape))[0].reshape(x.shape), rtol=1e-6, atol=1e-6)


def test_batch_slice_keeps_its_bits(execute):
    x = np.random.default_rng(0).standard_normal((5, 14, 14, 20)).astype(np.float32)
    attributes = {"window": (14, 14), "stride": (1, 1), "padding": (0, 0, 0, 0)}
    (y,) = execute("average_pool", [x], [((5, 1, 1, 20), "float32")], attributes)
    (part,) = execute("average_pool", [x[2:4]], [((2, 1, 1, 20), "float32")], attributes)
    np.testing.assert_array_equal(part, y[2:4])


def test_global_average_of_large_numbers(execute, target):
    x = (1e4 + np.random.default_rng(0).standard_normal((1, 97, 101, 8))).astype(np.float32)
    (y,) = execute(
        "average_pool",
        [x],
        [((1, 1, 1, 8), "float32")],
        {"window": (97, 101), "stride": (1, 1), "padding": (0, 0, 0, 0)},
    )
    np.testing.assert_allclose(y[0, 0, 0], x.astype(np.float64).mean((0, 1, 2)), rtol=2e-7 if target == "cpu" else 1e-6)
