"""Norms and affine maps of channels behind a product cost nothing in prediction, and parameters stay assignable."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_near, randomize

import gncodegen as gnc

LAYERS = [
    gnc.ImageInputLayer((4, 4, 3), normalization="none"),
    gnc.Convolution2dLayer(1, 8, name="conv"),
    gnc.BatchNormalizationLayer(name="norm", epsilon=1e-3),
    gnc.ReluLayer(name="relu"),
    gnc.FullyConnectedLayer(4, name="fc"),
    gnc.ElementwiseLayer("multiply", 1, constant=np.array([0.5, 2, -1, 3]), name="factor"),
]
NODES = [
    ref.Node("conv", ref.convolution, ("weights", "bias")),
    ref.Node("norm", ref.batch_norm, ("scale", "offset"), options={"epsilon": 1e-3}),
    ref.Node("relu", ref.relu),
    ref.Node("fc", ref.fully_connected, ("weights", "bias")),
    ref.Node("factor", lambda x, factor: ref.elementwise("multiply", x, factor), ("constant",)),
]


@pytest.mark.parametrize("target", ["cpu", pytest.param("sm_90", id="emulated")])
def test_predictions_follow_the_parameters(target: str) -> None:
    compiled = gnc.compile(LAYERS, target, batch_size=3, seed=0, emulate=target != "cpu")
    randomize(compiled)
    x = np.random.default_rng(1).standard_normal((3, 4, 4, 3)).astype(np.float32)

    def follows() -> None:
        assert_near(compiled.predict(x), ref.ReferenceNetwork(NODES, dict(compiled.parameters)).predict(x), 1e-6)

    follows()
    for name in ("conv.weights", "norm.trained_mean", "factor.constant"):
        compiled.parameters[name] = np.array(compiled.parameters[name]) * 0.5 + 0.25
        follows()
    program = compiled.lowered("predict").program
    kernels = [program.kernels[call.kernel].op for call in program.calls[program.hoisted :]]
    assert kernels == ["convolution", "fully_connected"]
    np.testing.assert_array_equal(compiled.predict(x[1:2]), compiled.predict(x)[1:2])
