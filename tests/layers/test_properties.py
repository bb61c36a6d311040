"""Properties: defaults of the reference, canonical forms, arrays, equality."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gncodegen as gnc
from gncodegen.errors import LayerError
from gncodegen.layers.archive import layer_types

EXAMPLES = {
    "ImageInputLayer": ((28, 28, 1),),
    "FeatureInputLayer": (21,),
    "Image3dInputLayer": ((28, 28, 28, 1),),
    "SequenceInputLayer": (12,),
    "FullyConnectedLayer": (10,),
    "GroupNormalizationLayer": (8,),
    "ClippedReluLayer": (6,),
    **{f"Convolution{rank}dLayer": (3, 16) for rank in (1, 2, 3)},
    **{f"GroupedConvolution{rank}dLayer": (3, 8, 4) for rank in (1, 2, 3)},
    **{f"TransposedConvolution{rank}dLayer": (2, 16) for rank in (1, 2, 3)},
    **{f"{kind}Pooling{rank}dLayer": (2,) for kind in ("Max", "Average") for rank in (1, 2, 3)},
    "UnaryLayer": ("square",),
    "PaddingLayer": ((1, 1, 1, 1),),
    "AdditionLayer": (2,),
    "MultiplicationLayer": (2,),
    "ElementwiseLayer": ("maximum",),
    "DepthConcatenationLayer": (3,),
    "TensorInputLayer": ((3, 4),),
    "ReshapeLayer": ((4,),),
    "PermuteLayer": ((1, 0),),
    "CropLayer": ((1, 0, 2, 1),),
    "DepthToSpaceLayer": (2,),
    "SpaceToDepthLayer": (2,),
    "CrossChannelNormalizationLayer": (5,),
    **{f"Resize{rank}dLayer": (4,) for rank in (1, 2, 3)},
}
TYPES = {name: t for name, t in layer_types().items() if t is not gnc.Layer}


@pytest.fixture(params=TYPES, ids=str)
def layer(request):
    return TYPES[request.param](*EXAMPLES.get(request.param, ()))


def test_every_layer_is_frozen_equal_hashable_and_named(layer):
    twin = replace(layer)
    assert layer == twin
    assert hash(layer) == hash(twin)
    assert replace(layer, name="other") != layer
    assert layer.name == ""
    assert layer.kind != gnc.Layer.kind
    with pytest.raises(
        LayerError, match=rf"{type(layer).__name__}: name = 'x' set on a layer; .*\.replace\(layer, name='x'\)"
    ):
        layer.name = "x"
    with pytest.raises(LayerError, match=f"{type(layer).__name__}: name deleted"):
        del layer.name


def test_ports(layer):
    ports = 0 if layer.is_input else 1
    if "num_inputs" in defaults(layer):
        ports = {"depthcat": 3}.get(layer.kind, 2)
    if layer.kind == "matrixproduct":
        ports = 2
    assert layer.num_inputs == len(layer.input_names) == ports
    assert layer.input_names == (("in",) if ports == 1 else tuple(f"in{i + 1}" for i in range(ports)))
    assert layer.output_names == (() if layer.is_output else ("out",))
    assert layer.num_outputs == len(layer.output_names)


def defaults(layer):
    return {field.name: getattr(layer, field.name) for field in fields(layer)}


def test_group_normalization_defaults():
    assert defaults(gnc.GroupNormalizationLayer(8)) == {
        "num_groups": 8,
        "num_channels": "auto",
        "epsilon": 1e-5,
        "offset": None,
        "scale": None,
        "offset_initializer": "zeros",
        "scale_initializer": "ones",
        "offset_learn_rate_factor": 1.0,
        "scale_learn_rate_factor": 1.0,
        "offset_l2_factor": 1.0,
        "scale_l2_factor": 1.0,
        "name": "",
        "shared": (),
    }


def test_convolution_defaults():
    layer = defaults(gnc.Convolution2dLayer(3, 16))
    assert layer == {
        "filter_size": (3, 3),
        "num_filters": 16,
        "num_channels": "auto",
        "stride": (1, 1),
        "dilation_factor": (1, 1),
        "padding": (0, 0, 0, 0),
        "padding_value": 0.0,
        "weights": None,
        "bias": None,
        "weights_initializer": "glorot",
        "bias_initializer": "zeros",
        "weight_learn_rate_factor": 1.0,
        "bias_learn_rate_factor": 1.0,
        "weight_l2_factor": 1.0,
        "bias_l2_factor": 0.0,
        "name": "",
        "shared": (),
    }


def test_transposed_convolution_defaults():
    layer = defaults(gnc.TransposedConvolution2dLayer(2, 16))
    convolution = defaults(gnc.Convolution2dLayer(2, 16))
    for name in ("padding", "padding_value"):
        del convolution[name]
    assert layer == convolution | {"cropping": (0, 0, 0, 0)}


def test_other_defaults_of_the_reference():
    assert gnc.ImageInputLayer((2, 2, 1)).normalization == "zerocenter"
    assert gnc.FeatureInputLayer(3).normalization == "none"
    assert gnc.MaxPooling2dLayer(2).stride == (1, 1)
    assert gnc.AveragePooling2dLayer(2).padding_value == 0
    assert gnc.LeakyReluLayer().scale == 0.01
    assert gnc.EluLayer().alpha == 1
    assert gnc.DropoutLayer().probability == 0.5
    assert gnc.BatchNormalizationLayer().mean_decay == gnc.BatchNormalizationLayer().variance_decay == 0.1
    assert gnc.LayerNormalizationLayer().operation_dimension == "auto"
    assert gnc.ClassificationLayer().classes == "auto"


def test_canonical_forms():
    layer = gnc.Convolution2dLayer(np.int64(3), np.int32(4), stride=[2, np.int8(1)], padding=(1, 2))
    assert layer.filter_size == (3, 3)
    assert type(layer.num_filters) is int
    assert layer.stride == (2, 1)
    assert layer.padding == (1, 1, 2, 2)
    assert type(gnc.GroupNormalizationLayer(2, epsilon=np.float32(1e-3)).epsilon) is float
    assert gnc.ImageInputLayer(np.array([4, 5, 6])).input_size == (4, 5, 6)
    assert gnc.ClassificationLayer(classes=np.array(["a", "b"]), class_weights=np.array([1, 2])) == (
        gnc.ClassificationLayer(classes=("a", "b"), class_weights=(1.0, 2.0))
    )
    assert replace(layer) == layer


def test_small_epsilon_and_zero_factors_are_fine():
    layer = gnc.GroupNormalizationLayer(2, epsilon=1e-12, scale_learn_rate_factor=0, offset_l2_factor=0)
    assert (layer.epsilon, layer.scale_learn_rate_factor) == (1e-12, 0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_arrays_are_copied_and_read_only(dtype):
    given_scale = np.arange(1, 5).astype(dtype)
    layer = gnc.GroupNormalizationLayer(2, scale=given_scale, offset=[1, 2, 3, 4])
    given_scale[0] = 100
    np.testing.assert_array_equal(layer.scale, [1, 2, 3, 4])
    assert layer.scale.dtype == (dtype if "float" in dtype else "float64")
    with pytest.raises(ValueError, match="read-only"):
        layer.scale[0] = 7
    assert "array" not in repr(layer)


def test_arrays_count_in_equality():
    ones, twos = (gnc.GroupNormalizationLayer(1, scale=[value]) for value in (1.0, 2.0))
    assert ones == gnc.GroupNormalizationLayer(1, scale=np.array([1.0]))
    assert hash(ones) == hash(gnc.GroupNormalizationLayer(1, scale=np.array([1.0])))
    assert ones != twos
    assert ones != gnc.GroupNormalizationLayer(1)


@settings(max_examples=50)
@given(st.integers(1, 200), st.integers(1, 200))
def test_known_channels_must_divide(channels, groups):
    if channels % groups == 0:
        assert gnc.GroupNormalizationLayer(groups, num_channels=channels).num_groups == groups
    else:
        with pytest.raises(LayerError, match=f"{channels} channels do not split into {groups} groups"):
            gnc.GroupNormalizationLayer(groups, num_channels=channels)


@settings(max_examples=50)
@given(st.one_of(st.floats(), st.booleans(), st.text(), st.none(), st.lists(st.integers()), st.integers(max_value=0)))
def test_group_counts_that_are_none(groups):
    if groups in ("all-channels", "channel-wise"):
        return
    with pytest.raises(LayerError, match="num_groups"):
        gnc.GroupNormalizationLayer(groups)
