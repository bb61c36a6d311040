"""Factors changed by name."""

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.errors import LayerError, NetworkError
from gncodegen.layers.factors import get_l2_factor, get_learn_rate_factor, set_l2_factor, set_learn_rate_factor
from gncodegen.layers.network import Network


def test_of_a_layer():
    layer = gnc.Convolution2dLayer(3, 4)
    assert set_learn_rate_factor(layer, "weights", 0).weight_learn_rate_factor == 0
    assert set_learn_rate_factor(layer, "bias", 2).bias_learn_rate_factor == 2
    assert set_l2_factor(layer, "bias", 1).bias_l2_factor == 1
    assert layer.weight_learn_rate_factor == 1
    assert set_learn_rate_factor(gnc.GroupNormalizationLayer(2), "scale", 0.5).scale_learn_rate_factor == 0.5


def test_of_arrays_graphs_and_networks(classifier, residual):
    assert set_learn_rate_factor(classifier, "groupnorm_1", "offset", 0)[2].offset_learn_rate_factor == 0
    changed = set_learn_rate_factor(residual, "skip", "weights", 3)
    assert changed["skip"].weight_learn_rate_factor == 3
    assert residual["skip"].weight_learn_rate_factor == 1
    assert changed.connections == residual.connections
    network = set_l2_factor(Network.build(classifier), "bn", "scale", 0)
    assert network.parameters["bn.scale"].l2_factor == 0


def test_of_a_compiled_network():
    """Its layers come with the values they have."""
    layers = [gnc.FeatureInputLayer(3), gnc.FullyConnectedLayer(2, name="fc"), gnc.RegressionLayer()]
    net, _ = gnc.train_network(np.ones((4, 3)), np.ones((4, 2)), layers, gnc.training_options(verbose=False))
    changed = set_learn_rate_factor(net, "fc", "weights", 0)
    assert get_learn_rate_factor(changed, "fc", "weights") == 0
    assert get_learn_rate_factor(net, "fc", "weights") == 1
    np.testing.assert_array_equal(changed["fc"].layer.weights, net.compiled.parameters["fc.weights"])


def test_are_read_back(classifier, residual):
    layer = set_learn_rate_factor(gnc.Convolution2dLayer(3, 4), "weights", 0.25)
    assert get_learn_rate_factor(layer, "weights") == 0.25
    assert get_l2_factor(layer, "bias") == 0
    assert get_learn_rate_factor(classifier, "groupnorm_1", "offset") == 1
    assert get_l2_factor(set_l2_factor(residual, "skip", "bias", 3), "skip", "bias") == 3
    network = set_learn_rate_factor(Network.build(classifier), "bn", "scale", 2)
    assert get_learn_rate_factor(network, "bn", "scale") == 2


def test_refusals(classifier):
    with pytest.raises(LayerError, match=r"GroupNormalizationLayer 'gn': parameter 'gamma'; allowed: offset, scale"):
        set_learn_rate_factor(gnc.GroupNormalizationLayer(2, name="gn"), "gamma", 0)
    with pytest.raises(LayerError, match=r"parameter 'weight'; allowed: weights, bias"):
        set_learn_rate_factor(gnc.FullyConnectedLayer(2), "weight", 0)
    with pytest.raises(LayerError, match=r"scale_learn_rate_factor = -1; allowed: a finite number ≥ 0"):
        set_learn_rate_factor(gnc.GroupNormalizationLayer(2), "scale", -1)
    for call, said in (
        (
            lambda: get_l2_factor(classifier, "scale"),
            r"1 values behind the list; allowed: name of the layer, parameter",
        ),
        (
            lambda: get_l2_factor(classifier[2]),
            r'0 values .* layer; .*: parameter; write get_l2_factor\(layer, "scale"\)',
        ),
        (lambda: set_l2_factor(classifier[2], "scale"), r'parameter, factor; write set_l2_factor\(layer, "scale", 0\)'),
        (lambda: set_learn_rate_factor(classifier), r'write set_learn_rate_factor\(graph, "gn1", "scale", 0\)'),
    ):
        with pytest.raises(LayerError, match=said):
            call()
    with pytest.raises(LayerError, match=r"parameter 'gamma'; allowed: offset, scale"):
        get_l2_factor(gnc.GroupNormalizationLayer(2), "gamma")
    with pytest.raises(NetworkError, match="no layer 'gn9'"):
        set_learn_rate_factor(classifier, "gn9", "scale", 0)
    with pytest.raises(LayerError, match="allowed: a layer, a list of layers"):
        set_learn_rate_factor(5, "gn1", "scale", 0)
