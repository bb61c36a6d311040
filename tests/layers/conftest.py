"""Networks the tests of layers share."""

import pytest

import gncodegen as gnc


@pytest.fixture
def classifier():
    return [
        gnc.ImageInputLayer((28, 28, 1)),
        gnc.Convolution2dLayer(3, 8, padding="same"),
        gnc.GroupNormalizationLayer(4),
        gnc.ReluLayer(),
        gnc.MaxPooling2dLayer(2, stride=2),
        gnc.Convolution2dLayer(3, 16),
        gnc.BatchNormalizationLayer(name="bn"),
        gnc.ReluLayer(),
        gnc.FullyConnectedLayer(10),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]


@pytest.fixture
def residual():
    graph = gnc.LayerGraph(
        [
            gnc.ImageInputLayer((8, 8, 4), normalization="none"),
            gnc.Convolution2dLayer(3, 4, padding="same"),
            gnc.ReluLayer(),
            gnc.AdditionLayer(2, name="add"),
            gnc.FullyConnectedLayer(3),
            gnc.RegressionLayer(),
        ]
    )
    graph.add(gnc.Convolution2dLayer(1, 4, name="skip"))
    return graph.connect("imageinput", "skip").connect("skip", "add/in2")
