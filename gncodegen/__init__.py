"""gncodegen: a compiler for small networks, from layer array to trained network.

Public names load on first use, so that `import gncodegen` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES: dict[str, tuple[str, ...]] = {
    "gncodegen.compiled": ("Compiled",),
    "gncodegen.compiler": ("compile",),
    "gncodegen.errors": (
        "ArrayError",
        "CompileError",
        "EmulationFault",
        "GncodegenError",
        "LayerError",
        "NetworkError",
        "OptionsError",
        "TargetError",
    ),
    "gncodegen.functional": ("groupnorm",),
    "gncodegen.layers": (
        "AdditionLayer",
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
        "RegressionLayer",
        "ReluLayer",
        "SigmoidLayer",
        "SoftmaxLayer",
        "SoftplusLayer",
        "SwishLayer",
        "TanhLayer",
        "TransposedConvolution2dLayer",
        "analyze_network",
        "set_l2_factor",
        "set_learn_rate_factor",
    ),
    "gncodegen.runtime.device_array": ("DeviceArray",),
    "gncodegen.train.history": (
        "TrainingInfo",
        "TrainingState",
    ),
    "gncodegen.train.network": (
        "TrainedNetwork",
        "load",
        "train_network",
    ),
    "gncodegen.train.options": (
        "TrainingOptions",
        "training_options",
    ),
}
"""Module → the public names that live in it."""

_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted((*_HOME, "__version__"))  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled as Compiled
    from gncodegen.compiler import compile as compile  # noqa: A004
    from gncodegen.errors import ArrayError as ArrayError
    from gncodegen.errors import CompileError as CompileError
    from gncodegen.errors import EmulationFault as EmulationFault
    from gncodegen.errors import GncodegenError as GncodegenError
    from gncodegen.errors import LayerError as LayerError
    from gncodegen.errors import NetworkError as NetworkError
    from gncodegen.errors import OptionsError as OptionsError
    from gncodegen.errors import TargetError as TargetError
    from gncodegen.functional import groupnorm as groupnorm
    from gncodegen.layers import AdditionLayer as AdditionLayer
    from gncodegen.layers import AveragePooling2dLayer as AveragePooling2dLayer
    from gncodegen.layers import BatchNormalizationLayer as BatchNormalizationLayer
    from gncodegen.layers import ClassificationLayer as ClassificationLayer
    from gncodegen.layers import ClippedReluLayer as ClippedReluLayer
    from gncodegen.layers import Convolution2dLayer as Convolution2dLayer
    from gncodegen.layers import DepthConcatenationLayer as DepthConcatenationLayer
    from gncodegen.layers import DropoutLayer as DropoutLayer
    from gncodegen.layers import EluLayer as EluLayer
    from gncodegen.layers import FeatureInputLayer as FeatureInputLayer
    from gncodegen.layers import FlattenLayer as FlattenLayer
    from gncodegen.layers import FullyConnectedLayer as FullyConnectedLayer
    from gncodegen.layers import GeluLayer as GeluLayer
    from gncodegen.layers import GlobalAveragePooling2dLayer as GlobalAveragePooling2dLayer
    from gncodegen.layers import GlobalMaxPooling2dLayer as GlobalMaxPooling2dLayer
    from gncodegen.layers import GroupNormalizationLayer as GroupNormalizationLayer
    from gncodegen.layers import ImageInputLayer as ImageInputLayer
    from gncodegen.layers import InstanceNormalizationLayer as InstanceNormalizationLayer
    from gncodegen.layers import Layer as Layer
    from gncodegen.layers import LayerGraph as LayerGraph
    from gncodegen.layers import LayerNormalizationLayer as LayerNormalizationLayer
    from gncodegen.layers import LeakyReluLayer as LeakyReluLayer
    from gncodegen.layers import MaxPooling2dLayer as MaxPooling2dLayer
    from gncodegen.layers import Network as Network
    from gncodegen.layers import RegressionLayer as RegressionLayer
    from gncodegen.layers import ReluLayer as ReluLayer
    from gncodegen.layers import SigmoidLayer as SigmoidLayer
    from gncodegen.layers import SoftmaxLayer as SoftmaxLayer
    from gncodegen.layers import SoftplusLayer as SoftplusLayer
    from gncodegen.layers import SwishLayer as SwishLayer
    from gncodegen.layers import TanhLayer as TanhLayer
    from gncodegen.layers import TransposedConvolution2dLayer as TransposedConvolution2dLayer
    from gncodegen.layers import analyze_network as analyze_network
    from gncodegen.layers import set_l2_factor as set_l2_factor
    from gncodegen.layers import set_learn_rate_factor as set_learn_rate_factor
    from gncodegen.runtime.device_array import DeviceArray as DeviceArray
    from gncodegen.train.history import TrainingInfo as TrainingInfo
    from gncodegen.train.history import TrainingState as TrainingState
    from gncodegen.train.network import TrainedNetwork as TrainedNetwork
    from gncodegen.train.network import load as load
    from gncodegen.train.network import train_network as train_network
    from gncodegen.train.options import TrainingOptions as TrainingOptions
    from gncodegen.train.options import training_options as training_options


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gncodegen' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
