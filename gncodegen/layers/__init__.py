"""The layers a user writes, and the checked, connected network they make."""

from __future__ import annotations

from gncodegen.layers.activations import (
    ClippedReluLayer,
    EluLayer,
    GeluLayer,
    LeakyReluLayer,
    ReluLayer,
    SigmoidLayer,
    SoftmaxLayer,
    SoftplusLayer,
    SwishLayer,
    TanhLayer,
)
from gncodegen.layers.analyze import Analysis, Row, analyze_network
from gncodegen.layers.base import Layer, Operation, Parameter, Size
from gncodegen.layers.convolution import Convolution2dLayer
from gncodegen.layers.dense import DropoutLayer, FlattenLayer, FullyConnectedLayer
from gncodegen.layers.factors import set_l2_factor, set_learn_rate_factor
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.initializers import initialize
from gncodegen.layers.inputs import FeatureInputLayer, ImageInputLayer
from gncodegen.layers.joining import AdditionLayer, DepthConcatenationLayer
from gncodegen.layers.network import Network, Node
from gncodegen.layers.normalization import (
    BatchNormalizationLayer,
    GroupNormalizationLayer,
    InstanceNormalizationLayer,
    LayerNormalizationLayer,
)
from gncodegen.layers.outputs import ClassificationLayer, RegressionLayer
from gncodegen.layers.pooling import (
    AveragePooling2dLayer,
    GlobalAveragePooling2dLayer,
    GlobalMaxPooling2dLayer,
    MaxPooling2dLayer,
)
from gncodegen.layers.transposed_convolution import TransposedConvolution2dLayer

__all__ = [
    "AdditionLayer",
    "Analysis",
    "AveragePooling2dLayer",
    "BatchNormalizationLayer",
    "ClassificationLayer",
    "ClippedReluLayer",
    "Convolution2dLayer",
    "DepthConcatenationLayer",
    "DropoutLayer",
    "EluLayer",
    "FeatureInputLayer",
    "FlattenLayer",
    "FullyConnectedLayer",
    "GeluLayer",
    "GlobalAveragePooling2dLayer",
    "GlobalMaxPooling2dLayer",
    "GroupNormalizationLayer",
    "ImageInputLayer",
    "InstanceNormalizationLayer",
    "Layer",
    "LayerGraph",
    "LayerNormalizationLayer",
    "LeakyReluLayer",
    "MaxPooling2dLayer",
    "Network",
    "Node",
    "Operation",
    "Parameter",
    "RegressionLayer",
    "ReluLayer",
    "Row",
    "SigmoidLayer",
    "Size",
    "SoftmaxLayer",
    "SoftplusLayer",
    "SwishLayer",
    "TanhLayer",
    "TransposedConvolution2dLayer",
    "analyze_network",
    "initialize",
    "set_l2_factor",
    "set_learn_rate_factor",
]
