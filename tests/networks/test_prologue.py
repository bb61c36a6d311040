"""A whole network whose convolution normalizes what it reads: in prediction, while training keeps the result."""

from __future__ import annotations

from math import isqrt

import numpy as np
import pytest
import reference

import gncodegen as gnc
from gncodegen.targets.cpu import host

CHANNELS = 32


@pytest.fixture(scope="module")
def compiled() -> gnc.Compiled:
    extent = isqrt(2 * host.machine().l2 // (2 * 4 * CHANNELS)) + 2
    layers = [
        gnc.ImageInputLayer((extent, extent, CHANNELS), normalization="none"),
        gnc.GroupNormalizationLayer(8),
        gnc.ReluLayer(),
        gnc.Convolution2dLayer(1, 6),
        gnc.RegressionLayer(),
    ]
    return gnc.compile(layers, batch_size=2)


@pytest.mark.full(like="kernels/cpu/test_prologue.py::test_same_bits")
def test_prediction(compiled):
    predict = compiled.ir("prologue", "predict")
    assert "gn.group_statistics" in predict
    assert "gn.group_norm(" not in predict
    assert "gn.group_norm(" in compiled.ir("prologue")
    extent, p = compiled.network.input.size.shape[0], compiled.parameters
    x = np.random.default_rng(0).standard_normal((2, extent, extent, CHANNELS)).astype(np.float32) + 20
    y, _ = reference.group_norm(
        x.astype(np.float64), p["groupnorm_1.scale"], p["groupnorm_1.offset"], groups=8, epsilon=1e-5
    )
    expected, _ = reference.convolution(np.maximum(y, 0), p["conv_1.weights"], p["conv_1.bias"])
    found = compiled.predict(x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(compiled.predict(x[1:]), found[1:])
    # Loss and prediction go different ways to the same bits.
    loss = ((found.astype(np.float64) - 1) ** 2).sum() / 4
    assert compiled.loss(x, np.ones_like(found)) == pytest.approx(loss, rel=1e-6)
