"""A network whose convolution leaves the statistics of the norm behind it, whole: prediction, gradients, bits."""

from __future__ import annotations

from math import isqrt

import numpy as np
import pytest
import reference

import gncodegen as gnc
from gncodegen.kernels.cpu.partials import MIN_L2_MULTIPLE
from gncodegen.targets.cpu import host

FILTERS = 32


@pytest.fixture(scope="module")
def compiled() -> gnc.Compiled:
    extent = isqrt(MIN_L2_MULTIPLE * host.machine().l2 // (4 * FILTERS)) + 1
    layers = [
        gnc.ImageInputLayer((extent, extent, 3), normalization="none"),
        gnc.Convolution2dLayer(1, FILTERS),
        gnc.GroupNormalizationLayer(8),
        gnc.ReluLayer(),
        gnc.GlobalAveragePooling2dLayer(),
        gnc.FullyConnectedLayer(3),
        gnc.RegressionLayer(),
    ]
    return gnc.compile(layers, batch_size=2)


def images(compiled: gnc.Compiled) -> np.ndarray:
    extent = compiled.network.input.size.shape[0]
    return np.random.default_rng(0).standard_normal((2, extent, extent, 3)).astype(np.float32) + 100


@pytest.mark.full(like="networks/test_partial_statistics.py::test_gradients_are_slopes")
def test_the_norm_takes_the_partials(compiled):
    assert "parts = " in compiled.ir("partial-statistics")
    assert "parts = " not in compiled.ir("layout")
    x, p = images(compiled), compiled.parameters
    y, _ = reference.convolution(x.astype(np.float64), p["conv_1.weights"], p["conv_1.bias"])
    y, _ = reference.group_norm(y, p["groupnorm_1.scale"], p["groupnorm_1.offset"], groups=8, epsilon=1e-5)
    expected = np.maximum(y, 0).mean((1, 2)) @ p["fc_1.weights"].T.astype(np.float64) + p["fc_1.bias"]
    np.testing.assert_allclose(compiled.predict(x), expected, rtol=0, atol=2e-6)


def test_one_image_alone_has_the_same_bits(compiled):
    x = images(compiled)
    np.testing.assert_array_equal(compiled.predict(x[1:]), compiled.predict(x)[1:])


def test_gradients_are_slopes(compiled):
    x, t = images(compiled), np.ones((2, 3), np.float32)
    gradients = compiled.gradients(x, t)
    for name in ("conv_1.weights", "groupnorm_1.scale", "groupnorm_1.offset"):
        value, step = compiled.parameters[name].copy(), 1e-2
        direction = gradients[name] / np.linalg.norm(gradients[name])
        losses = []
        for sign in (1, -1):
            compiled.parameters[name] = value + np.float32(sign * step) * direction
            losses.append(compiled.loss(x, t))
        compiled.parameters[name] = value
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(np.linalg.norm(gradients[name]), rel=2e-2)
