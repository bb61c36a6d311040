"""The light models of the package onnx: networks as they were published, with made-up weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import numpy_helper
from support.onnx_models import same_network

import gncodegen as gnc
from gncodegen.exchange.onnx.exporting import model
from gncodegen.layers.network import Network

FOLDER = Path(onnx.backend.test.__file__).parent / "data" / "light"
MODELS = {
    "bvlc_alexnet": 2,
    "densenet121": 2,
    "inception_v1": 2,
    "inception_v2": 2,
    "resnet50": 2,
    "shufflenet": 50,
    "squeezenet": 2,
    "vgg19": 2,
    "zfnet512": 2,
}
"""Model → permutations of axes in its graph: one at the input, one at the output, and ShuffleNet's own."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "squeezenet" else pytest.mark.full) for name in MODELS]
)
def test_it_comes_in_with_no_more_permutations_than_it_needs(name) -> None:
    graph = gnc.from_onnx(FOLDER / f"light_{name}.onnx")
    Network.build(graph, require_output=False)
    assert sum(isinstance(layer, gnc.PermuteLayer) for layer in graph) <= MODELS[name]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "squeezenet" else pytest.mark.full) for name in MODELS]
)
def test_it_goes_out_and_comes_in_as_the_same_layers(name) -> None:
    graph = gnc.from_onnx(FOLDER / f"light_{name}.onnx")
    network = Network.build(graph, require_output=False)
    made = model(network, network.initial_values(np.random.default_rng(0)))
    onnx.checker.check_model(made, full_check=True)
    assert same_network(graph, gnc.from_onnx(made))


@pytest.mark.full(like="test_readme.py::test_the_tour_runs")
def test_squeezenet_predicts_what_the_package_expects() -> None:
    graph = gnc.from_onnx(FOLDER / "light_squeezenet.onnx")
    shape = next(layer.shape for layer in graph if isinstance(layer, gnc.TensorInputLayer))
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(1, *shape) / np.prod(shape)
    expected = onnx.load_tensor(FOLDER / "light_squeezenet_output_0.pb")
    found = gnc.compile(graph, batch_size=1).predict(x.astype(np.float32))
    np.testing.assert_allclose(found, numpy_helper.to_array(expected), rtol=1e-3, atol=1e-7)
