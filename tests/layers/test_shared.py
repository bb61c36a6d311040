"""Learnables that several layers read: one parameter, in the place where it belongs."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.errors import LayerError, NetworkError
from gncodegen.ir.build import build_module
from gncodegen.ir.function import function_of, slots


def layers(**changes):
    shared = {"weights": "first.weights", "bias": "first.bias"}
    return [
        gnc.ImageInputLayer((6, 6, 4), normalization="none"),
        gnc.Convolution2dLayer(3, 4, padding="same", name="first"),
        gnc.Convolution2dLayer(3, 4, padding="same", name="second", **({"shared": shared} | changes)),
        gnc.RegressionLayer(),
    ]


def test_a_shared_array_is_one_parameter() -> None:
    network = gnc.Network.build(layers())
    assert list(network.parameters) == ["first.weights", "first.bias"]
    module = build_module(network, "train_step", batch_size=2)
    (weights,) = [value for value, slot in slots(function_of(module)) if slot.name == "first.weights"]
    assert len(list(weights.uses)) == 2
    assert [row.learnables for row in gnc.analyze_network(layers()).rows][2] == {}


def test_it_is_written_and_read() -> None:
    network = gnc.Network.build(layers())
    data, arrays = network.to_json()
    again = gnc.Network.from_json(json.loads(json.dumps(data)), arrays)
    assert again["second"].layer.shared == (("bias", "first.bias"), ("weights", "first.weights"))
    assert again["second"].key("weights") == "first.weights"
    assert again["first"].key("weights") == "first.weights"


def test_its_axes_may_be_in_another_order() -> None:
    turned = gnc.Network.build(layers(shared={"weights": "first.weights[1, 0, 3, 2]"}))
    assert turned["second"].reading("weights").order == (1, 0, 3, 2)
    values = turned.initial_values(np.random.default_rng(0))
    found = turned["second"].array("weights", values)
    np.testing.assert_array_equal(found, values["first.weights"].transpose(1, 0, 3, 2))
    text = str(build_module(turned, "loss", batch_size=2))
    assert text.count("gn.transpose") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shared": {"weights": "first.weights[0, 1]"}}, r"allowed: learnables of shape \(3, 3, 4, 4\): first.weights"),
        ({"shared": {"scale": "first.weights"}}, r"shared = \{'scale': 'first.weights'\}; allowed: weights, bias"),
        ({"shared": {"weights": "third.weights"}}, r"allowed: learnables of shape \(3, 3, 4, 4\): first.weights"),
        ({"shared": {"weights": "first.bias"}}, r"allowed: learnables of shape \(3, 3, 4, 4\): first.weights"),
        ({"bias": [0, 0, 0, 0]}, r"beside a value of its own; allowed: one of both; leave out bias"),
    ],
)
def test_what_does_not_fit_is_told(changes, message) -> None:
    with pytest.raises(NetworkError, match=message):
        gnc.Network.build(layers(**changes))


def test_only_a_mapping_is_taken() -> None:
    with pytest.raises(LayerError, match="allowed: a mapping of learnables to those of other layers"):
        gnc.Convolution2dLayer(3, 4, shared="first")
    with pytest.raises(LayerError, match="allowed: a mapping"):
        gnc.Convolution2dLayer(3, 4, shared={"weights": "first"})
