"""Sizes, parameters and operation chains of single layers."""

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.kernels.activations import ACTIVATIONS
from gncodegen.layers.activations import ActivationLayer
from gncodegen.layers.base import Operation, Size

IMAGE = Size("SSC", (8, 6, 4))
FEATURES = Size("C", (12,))
SEQUENCE = Size("TC", (5, 12))
IMAGES = Size("TSSC", (5, 8, 6, 4))


def chain(layer, *sizes):
    return layer.operations(sizes or (IMAGE,))


def shapes(layer, *sizes):
    return {p.name: p.shape for p in layer.parameters(sizes or (IMAGE,))}


def window(stride=(1, 1), dilation=(1, 1), padding=(0, 0, 0, 0)):
    return {"stride": stride, "dilation": dilation, "padding": padding, "groups": 1}


def test_size():
    assert (IMAGE.channels, IMAGE.spatial, IMAGE.count, str(IMAGE)) == (4, (8, 6), 192, "8×6×4 (SSC)")


def test_convolution():
    layer = gnc.Convolution2dLayer((3, 5), 7, padding="same", stride=(2, 1))
    assert layer.output_size((IMAGE,)) == Size("SSC", (4, 6, 7))
    assert shapes(layer) == {"weights": (3, 5, 4, 7), "bias": (7,)}
    assert chain(layer) == (
        Operation("convolution", ("weights",), window((2, 1), padding=(0, 1, 2, 2))),
        Operation("bias", ("bias",)),
    )
    weights, bias = layer.parameters((IMAGE,))
    assert weights.fans == (3 * 5 * 4, 3 * 5 * 7)
    assert (weights.initializer, weights.l2_factor, bias.initializer, bias.l2_factor) == ("glorot", 1, "zeros", 0)


def test_dilated_convolution():
    layer = gnc.Convolution2dLayer(3, 2, dilation_factor=2)
    assert layer.output_size((IMAGE,)) == Size("SSC", (4, 2, 2))
    assert chain(layer)[0].attributes == window(dilation=(2, 2))


@pytest.mark.parametrize(
    ("cropping", "sides", "extents"),
    [
        (0, (0, 0, 0, 0), (17, 16)),
        (1, (1, 1, 1, 1), (15, 14)),
        ((1, 2), (1, 1, 2, 2), (15, 12)),
        ((0, 2, 1, 0), (0, 2, 1, 0), (15, 15)),
        ("same", (0, 1, 0, 0), (16, 18)),
    ],
)
def test_transposed_convolution(cropping, sides, extents):
    """The window of one column is shorter than its stride of 3, so "same" adds what nothing reaches."""
    layer = gnc.TransposedConvolution2dLayer((3, 1), 7, stride=(2, 3), cropping=cropping)
    assert layer.output_size((IMAGE,)) == Size("SSC", (*extents, 7))
    assert shapes(layer) == {"weights": (3, 1, 7, 4), "bias": (7,)}
    attributes = {"extents": extents, "stride": (2, 3), "dilation": (1, 1), "padding": sides}
    assert chain(layer) == (
        Operation("transposed_convolution", ("weights",), attributes),
        Operation("bias", ("bias",)),
    )
    weights, bias = layer.parameters((IMAGE,))
    assert weights.fans == (3 * 1 * 4, 3 * 1 * 7)
    assert (weights.initializer, weights.l2_factor, bias.initializer, bias.l2_factor) == ("glorot", 1, "zeros", 0)


@pytest.mark.parametrize(
    ("value", "mode", "number"),
    [
        (1.5, "constant", 1.5),
        ("replicate", "replicate", 0.0),
        ("symmetric-include-edge", "symmetric-include-edge", 0.0),
        ("symmetric-exclude-edge", "symmetric-exclude-edge", 0.0),
    ],
)
def test_padding_value_pads_first(value, mode, number):
    layer = gnc.Convolution2dLayer(3, 2, padding=(1, 1, 0, 2), padding_value=value)
    pad, convolution, _ = chain(layer)
    assert pad == Operation("pad", (), {"padding": (1, 1, 0, 2), "mode": mode, "value": number})
    assert convolution.attributes == window()
    assert layer.output_size((IMAGE,)) == Size("SSC", (8, 6, 2))


def test_padding_value_without_padding_pads_nothing():
    assert [o.op for o in chain(gnc.Convolution2dLayer(3, 2, padding_value=1))] == ["convolution", "bias"]


@pytest.mark.parametrize("groups", [2, "all-channels", "channel-wise"])
def test_group_norm_keeps_the_users_words(groups):
    layer = gnc.GroupNormalizationLayer(groups, epsilon=1e-3)
    attributes = {"groups": groups, "epsilon": 1e-3, "reduced": "spatial-channel"}
    assert chain(layer) == (Operation("group_norm", ("scale", "offset"), attributes),)
    assert shapes(layer) == {"scale": (4,), "offset": (4,)}
    scale, offset = layer.parameters((IMAGE,))
    assert (scale.initializer, offset.initializer) == ("ones", "zeros")
    assert (scale.l2_factor, offset.l2_factor) == (1, 1)


@pytest.mark.parametrize(
    ("dimension", "size", "reduced"),
    [
        ("auto", IMAGE, "spatial-channel"),
        ("auto", SEQUENCE, "channel"),
        ("auto", FEATURES, "channel"),
        ("channel-only", IMAGE, "channel"),
        ("spatial-channel", IMAGE, "spatial-channel"),
        ("spatial-channel", SEQUENCE, "channel"),
        ("batch-excluded", IMAGE, "spatial-channel"),
        ("batch-excluded", SEQUENCE, "spatial-channel"),
        ("auto", IMAGES, "step"),
        ("spatial-channel", IMAGES, "step"),
        ("channel-only", IMAGES, "channel"),
        ("batch-excluded", IMAGES, "spatial-channel"),
    ],
)
def test_layer_norm_dimensions(dimension, size, reduced):
    (operation,) = chain(gnc.LayerNormalizationLayer(operation_dimension=dimension), size)
    assert operation.op == "group_norm"
    assert operation.attributes == {"groups": "all-channels", "epsilon": 1e-5, "reduced": reduced}


def test_instance_norm_is_group_norm():
    (operation,) = chain(gnc.InstanceNormalizationLayer())
    assert operation.attributes["groups"] == "channel-wise"


def test_batch_norm():
    layer = gnc.BatchNormalizationLayer(mean_decay=0.2, trained_variance=np.full(4, 2.0))
    names = ("scale", "offset", "trained_mean", "trained_variance")
    assert chain(layer) == (
        Operation("batch_norm", names, {"epsilon": 1e-5, "mean_decay": 0.2, "variance_decay": 0.1}),
    )
    parameters = layer.parameters((IMAGE,))
    assert [p.name for p in parameters] == list(names)
    assert [p.learnable for p in parameters] == [True, True, False, False]
    assert [p.initializer for p in parameters] == ["ones", "zeros", "zeros", "ones"]
    assert parameters[3].value is layer.trained_variance


@pytest.mark.parametrize(
    ("layer", "function", "alpha"),
    [
        (gnc.ReluLayer(), "relu", 0),
        (gnc.LeakyReluLayer(0.2), "leaky-relu", 0.2),
        (gnc.ClippedReluLayer(6), "clipped-relu", 6),
        (gnc.EluLayer(2), "elu", 2),
        (gnc.TanhLayer(), "tanh", 0),
        (gnc.SigmoidLayer(), "sigmoid", 0),
        (gnc.SwishLayer(), "swish", 0),
        (gnc.GeluLayer(), "gelu", 0),
        (gnc.GeluLayer(approximation="tanh"), "gelu-tanh", 0),
        (gnc.SoftplusLayer(), "softplus", 0),
    ],
)
def test_activations(layer, function, alpha):
    assert chain(layer) == (Operation("activation", (), {"function": function, "alpha": alpha}),)
    assert layer.output_size((IMAGE,)) == IMAGE


@pytest.mark.parametrize(
    ("layer", "function", "constants"),
    [
        (gnc.HardSwishLayer(), "hard-swish", {}),
        (gnc.HardSigmoidLayer(0.2), "hard-sigmoid", {"alpha": 0.2, "beta": 0.5}),
        (gnc.HardTanhLayer(-2, 3), "hard-tanh", {"alpha": -2, "beta": 3}),
        (gnc.MishLayer(), "mish", {}),
        (gnc.SeluLayer(), "selu", {"alpha": 1.6732632423543772, "beta": 1.0507009873554805}),
        (gnc.CeluLayer(2), "celu", {"alpha": 2}),
        (gnc.SoftsignLayer(), "softsign", {}),
        (gnc.LogSigmoidLayer(), "log-sigmoid", {}),
        (gnc.ThresholdedReluLayer(2), "thresholded-relu", {"alpha": 2}),
        (gnc.UnaryLayer("square-root"), "square-root", {}),
    ],
)
def test_activations_of_several_constants(layer, function, constants):
    assert chain(layer) == (Operation("activation", (), {"function": function, "alpha": 0.0, **constants}),)


def test_every_activation_layer_is_a_row_and_starts_from_its_constants():
    for layer in (layer(*([6] if layer is gnc.ClippedReluLayer else [])) for layer in ActivationLayer.__subclasses__()):
        (operation,) = chain(layer)
        found = [operation.attributes[name] for name in ("alpha", "beta") if name in operation.attributes]
        assert found == [*(ACTIVATIONS[operation.attributes["function"]].constants or (0,))]


def test_pooling():
    layer = gnc.MaxPooling2dLayer((3, 2), stride=2, padding=(1, 0, 1, 1))
    attributes = {"window": (3, 2), "stride": (2, 2), "padding": (1, 0, 1, 1)}
    assert layer.output_size((IMAGE,)) == Size("SSC", (4, 4, 4))
    assert chain(layer) == (Operation("max_pool", (), attributes),)


@pytest.mark.parametrize(("value", "counted"), [(0, True), ("mean", False)])
def test_average_pooling_counts_its_padding(value, counted):
    layer = gnc.AveragePooling2dLayer(3, padding="same", padding_value=value)
    attributes = {"window": (3, 3), "stride": (1, 1), "padding": (1, 1, 1, 1), "count_padding": counted}
    assert chain(layer) == (Operation("average_pool", (), attributes),)


@pytest.mark.parametrize(
    ("layer", "op", "more"),
    [
        (gnc.GlobalAveragePooling2dLayer(), "average_pool", {"count_padding": True}),
        (gnc.GlobalMaxPooling2dLayer(), "max_pool", {}),
    ],
)
def test_global_pooling(layer, op, more):
    assert layer.output_size((IMAGE,)) == Size("SSC", (1, 1, 4))
    attributes = {"window": (8, 6), "stride": (1, 1), "padding": (0, 0, 0, 0)}
    assert chain(layer) == (Operation(op, (), attributes | more),)


def test_fully_connected():
    layer = gnc.FullyConnectedLayer(10)
    assert layer.output_size((IMAGE,)) == Size("C", (10,))
    assert layer.output_size((SEQUENCE,)) == Size("TC", (5, 10))
    assert shapes(layer) == {"weights": (10, 192), "bias": (10,)}
    assert layer.parameters((IMAGE,))[0].fans == (192, 10)
    assert chain(layer) == (Operation("fully_connected", ("weights",)), Operation("bias", ("bias",)))


def test_flatten_is_nothing_where_there_is_nothing_to_flatten():
    assert gnc.FlattenLayer().output_size((IMAGE,)) == Size("C", (192,))
    assert chain(gnc.FlattenLayer()) == (Operation("reshape"),)
    assert chain(gnc.FlattenLayer(), FEATURES) == ()


def test_joining():
    assert chain(gnc.AdditionLayer(3), *[IMAGE] * 3) == (Operation("add"),)
    narrow = Size("SSC", (8, 6, 3))
    assert gnc.DepthConcatenationLayer(2).output_size((IMAGE, narrow)) == Size("SSC", (8, 6, 7))
    assert list(gnc.DepthConcatenationLayer(2).shape_errors((IMAGE, narrow))) == []
    assert chain(gnc.DepthConcatenationLayer(2), IMAGE, narrow) == (Operation("concatenate"),)


def test_rest():
    assert chain(gnc.DropoutLayer(0.25)) == (Operation("dropout", (), {"probability": 0.25, "index": 0}),)
    assert chain(gnc.SoftmaxLayer()) == (Operation("softmax"),)
    assert chain(gnc.RegressionLayer()) == (Operation("half_squared_error"),)
    assert chain(gnc.ClassificationLayer()) == (Operation("cross_entropy", (), {"class_weights": ()}),)
    weighted = gnc.ClassificationLayer(class_weights=[1, 2])
    assert chain(weighted, Size("C", (2,)))[0].attributes == {"class_weights": (1.0, 2.0)}
