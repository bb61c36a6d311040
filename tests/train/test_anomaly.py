"""detect_anomaly: the first NaN or infinity is found where it comes up, and the step before it stays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.targets import TARGETS

import gncodegen as gnc

X, Y = np.ones((6, 2), np.float32), np.ones((6, 1), np.float32)


def train(x=X, y=Y, layers=None, where=None, **options):
    chosen = {"max_epochs": 4, "mini_batch_size": 3, "seed": 0, "verbose": False, "detect_anomaly": True} | options
    fully = [gnc.FullyConnectedLayer(1, name="fc", weights=np.zeros((1, 2)))] if layers is None else layers
    network = [gnc.FeatureInputLayer(2, normalization="none", name="in"), *fully, gnc.RegressionLayer()]
    return gnc.train_network(x, y, network, gnc.training_options("sgdm", **chosen), **(where or {}))


def caught(**given):
    with pytest.raises(gnc.AnomalyError) as error:
        train(**given)
    assert "; allowed: finite numbers" in str(error.value)
    return error.value


@pytest.mark.full(like="train/test_anomaly.py::test_what_comes_with_the_data")
@pytest.mark.parametrize("target", TARGETS)
def test_an_output_names_layer_op_and_iteration(target):
    layers = [
        gnc.FullyConnectedLayer(2, name="large", weights=np.full((2, 2), 1e30)), gnc.ReluLayer(),
        gnc.FullyConnectedLayer(1, name="too_large", weights=np.full((1, 2), 1e30)), gnc.ReluLayer(),
    ]  # fmt: skip
    error = caught(layers=layers, where={} if target == "cpu" else {"target": target, "emulate": True})
    assert (error.layer, error.op, error.iteration) == ("too_large", "gn.fully_connected + gn.bias", 1)
    assert "layer 4 'too_large': gn.fully_connected + gn.bias: its output holds 0 NaN and 3 infinities" in str(error)


@pytest.mark.parametrize(("what", "name"), [("x", "x"), ("y", "the targets")])
def test_what_comes_with_the_data(what, name):
    data = {"x": X, "y": Y}
    data[what] = data[what].copy()
    data[what][4, 0] = math.nan
    error = caught(**data, shuffle="never")
    assert (error.layer, error.op, error.iteration) == ("", "data", 2)
    said = f"the mini-batch: data: {name} holds 1 NaN and 0 infinities in iteration 2, the first at [1, 0]"
    assert said in str(error)


def test_an_update_and_the_network_before_it():
    """The rate of the third step is beyond what the gradient bears."""
    seen = []
    error = caught(
        learn_rate_schedule=lambda epoch, iteration: 3e38 if iteration == 3 else 0.1, y=Y * 1e3,
        output_fcn=lambda state: seen.append(dict(state.network.compiled.parameters)),
    )  # fmt: skip
    assert (error.op, error.iteration) == ("gn.update", 3)
    assert error.layer == "fc"
    for name, value in seen[-1].items():
        np.testing.assert_array_equal(error.network.compiled.parameters[name], value)


def test_the_batch_is_run_again_with_the_same_dropout():
    """Only rows of which the mask keeps something overflow behind it: as many as in the step."""
    layers = [gnc.DropoutLayer(0.8, name="drop"), gnc.FullyConnectedLayer(1, name="fc", weights=np.full((1, 2), 1e38))]
    rows = {"x": np.full((40, 2), 3, np.float32), "y": np.ones((40, 1)), "layers": layers, "mini_batch_size": 40}
    net, _ = train(**rows, detect_anomaly=False, output_fcn=lambda state: state.iteration == 1)
    overflown = int(np.isinf(net.compiled.last_scores).sum())
    assert 0 < overflown < 40
    error = caught(**rows)
    assert (error.layer, error.op) == ("fc", "gn.fully_connected + gn.bias")
    assert f"its output holds 0 NaN and {overflown} infinities in iteration 1" in str(error)


def test_a_healthy_training_keeps_its_bits():
    (net, info), (other, course) = train(), train(detect_anomaly=False)
    np.testing.assert_array_equal(info.training_loss, course.training_loss)
    for name, value in other.compiled.parameters.items():
        np.testing.assert_array_equal(net.compiled.parameters[name], value)
