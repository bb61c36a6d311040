"""Group normalization of the CUDA target against float64 NumPy, in the emulator: every cut of groups among threads."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from support.cuda_kernels import from_bfloat16, to_bfloat16
from support.normalization import Execute, check, forward, only_tier, oracle
from support.sets import diagonal, few
from support.targets import ARCHITECTURES, machine, over_architectures

from gncodegen.kernels.cuda import normalization
from gncodegen.kernels.cuda import normalization_tiers as tiers

SHAPES = [
    # (shape, groups): whole accesses, mixed lanes, odd channels, one row, one group, wide groups, odd ends of rows
    ((2, 8, 8, 32), 8),
    ((3, 5, 7, 20), 4),
    ((2, 11, 13, 3), 3),
    ((2, 10, 12, 6), 3),
    ((4, 1, 1, 24), 4),
    ((5, 12), 3),
    ((1, 31, 33, 32), 8),
    ((2, 9, 9, 7), 1),
    ((1, 40, 40, 3), 1),
    ((2, 6, 6, 64), 64),
    ((3, 4, 1), 1),
    ((2, 3, 5, 36), 6),
    ((2, 7, 256), 2),
]


@pytest.fixture
def only(monkeypatch):
    """`only(kind, parts)`: schedules of one tier, each panel over so many blocks."""
    return partial(only_tier, monkeypatch)


@pytest.mark.parametrize(("shape", "groups", "target"), over_architectures(SHAPES))
def test_resident(execute: Execute, only, shape, groups, target):
    only("resident", 1)
    check(execute, shape, groups, "float32", "relu", machine(target))


def test_a_last_block_with_fewer_panels(execute: Execute, monkeypatch):
    """Kernels for an even number of observations do an odd one."""

    def fixed(view, batch, item, held, on, counted):
        found = (cut.of(2 * batch, view[1]) for cut in tiers.panels(*view[1:], item, held, on, 1))
        cut = next(replace(cut, members=2) for cut in found if cut.blocks == 1)
        return tiers.Tier("resident", cut, cut.panels)

    monkeypatch.setattr(normalization, "choose_tier", fixed)
    check(execute, (3, 2, 2, 16), 4, "float32", "relu", residual=True)


SPREAD = [((2, 8, 8, 32), 8), ((1, 31, 33, 32), 8), ((2, 9, 9, 7), 1), ((2, 10, 12, 6), 3), ((2, 3, 5, 36), 6)]


CLUSTERS = ("sm_90", "sm_120")
SHARES = [
    share
    for kind, architectures in (
        ("cluster", CLUSTERS), ("flags", ARCHITECTURES), ("waves", ARCHITECTURES), ("split", ARCHITECTURES)
    )
    for share in over_architectures([(kind, *spread) for spread in SPREAD], architectures)
]  # fmt: skip


@pytest.mark.full(like="kernels/cuda/test_normalization.py::test_activations_and_residual")
@pytest.mark.parametrize(("kind", "shape", "groups", "target"), few(SHARES, 2))
def test_shares_of_several_blocks(execute: Execute, only, shape, groups, kind, target):
    only(kind, 3, wave=1)
    check(execute, shape, groups, "float32", "relu", machine(target))


def plain(execute: Execute, x: np.ndarray, groups: int, on=None, **attributes) -> np.ndarray:
    """y with scale 1 and offset 0."""
    c = x.shape[-1]
    return forward(
        execute, x, groups, np.ones(c, np.float32), np.zeros(c, np.float32), on or machine("sm_80"), **attributes
    )[0]


@pytest.mark.few
@pytest.mark.parametrize(
    ("kind", "parts", "offset"), diagonal([("resident", 1), ("flags", 4), ("split", 4)], [0, 1e2, 1e4, 1e6])
)
def test_accuracy_at_any_mean(execute: Execute, only, kind, parts, offset):
    only(kind, parts)
    x = (np.random.default_rng(1).standard_normal((2, 28, 28, 16)) + offset).astype(np.float32)
    expected = oracle(x, 2, np.ones(16), np.zeros(16))[0]
    assert np.abs(plain(execute, x, 2) - expected).max() <= 1e-6


@pytest.mark.parametrize(("kind", "parts"), [("resident", 1), ("flags", 4), ("split", 4)])
def test_constants_extremes_and_bad_values(execute: Execute, only, kind, parts):
    only(kind, parts)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1, 8, 8, 32)).astype(np.float32)
    x[..., :4] = 0.1
    x[..., 4:8] = 3e38
    x[..., 8:12] = np.where(np.arange(64).reshape(1, 8, 8, 1) % 2, 1e20, -1e20)
    x[..., 12:16] *= 1e-30
    x[0, 3, 2, 17] = np.nan
    x[0, 3, 2, 21] = np.inf
    x[0, 0, 0, 24] = np.inf  # the first element of its group
    scale, offset = rng.standard_normal((2, 32)).astype(np.float32)
    y = forward(execute, x, 8, scale, offset, machine("sm_80"))[0]
    np.testing.assert_array_equal(y[..., :8], np.broadcast_to(offset[:8], y[..., :8].shape))
    expected = oracle(x, 8, scale, offset)[0]
    np.testing.assert_allclose(y[..., 8:16], expected[..., 8:16], rtol=2e-6, atol=1e-6)
    assert np.isnan(y[..., 16:28]).all()
    np.testing.assert_allclose(y[..., 28:], expected[..., 28:], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(
    ("activation", "kind", "parts"),
    few(diagonal(["", "relu", "leaky-relu"], [("resident", 1), ("cluster", 2), ("split", 3)]), 2),
)
def test_activations_and_residual(execute: Execute, only, activation, kind, parts):
    only(kind, parts)
    check(execute, (2, 6, 6, 16), 4, "float32", activation, machine("sm_90"), residual=bool(activation))


@pytest.mark.parametrize(
    ("kind", "parts", "shape", "groups"),
    few(diagonal([("resident", 1), ("flags", 2), ("waves", 3)], [((2, 6, 6, 16), 4), ((2, 4, 6, 15), 5)]), 1),
)
def test_float64(execute: Execute, only, shape, groups, kind, parts):
    only(kind, parts)
    check(execute, shape, groups, "float64", "relu", machine("sm_80"))


@pytest.mark.parametrize(
    ("dtype", "kind", "parts", "shape", "groups"),
    few(
        diagonal(
            ["float16", "bfloat16"],
            [("resident", 1), ("flags", 2), ("split", 3)],
            [((2, 6, 6, 32), 4), ((1, 7, 8, 12), 3)],
        ),
        2,
    ),
)
def test_half_storage(execute: Execute, only, shape, groups, kind, parts, dtype):
    only(kind, parts)
    rng, c = np.random.default_rng(4), shape[-1]
    to, back = (to_bfloat16, from_bfloat16) if dtype == "bfloat16" else (np.float16, np.float32)
    x, dy = (to((rng.standard_normal(shape) + 3).astype(np.float32)) for _ in range(2))
    scale, offset = rng.standard_normal((2, c)).astype(np.float32)
    given = {"groups": groups, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0}
    types, ends = [dtype, "float32", "float32"], [(shape, dtype), ((shape[0], groups, 3), "float32")]
    on = machine("sm_80")
    y, statistics = execute("group_norm", [x, scale, offset], ends, given, dtypes=types, on=on)
    linear, normal, inverse = oracle(back(x), groups, scale, offset)
    rounding = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    assert np.abs(back(y) - np.maximum(linear, 0)).max() <= rounding * np.abs(linear).max()
    operands, types = [x, dy, scale, offset, statistics], [dtype, dtype, "float32", "float32", "float32"]
    ends = [(shape, dtype), ((c,), "float32"), ((c,), "float32")]
    dx, dscale, doffset = execute("group_norm_gradient", operands, ends, given, dtypes=types, on=on)
    g = back(dy).astype(np.float64) * (linear > 0)
    axes = tuple(range(len(shape) - 1))
    assert np.abs(dscale - (g * normal).sum(axes)).max() < 1e-4
    assert np.abs(doffset - g.sum(axes)).max() < 1e-4
    gs = (g * scale).reshape(shape[0], -1, groups, c // groups)
    xh = normal.reshape(gs.shape)
    full = (inverse * (gs - gs.mean((1, 3), keepdims=True) - xh * (gs * xh).mean((1, 3), keepdims=True))).reshape(shape)
    assert np.abs(back(dx) - full).max() <= rounding * np.abs(full).max()
