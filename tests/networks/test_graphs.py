"""Networks whose layers are used more than once: what fusion must leave apart, and gradients that add up."""

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_near, assert_same_network
from support.sets import few

import gncodegen as gnc


def branched():
    """A graph where every fusable pair has a second reader somewhere, and its nodes."""
    graph = gnc.LayerGraph(
        [
            gnc.ImageInputLayer((5, 4, 6), normalization="none", name="start"),
            gnc.Convolution2dLayer(3, 6, padding="same", name="conv"),
            gnc.GroupNormalizationLayer(2, name="gn"),
            gnc.ReluLayer(name="relu"),
            gnc.AdditionLayer(3, name="add"),
            gnc.ReluLayer(name="relu_add"),
            gnc.BatchNormalizationLayer(name="bn"),
            gnc.ReluLayer(name="relu_bn"),
            gnc.DepthConcatenationLayer(4, name="concat"),
            gnc.FullyConnectedLayer(3, name="fc"),
            gnc.SoftmaxLayer(name="softmax"),
            gnc.ClassificationLayer(name="loss"),
        ]
    )
    graph.add([gnc.ReluLayer(name="relu_conv")])
    graph.connect("conv", "relu_conv")  # convolution + relu, but the norm reads the convolution too
    graph.connect("gn", "add/in2")  # norm + relu, but the addition reads the norm too
    graph.connect("gn", "add/in3")  # and reads it twice
    graph.connect("add", "concat/in2")  # addition + relu, but the concatenation reads the sum too
    graph.connect("relu_conv", "concat/in3")
    graph.connect("bn", "concat/in4")
    nodes = [
        ref.Node("conv", ref.convolution, ("weights", "bias"), options={"padding": "same"}),
        ref.Node("gn", ref.group_norm, ("scale", "offset"), options={"groups": 2}),
        ref.Node("relu", ref.relu),
        ref.Node("add", ref.addition, inputs=("relu", "gn", "gn")),
        ref.Node("relu_add", ref.relu),
        ref.Node("bn", ref.batch_norm, ("scale", "offset")),
        ref.Node("relu_bn", ref.relu),
        ref.Node("relu_conv", ref.relu, inputs=("conv",)),
        ref.Node("concat", ref.depth_concatenation, inputs=("relu_bn", "add", "relu_conv", "bn")),
        ref.Node("fc", ref.fully_connected, ("weights", "bias")),
        ref.Node("softmax", ref.softmax),
    ]
    return graph, nodes


@pytest.mark.full(like="networks/test_residual.py::test_block")
def test_layers_with_several_readers():
    graph, nodes = branched()
    x = np.random.default_rng(0).standard_normal((3, 5, 4, 6))
    t = ref.one_hot([2, 0, 1], 3)
    compiled = assert_same_network(graph, nodes, x, t, dtype="float64", loss=ref.cross_entropy, training=True)
    optimizer = ref.Sgdm(l2_factors={"conv.bias": 0, "fc.bias": 0})
    twin = ref.ReferenceNetwork(nodes, dict(compiled.parameters), optimizer=optimizer)
    for _ in range(3):
        assert_near(compiled.train_step(x, t), twin.train_step(x, t), 1e-12, "loss")
    for name, value in compiled.parameters.items():
        assert_near(value, twin.parameters[name], 1e-12, name)


def residual_block(last, shortcut):
    """conv–gn–relu–conv–gn + shortcut → addition → `last`, and its nodes; the shortcut is the input or conv–gn."""
    graph = gnc.LayerGraph(
        [
            gnc.ImageInputLayer((5, 4, 6), normalization="none", name="start"),
            gnc.Convolution2dLayer(3, 6, padding="same", name="conv_a"),
            gnc.GroupNormalizationLayer(3, name="gn_a"),
            gnc.ReluLayer(name="relu_a"),
            gnc.Convolution2dLayer(3, 6, padding="same", name="conv_b"),
            gnc.GroupNormalizationLayer(2, name="gn_b"),
            gnc.AdditionLayer(2, name="add"),
            *last,
            gnc.FullyConnectedLayer(3, name="fc"),
            gnc.RegressionLayer(name="loss"),
        ]
    )
    nodes = [
        ref.Node("conv_a", ref.convolution, ("weights", "bias"), options={"padding": "same"}),
        ref.Node("gn_a", ref.group_norm, ("scale", "offset"), options={"groups": 3}),
        ref.Node("relu_a", ref.relu),
        ref.Node("conv_b", ref.convolution, ("weights", "bias"), options={"padding": "same"}),
        ref.Node("gn_b", ref.group_norm, ("scale", "offset"), options={"groups": 2}),
    ]
    if shortcut == "start":
        graph.connect("start", "add/in2")
    else:
        graph.add([gnc.Convolution2dLayer(1, 6, name="conv_c"), gnc.GroupNormalizationLayer(3, name="gn_c")])
        graph.connect("start", "conv_c")
        graph.connect("gn_c", "add/in2")
        nodes.append(ref.Node("conv_c", ref.convolution, ("weights", "bias"), inputs=("input",)))
        nodes.append(ref.Node("gn_c", ref.group_norm, ("scale", "offset"), options={"groups": 3}))
    nodes.append(ref.Node("add", ref.addition, inputs=("gn_b", "input" if shortcut == "start" else shortcut)))
    if last:
        leak = getattr(last[0], "scale", 0.0)
        nodes.append(ref.Node("last", ref.activation, options={"function": "leaky-relu", "alpha": leak}))
    return graph, [*nodes, ref.Node("fc", ref.fully_connected, ("weights", "bias"))]


@pytest.mark.full(like="networks/test_residual.py::test_block")
@pytest.mark.parametrize(
    ("last", "shortcut", "fused"),
    few(
        [
            ([gnc.ReluLayer(name="last")], "start", "gn_b + add + last"),
            ([gnc.ReluLayer(name="last")], "gn_c", "gn_b + add + last"),
            ([gnc.LeakyReluLayer(0.2, name="last")], "start", "gn_b + add + last"),
            ([], "gn_c", "gn_b + add"),
        ],
        2,
    ),
    ids=["relu, identity", "relu, projection", "leaky relu, identity", "no activation, projection"],
)
def test_a_residual_block_is_one_op_behind_its_convolution(last, shortcut, fused):
    graph, nodes = residual_block(last, shortcut)
    x = np.random.default_rng(0).standard_normal((3, 5, 4, 6))
    compiled = assert_same_network(graph, nodes, x, dtype="float64", training=True)
    assert fused in compiled.fused
    assert not any(part in compiled.fused for part in ("gn_b + add", "add + last") if part != fused)
    ops = {schedule.op for schedule in compiled.program.kernels.values()}
    assert "group_norm_gradient" in ops
    assert not {"add", "activation", "activation_gradient"} & ops
    optimizer = ref.Sgdm(l2_factors={f"{name}.bias": 0 for name in ("conv_a", "conv_b", "conv_c", "fc")})
    twin = ref.ReferenceNetwork(nodes, dict(compiled.parameters), loss=ref.half_squared_error, optimizer=optimizer)
    t = np.random.default_rng(5).standard_normal((3, 3))
    for _ in range(2):
        assert_near(compiled.train_step(x, t), twin.train_step(x, t), 1e-12, "loss")
    for name, value in compiled.parameters.items():
        assert_near(value, twin.parameters[name], 1e-12, name)


def test_an_input_that_skips_every_layer():
    graph = gnc.LayerGraph(
        [
            gnc.ImageInputLayer((5, 4, 6), normalization="none", name="start"),
            gnc.ReluLayer(name="relu"),
            gnc.AdditionLayer(2, name="add"),
            gnc.RegressionLayer(name="loss"),
        ]
    )
    graph.connect("start", "add/in2")
    nodes = [ref.Node("relu", ref.relu), ref.Node("add", ref.addition, inputs=("relu", "input"))]
    assert_same_network(graph, nodes, np.random.default_rng(0).standard_normal((3, 5, 4, 6)))
