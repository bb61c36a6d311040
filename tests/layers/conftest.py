"""Networks the tests of layers share."""

import pytest

import gncodegen.layers as gnl


@pytest.fixture
def classifier():
    return [
        gnl.ImageInputLayer((28, 28, 1)),
        gnl.Convolution2dLayer(3, 8, padding="same"),
        gnl.GroupNormalizationLayer(4),
        gnl.ReluLayer(),
        gnl.MaxPooling2dLayer(2, stride=2),
        gnl.Convolution2dLayer(3, 16),
        gnl.BatchNormalizationLayer(name="bn"),
        gnl.ReluLayer(),
        gnl.FullyConnectedLayer(10),
        gnl.SoftmaxLayer(),
        gnl.ClassificationLayer(),
    ]


@pytest.fixture
def residual():
    graph = gnl.LayerGraph(
        [
            gnl.ImageInputLayer((8, 8, 4), normalization="none"),
            gnl.Convolution2dLayer(3, 4, padding="same"),
            gnl.ReluLayer(),
            gnl.AdditionLayer(2, name="add"),
            gnl.FullyConnectedLayer(3),
            gnl.RegressionLayer(),
        ]
    )
    graph.add(gnl.Convolution2dLayer(1, 4, name="skip"))
    return graph.connect("imageinput", "skip").connect("skip", "add/in2")
