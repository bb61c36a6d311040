"""Moments merged over parts equal those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from gncodegen.train.population import merged_moments


@pytest.mark.parametrize("sizes", [(7,), (1, 1), (3, 5, 2), (16, 16, 1)])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_merged_moments(sizes, shift):
    rng = np.random.default_rng(len(sizes))
    parts = [rng.normal(shift, 2.0, size=(n, 3, 2, 5)) for n in sizes]
    whole = np.concatenate(parts).reshape(-1, 5)
    mean, variance = merged_moments(parts)
    assert np.allclose(mean, whole.mean(axis=0), rtol=1e-12)
    assert np.allclose(variance, whole.var(axis=0), rtol=1e-9)
