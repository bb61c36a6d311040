"""gncodegen: a compiler for small networks, from layer array to trained network.

Public names load on first use, so that `import gncodegen` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAYERS = (
    "AdditionLayer",
    "AveragePooling2dLayer",
    "BatchNormalizationLayer",
    "ClassificationLayer",
    "Convolution2dLayer",
    "DepthConcatenationLayer",
    "DropoutLayer",
    "FeatureInputLayer",
    "FullyConnectedLayer",
    "GlobalAveragePooling2dLayer",
    "GroupNormalizationLayer",
    "ImageInputLayer",
    "InstanceNormalizationLayer",
    "LayerNormalizationLayer",
    "LeakyReluLayer",
    "MaxPooling2dLayer",
    "RegressionLayer",
    "ReluLayer",
    "SoftmaxLayer",
)
_ERRORS = ("ArrayError", "CompileError", "GncodegenError", "LayerError", "NetworkError", "OptionsError", "TargetError")

_HOME: dict[str, str] = {
    **dict.fromkeys(_LAYERS, "gncodegen.layers"),
    **dict.fromkeys(("LayerGraph", "analyze_network"), "gncodegen.layers"),
    **dict.fromkeys(_ERRORS, "gncodegen.errors"),
    "compile": "gncodegen.compiler",
    "groupnorm": "gncodegen.functional",
    **dict.fromkeys(("load", "train_network", "training_options"), "gncodegen.train"),
}
"""Public name → the module it lives in."""

__all__ = sorted((*_HOME, "__version__"))  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from gncodegen.compiler import compile as compile  # noqa: A004
    from gncodegen.functional import groupnorm as groupnorm
    from gncodegen.errors import ArrayError as ArrayError
    from gncodegen.errors import CompileError as CompileError
    from gncodegen.errors import GncodegenError as GncodegenError
    from gncodegen.errors import LayerError as LayerError
    from gncodegen.errors import NetworkError as NetworkError
    from gncodegen.errors import OptionsError as OptionsError
    from gncodegen.errors import TargetError as TargetError
    from gncodegen.layers import AdditionLayer as AdditionLayer
    from gncodegen.layers import AveragePooling2dLayer as AveragePooling2dLayer
    from gncodegen.layers import BatchNormalizationLayer as BatchNormalizationLayer
    from gncodegen.layers import ClassificationLayer as ClassificationLayer
    from gncodegen.layers import Convolution2dLayer as Convolution2dLayer
    from gncodegen.layers import DepthConcatenationLayer as DepthConcatenationLayer
    from gncodegen.layers import DropoutLayer as DropoutLayer
    from gncodegen.layers import FeatureInputLayer as FeatureInputLayer
    from gncodegen.layers import FullyConnectedLayer as FullyConnectedLayer
    from gncodegen.layers import GlobalAveragePooling2dLayer as GlobalAveragePooling2dLayer
    from gncodegen.layers import GroupNormalizationLayer as GroupNormalizationLayer
    from gncodegen.layers import ImageInputLayer as ImageInputLayer
    from gncodegen.layers import InstanceNormalizationLayer as InstanceNormalizationLayer
    from gncodegen.layers import LayerGraph as LayerGraph
    from gncodegen.layers import LayerNormalizationLayer as LayerNormalizationLayer
    from gncodegen.layers import LeakyReluLayer as LeakyReluLayer
    from gncodegen.layers import MaxPooling2dLayer as MaxPooling2dLayer
    from gncodegen.layers import RegressionLayer as RegressionLayer
    from gncodegen.layers import ReluLayer as ReluLayer
    from gncodegen.layers import SoftmaxLayer as SoftmaxLayer
    from gncodegen.layers import analyze_network as analyze_network
    from gncodegen.train import load as load
    from gncodegen.train import train_network as train_network
    from gncodegen.train import training_options as training_options


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'gncodegen' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
