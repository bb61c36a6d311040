"""Group normalization on every target, forward and gradient, against float64 NumPy."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from support.execution import Execute
from support.normalization import check, forward
from support.sets import diagonal, few, in_full, on_gpu_in_full

from gncodegen.kernels.cpu import norm_tiling

SHAPES = [
    # (shape, groups): vectors full, short rows, odd channels, one row, prime extents, one group, wide groups, odd ends
    ((2, 8, 8, 32), 8),
    ((3, 5, 7, 20), 4),
    ((2, 11, 13, 3), 3),
    ((2, 10, 12, 6), 3),
    ((4, 1, 1, 24), 4),
    ((5, 12), 3),
    ((1, 31, 33, 32), 8),
    ((2, 9, 9, 7), 1),
    ((2, 6, 6, 64), 64),
    ((3, 4, 1), 1),
    ((2, 9, 9, 64), 1),
    ((2, 3, 5, 36), 6),
    ((2, 7, 256), 2),
]
VARIANTS = [("float32", "relu"), ("float32", ""), ("float64", "relu"), ("float64", "")]
OTHERS = [*SHAPES[1::3], *SHAPES[2::3], ((1, 97, 101, 32), 8), ((1, 160, 160, 3), 1)]
CASES = [*diagonal(SHAPES[::3], VARIANTS), *few(diagonal(OTHERS, VARIANTS), 1)]


@pytest.mark.few
@pytest.mark.parametrize(("shape", "groups", "dtype", "activation"), CASES)
def test_forward_and_gradient(execute: Execute, shape, groups, dtype, activation):
    check(execute, shape, groups, dtype, activation)


@pytest.mark.few
@pytest.mark.parametrize("activation", ["relu", "leaky-relu"])
def test_a_residual(execute: Execute, activation):
    check(execute, (2, 6, 6, 16), 4, "float32", activation, residual=True)


REDUCED = [
    # (reduced, shape, groups): many observations of one row, N = 1, odd channels; all rows, few rows, one row
    ("channel", (8, 16, 96), 1),
    ("channel", (1, 5, 768), 3),
    ("channel", (3, 7, 1001), 1),
    ("channel", (130, 2, 10), 2),
    ("batch-spatial", (16, 12, 12, 24), 24),
    ("batch-spatial", (37, 3, 5, 6), 6),
    ("batch-spatial", (700, 20), 20),
    ("batch-spatial", (5, 1, 32), 32),
    ("batch-spatial", (9, 6, 4096), 4096),
]


@pytest.mark.few
@pytest.mark.parametrize(
    ("reduced", "shape", "groups", "dtype"),
    few(diagonal(REDUCED, ["float32", "float64"]), 4),
)
def test_channels_alone_and_the_whole_batch(execute: Execute, reduced, shape, groups, dtype):
    check(partial(execute, cores=8), shape, groups, dtype, "relu", reduced=reduced)


@pytest.mark.few
@pytest.mark.parametrize(
    ("channels", "dtype", "activation", "residual", "split"),
    [
        (20, "float32", "relu", False, False),
        *in_full([(20, "float64", "", False, False)]),
        *on_gpu_in_full([(7, "float32", "leaky-relu", True, False), (24, "float32", "relu", True, True)]),
    ],
)
def test_dx_of_a_single_element_is_exactly_zero(
    execute: Execute, monkeypatch, channels, dtype, activation, residual, split
):
    if split:
        monkeypatch.setattr(norm_tiling, "_wave", lambda *_: 1)
    draw = np.random.default_rng(0)
    x, dy, r = (draw.standard_normal((5, 1, 1, channels)).astype(dtype) * 3 for _ in range(3))
    scale, offset = (draw.standard_normal(channels).astype(dtype) for _ in range(2))
    y, statistics = forward(
        execute, x, channels, scale, offset, residual=r if residual else None, activation=activation
    )
    given = {"groups": channels, "epsilon": 1e-5, "activation": activation, "alpha": 0.3, "residual": residual}
    operands, results = (
        [x, dy, scale, offset, statistics],
        [(x.shape, dtype), ((channels,), dtype), ((channels,), dtype)],
    )
    if residual:
        operands, results = [*operands, r], [*results, (x.shape, dtype)]
    dx, dscale, _, *_ = execute("group_norm_gradient", operands, results, given)
    assert not dx.any()
    assert not dscale.any()
    if not activation:
        assert (y == offset).all()


@pytest.mark.parametrize(
    ("shape", "groups", "reduced"),
    [((5, 4, 6), 6, "batch-spatial"), ((7, 1), 1, "batch-spatial"), ((2, 6, 6, 16), 4, "spatial-channel")],
)
def test_statistics_alone_are_those_of_the_norm(execute: Execute, shape, groups, reduced):
    """Of batch norms over ranks: each channel's, and those of one number of each observation."""
    random = np.random.default_rng(0)
    x, parameters = random.standard_normal(shape).astype(np.float32), np.ones(shape[-1], np.float32)
    attributes = {"groups": groups, "epsilon": 1e-5, "reduced": reduced}
    statistics = ((1 if reduced == "batch-spatial" else shape[0], groups, 3), "float32")
    _, expected = execute("group_norm", [x, parameters, parameters], [(shape, "float32"), statistics], attributes)
    (found,) = execute("group_statistics", [x], [statistics], attributes)
    np.testing.assert_array_equal(found, expected)
