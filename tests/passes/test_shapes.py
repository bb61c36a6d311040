"""shapes: another number of observations reaches every array, and only the axes that hold observations."""

from __future__ import annotations

import numpy as np

import gncodegen as gnc


def test_the_gradient_of_a_crop_along_two_axes() -> None:
    """Between them observations and rows are one axis, of an extent that the rows alone have in a network for one."""
    layers = [
        gnc.ImageInputLayer((3, 8, 1), normalization="none"),
        gnc.CropLayer((0, 1, 1, 1)),
        gnc.CrossChannelNormalizationLayer(5),
        gnc.RegressionLayer(),
    ]
    compiled = gnc.compile(layers, batch_size=1)
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 1)).astype(np.float32)
    t = np.zeros_like(compiled.predict(x))
    apart = [compiled.gradients(x[i : i + 1], t[:1])["input"] / 3 for i in range(3)]
    np.testing.assert_allclose(compiled.gradients(x, t)["input"], np.concatenate(apart), rtol=1e-6, atol=1e-7)
