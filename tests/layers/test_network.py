"""Arrays and graphs become checked networks."""

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gncodegen as gnc
from gncodegen.errors import ArrayError, LayerError, NetworkError
from gncodegen.layers.archive import layer_from_json, layer_to_json
from gncodegen.layers.base import Size
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.network import Network


def test_automatic_names(classifier):
    assert [layer.name for layer in Network.build(classifier).layers] == [
        "imageinput",
        "conv_1",
        "groupnorm_1",
        "relu_1",
        "maxpool_1",
        "conv_2",
        "bn",
        "relu_2",
        "fc_1",
        "softmax",
        "classoutput",
    ]


def test_automatic_names_make_way():
    layers = [gnc.FeatureInputLayer(3), gnc.ReluLayer(), gnc.ReluLayer(name="relu_1"), gnc.SoftmaxLayer()]
    layers += [gnc.SoftmaxLayer()]
    names = [layer.name for layer in Network.build(layers, require_output=False).layers]
    assert names == ["featureinput", "relu_2", "relu_1", "softmax", "softmax_2"]


def test_sizes_and_inputs(classifier):
    network = Network.build(classifier)
    assert network.sizes["maxpool_1"] == Size("SSC", (14, 14, 8))
    assert network["conv_2"].inputs == ("maxpool_1",)
    assert network["conv_2"].input_sizes == (Size("SSC", (14, 14, 8)),)
    assert network["conv_2"].label == "layer 6 'conv_2'"
    assert network.input_layer.input_size == (28, 28, 1)
    assert isinstance(network.output_layer, gnc.ClassificationLayer)
    assert network.output.name == "softmax"
    assert "bn" in network
    with pytest.raises(NetworkError, match=r"no layer 'conv_22'; write 'conv_2' or 'conv_1'"):
        network["conv_22"]


def test_parameters(classifier):
    parameters = Network.build(classifier).parameters
    assert parameters["conv_2.weights"].shape == (3, 3, 8, 16)
    assert parameters["groupnorm_1.scale"].shape == (8,)
    assert parameters["fc_1.weights"].shape == (10, 12 * 12 * 16)
    assert [key for key, p in parameters.items() if not p.learnable] == [
        "imageinput.mean",
        "bn.trained_mean",
        "bn.trained_variance",
    ]


def test_network_without_output(classifier):
    network = Network.build(classifier[:-1], require_output=False)
    assert network.output_layer is None
    assert network.output.name == "softmax"
    with pytest.raises(NetworkError, match="no output layer"):
        Network.build(network)
    assert Network.build(network, require_output=False) == network


def test_residual_network(residual):
    network = Network.build(residual)
    assert network["add"].inputs == ("relu_1", "skip")
    order = [node.name for node in network.nodes]
    assert order.index("skip") < order.index("add")
    assert [layer.name for layer in network.layers][-1] == "skip"
    assert set(network.connections) == set(residual.connections)
    assert Network.build(network) == network


@settings(max_examples=50)
@given(st.permutations(range(6)))
def test_order_of_adding_does_not_matter(order):
    graph = LayerGraph()
    names = [f"r{i}" for i in range(6)]
    for i in order:
        graph.add(gnc.FeatureInputLayer(4, name="r0") if i == 0 else gnc.ReluLayer(name=f"r{i}"))
    for source, target in pairwise(names):
        graph.connect(source, target)
    network = Network.build(graph, require_output=False)
    assert [node.name for node in network.nodes] == names


def test_initial_values(classifier):
    network = Network.build(classifier)
    first, second = (network.initial_values(np.random.default_rng(3)) for _ in range(2))
    assert list(first) == list(network.parameters)
    for key, value in first.items():
        assert value.dtype == np.float32
        assert value.shape == network.parameters[key].shape
        np.testing.assert_array_equal(value, second[key])
    assert (first["groupnorm_1.scale"] == 1).all()


def test_initializer_error_names_the_layer():
    layers = [gnc.FeatureInputLayer(4), gnc.FullyConnectedLayer(2, weights_initializer=lambda shape: np.zeros(3))]
    network = Network.build(layers, require_output=False)
    with pytest.raises(LayerError, match=r"layer 2 'fc_1': weights: its initializer returned shape \(3,\)"):
        network.initial_values(np.random.default_rng(0))


def test_with_values(classifier):
    network = Network.build(classifier)
    changed = network.with_values({"groupnorm_1.scale": np.arange(8.0)})
    np.testing.assert_array_equal(changed["groupnorm_1"].layer.scale, np.arange(8))
    assert network["groupnorm_1"].layer.scale is None
    with pytest.raises(ArrayError, match=r"groupnorm_1.scale has shape \(4,\); allowed: \(8,\)"):
        network.with_values({"groupnorm_1.scale": np.ones(4)})
    with pytest.raises(ArrayError, match=r"no parameter 'groupnorm_1.gamma'; write 'groupnorm_1.scale'"):
        network.with_values({"groupnorm_1.gamma": np.ones(8)})


def through_json(network, values=None):
    data, arrays = network.to_json(values)
    return Network.from_json(json.loads(json.dumps(data)), arrays)


def test_json_round_trip(classifier, residual):
    for layers in (classifier, residual):
        network = Network.build(layers)
        assert through_json(network) == network
        values = network.initial_values(np.random.default_rng(0))
        assert through_json(network, values) == network.with_values(values)


def test_json_of_every_property():
    layers = [
        gnc.ImageInputLayer((9, 9, 4), normalization="zscore", mean=np.ones(4), standard_deviation=np.full(4, 2.0)),
        gnc.Convolution2dLayer(
            (3, 2), 6, stride=(2, 1), padding=(1, 2, 0, 1), padding_value="replicate", bias=np.ones(6)
        ),
        gnc.GroupNormalizationLayer("channel-wise", epsilon=1e-3, scale_l2_factor=0.5),
        gnc.LeakyReluLayer(0.3),
        gnc.FullyConnectedLayer(2),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(classes=("a", "b"), class_weights=(1, 3)),
    ]
    network = Network.build(layers)
    assert through_json(network) == network


def test_json_of_labels_of_every_kind():
    labels = (
        "a", b"\x00b", 3, 0.5, Decimal("0.10"), Fraction(1, 3), date(2020, 1, 2), datetime(2020, 1, 2, 3), time(4, 5),
        timedelta(days=-1, microseconds=7), UUID(int=9), np.datetime64("2020-01-02T03", "h"),
        np.timedelta64(-7, "25m"),
    )  # fmt: skip
    for label in labels:
        layer = gnc.ClassificationLayer(classes=(label,))
        (read,) = layer_from_json(json.loads(json.dumps(layer_to_json(layer))), {}).classes
        assert (read, type(read)) == (label, type(label))
        if isinstance(label, np.generic):
            assert read.dtype == label.dtype


def test_json_drops_callables_that_values_replace():
    layers = [gnc.FeatureInputLayer(4), gnc.FullyConnectedLayer(2, weights_initializer=np.ones)]
    network = Network.build(layers, require_output=False)
    with pytest.raises(NetworkError, match=r"layer 2 'fc_1': weights_initializer is a callable.*write .*='glorot'"):
        network.to_json()
    values = network.initial_values(np.random.default_rng(0))
    restored = through_json(network, values)["fc_1"].layer
    assert restored.weights_initializer == "glorot"
    np.testing.assert_array_equal(restored.weights, np.ones((2, 4)))


def test_json_refuses_what_it_cannot_read(classifier):
    data, arrays = Network.build(classifier).to_json()
    with pytest.raises(NetworkError, match="version 99; allowed: 2"):
        Network.from_json(data | {"version": 99}, arrays)
    with pytest.raises(NetworkError, match=r"'os.system'; allowed: AdditionLayer"):
        Network.from_json(data | {"layers": [{"type": "os.system", "name": "x"}]}, arrays)
    with pytest.raises(NetworkError, match="ReluLayer 'x' has properties slope; allowed: name"):
        Network.from_json(data | {"layers": [{"type": "ReluLayer", "name": "x", "slope": 1}]}, arrays)
