"""Additions behind products are part of them: prediction, a training step, memory, and the kernels that are left."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_same_network

import gncodegen as gnc


def block() -> gnc.LayerGraph:
    """relu(conv(relu(conv(x))) + x), then a fully connected layer with a short cut of its own."""
    graph = gnc.LayerGraph([
        gnc.ImageInputLayer((4, 4, 8), normalization="none", name="start"),
        gnc.Convolution2dLayer(1, 8, name="first"), gnc.ReluLayer(name="inner"),
        gnc.Convolution2dLayer(1, 8, name="second"), gnc.AdditionLayer(2, name="add"),
        gnc.ClippedReluLayer(3.0, name="outer"), gnc.FullyConnectedLayer(4, name="fc"),
        gnc.RegressionLayer(name="loss"),
    ])  # fmt: skip
    return graph.connect("start", "add/in2")


PRODUCT = ("weights", "bias")
NODES = [
    ref.Node("first", ref.convolution, PRODUCT),
    ref.Node("inner", ref.relu),
    ref.Node("second", ref.convolution, PRODUCT),
    ref.Node("add", ref.addition, inputs=("second", "input")),
    ref.Node("outer", ref.activation, options={"function": "clipped-relu", "alpha": 3.0}),
    ref.Node("fc", ref.fully_connected, PRODUCT),
]


@pytest.mark.parametrize(
    "target",
    [
        "cpu",
        pytest.param(
            "sm_90", id="emulated", marks=pytest.mark.full(like="networks/test_elementwise.py::test_three_inputs")
        ),
    ],
)
def test_block(target: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 4, 8)).astype(np.float32)
    compiled = assert_same_network(block(), NODES, x, target=target, training=True)
    program = compiled.lowered("predict").program
    kernels = [program.kernels[call.kernel].op for call in program.calls[program.hoisted :]]
    assert kernels == ["convolution", "convolution", "fully_connected"]
    assert "second + add + outer" in compiled.fused
    np.testing.assert_array_equal(compiled.predict(x[1:2]), compiled.predict(x)[1:2])
