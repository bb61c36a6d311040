"""Networks become IR: arguments, results, modes, and what is refused."""

from __future__ import annotations

import pytest
from support.networks import NETWORKS, features, plain, residual

import gncodegen as gnc
from gncodegen.errors import CompileError
from gncodegen.ir.build import build_module
from gncodegen.ir.function import function_of, results, slots
from gncodegen.ir.gn import GnOperation
from gncodegen.ir.operation import texts
from gncodegen.ir.values import tensor_of
from gncodegen.layers.network import Network


def test_arguments_and_results_say_what_they_are() -> None:
    function = function_of(build_module(plain(), "loss", batch_size=7))
    arguments = {(slot.kind, slot.name): tensor_of(value).shape for value, slot in slots(function)}
    assert arguments["input", "x"] == (7, 6, 6, 3)
    assert arguments["target", "t"] == (7, 5)
    assert arguments["state", "imageinput.mean"] == (3,)
    assert arguments["parameter", "conv_1.weights"] == (3, 3, 3, 4)
    assert arguments["hyperparameters", "hyperparameters"] == (16,)
    assert [(slot.kind, slot.name, slot.format) for _, slot in results(function)] == [
        ("loss", "loss", ""), ("output", "y", "BC"),
    ]  # fmt: skip
    factors = {slot.name: slot.l2_factor for _, slot in slots(function) if slot.kind == "parameter"}
    assert factors["conv_1.bias"] == 0
    assert factors["groupnorm_1.scale"] == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_every_op_names_its_layer(name: str) -> None:
    network = NETWORKS[name]()
    module = build_module(network, "loss", batch_size=2)
    operations = [op for op in module.walk() if isinstance(op, GnOperation)]
    assert operations
    assert all(len(texts(op, "layers")) == 1 and op.layers[0] in network for op in operations)


@pytest.mark.parametrize(
    ("function", "asked", "mode"),
    [
        ("predict", True, False), ("evaluate", True, False), ("loss", True, True), ("loss", False, False),
        ("gradients", False, False), ("train_step", False, True),
    ],
)  # fmt: skip
def test_mode(function: str, asked: bool, mode: bool) -> None:
    text = str(build_module(plain(), function, batch_size=2, training=asked))
    assert f"gn.training = {str(mode).lower()}" in text


def test_dropout_layers_are_numbered() -> None:
    layers = [gnc.FeatureInputLayer(4), gnc.DropoutLayer(), gnc.DropoutLayer(0.2), gnc.RegressionLayer()]
    text = str(build_module(Network.build(layers), "train_step", batch_size=2))
    assert "probability = 0.5, index = 0" in text
    assert "probability = 0.2, index = 1" in text


def test_activations_are_returned() -> None:
    function = function_of(build_module(residual(), "predict", batch_size=2, activations=("stem", "cat")))
    shapes = {slot.name: tensor_of(value).shape for value, slot in results(function) if slot.kind == "activation"}
    assert shapes == {"stem": (2, 5, 4, 4), "cat": (2, 5, 4, 8)}


def test_prediction_needs_no_output_layer() -> None:
    network = Network.build([gnc.FeatureInputLayer(4), gnc.ReluLayer()], require_output=False)
    assert "gn.activation" in str(build_module(network, "predict", batch_size=2))
    with pytest.raises(CompileError, match="'loss' needs a loss; add a ClassificationLayer"):
        build_module(network, "loss", batch_size=2)


def test_unknown_function_is_refused() -> None:
    with pytest.raises(CompileError, match="function 'fit'; allowed: predict, loss"):
        build_module(features(), "fit", batch_size=2)


def test_several_inputs_and_outputs_are_named_by_their_layers() -> None:
    graph = gnc.LayerGraph([gnc.FeatureInputLayer(2, name="a"), gnc.TanhLayer(name="u")])
    graph.add([gnc.FeatureInputLayer(2, name="b"), gnc.AdditionLayer(2, name="sum")]).connect("u", "sum/in2")
    network = Network.build(graph.returning("sum", "u"), require_output=False)
    function = function_of(build_module(network, "predict", batch_size=3))
    assert [slot.name for _, slot in slots(function) if slot.kind == "input"] == ["a", "b"]
    assert [(slot.kind, slot.name) for _, slot in results(function)] == [("output", "sum"), ("output", "u")]
