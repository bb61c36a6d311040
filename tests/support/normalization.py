"""Group normalization of any target against float64 NumPy: oracle, forward runs, comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from support.execution import Execute


def only_tier(monkeypatch: pytest.MonkeyPatch, kind: str, parts: int, wave: int = 1 << 30) -> None:
    """Has CUDA plans be of one tier from now on, each panel over so many blocks, at most `wave` panels in a launch."""
    from gncodegen.kernels.cuda import normalization_tiers as tiers

    every = tiers._tiers

    def some(*given: Any) -> list[tiers.Tier]:
        return [replace(tier, wave=min(wave, tier.wave)) for tier in every(*given) if tier.kind == kind]

    monkeypatch.setattr(tiers, "_numbers_of_parts", lambda *_: [parts])
    monkeypatch.setattr(tiers, "_tiers", some)


def viewed(x: np.ndarray, reduced: str) -> np.ndarray:
    """X as observations × rows × C."""
    shape = {"channel": (-1, 1), "batch-spatial": (1, -1)}.get(reduced, (x.shape[0], -1))
    return x.reshape(*shape, x.shape[-1])


def oracle(x: np.ndarray, groups: int, scale: np.ndarray, offset: np.ndarray, epsilon: float = 1e-5):
    """y, x̂, inverse in float64; x is N × … × C."""
    n, c = x.shape[0], x.shape[-1]
    g = x.astype(np.float64).reshape(n, -1, groups, c // groups)
    mean = g.mean((1, 3), keepdims=True)
    inverse = 1 / np.sqrt(g.var((1, 3), keepdims=True) + epsilon)
    normal = ((g - mean) * inverse).reshape(x.shape)
    return normal * scale.astype(np.float64) + offset, normal, inverse


def forward(execute: Execute, x, groups, scale, offset, on=None, residual=None, **attributes):
    """y and statistics of the kernels."""
    real = "float64" if x.dtype == np.float64 else "float32"
    given = {"groups": groups, "epsilon": 1e-5, "activation": "", "alpha": 0.0, **attributes}
    operands = [x, scale, offset]
    if residual is not None:
        operands, given = [*operands, residual], {**given, "residual": True}
    observations = viewed(x, given.get("reduced", "")).shape[0]
    results = [(x.shape, str(x.dtype)), ((observations, groups, 3), real)]
    return execute("group_norm", operands, results, given, on=on)


def check(execute: Execute, shape, groups, dtype, activation, on=None, residual=False, reduced="spatial-channel"):
    """Forward and gradient against the oracle."""
    rng = np.random.default_rng(0)
    c, alpha = shape[-1], 0.25 if activation == "leaky-relu" else 0.0
    x = (rng.standard_normal(shape) * 2 + 5).astype(dtype)
    dy = rng.standard_normal(shape).astype(dtype)
    scale, offset = (rng.standard_normal(c).astype(dtype) for _ in range(2))
    r = rng.standard_normal(shape).astype(dtype) if residual else None
    attributes = {"activation": activation, "alpha": alpha, "reduced": reduced}
    y, statistics = forward(execute, x, groups, scale, offset, on, r, **attributes)
    linear, normal, inverse = oracle(viewed(x, reduced), groups, scale, offset)
    linear, normal = linear.reshape(shape), normal.reshape(shape)
    linear = linear if r is None else linear + r
    passes = np.ones(shape) if not activation else np.where(linear > 0, 1, alpha)
    tolerance = 4e-6 if dtype == "float32" else 1e-12
    assert np.abs(y - linear * passes).max() < tolerance
    given = {"groups": groups, "epsilon": 1e-5, **attributes}
    operands, results = [x, dy, scale, offset, statistics], [(shape, dtype), ((c,), dtype), ((c,), dtype)]
    if residual:
        operands, results, given = [*operands, r], [*results, (shape, dtype)], {**given, "residual": True}
    dx, dscale, doffset, *dr = execute("group_norm_gradient", operands, results, given, on=on)
    g = dy.astype(np.float64) * passes
    axes = tuple(range(len(shape) - 1))
    assert np.abs(dscale - (g * normal).sum(axes)).max() < tolerance * 100
    assert np.abs(doffset - g.sum(axes)).max() < tolerance * 100
    gs = (g * scale).reshape(inverse.shape[0], -1, groups, c // groups)
    xh = normal.reshape(gs.shape)
    full = inverse * (gs - gs.mean((1, 3), keepdims=True) - xh * (gs * xh).mean((1, 3), keepdims=True))
    assert np.abs(dx - full.reshape(shape)).max() < tolerance * np.abs(full).max() * 5
    for masked in dr:
        assert np.abs(masked - g).max() < tolerance
