"""The public names of gncodegen and their homes: type checkers and lazy_loader read this list."""

from .compiled import Compiled as Compiled
from .compiler import compile as compile
from .errors import (
    AnomalyError as AnomalyError,
    ArrayError as ArrayError,
    CacheError as CacheError,
    CompileError as CompileError,
    EmulationFault as EmulationFault,
    GncodegenError as GncodegenError,
    LayerError as LayerError,
    NetworkError as NetworkError,
    OptionsError as OptionsError,
    RankError as RankError,
    SaveError as SaveError,
    TargetError as TargetError,
)
from .exchange.onnx.importing import from_onnx as from_onnx
from .exchange.sklearn.estimators import (
    NetworkClassifier as NetworkClassifier,
    NetworkRegressor as NetworkRegressor,
)
from .exchange.torch.importing import from_torch as from_torch
from .exchange.torch.state import to_state_dict as to_state_dict
from . import functional as functional
from .functional import (
    gradient as gradient,
    groupnorm as groupnorm,
    vjp as vjp,
)
from .layers.activations import (
    CeluLayer as CeluLayer,
    ClippedReluLayer as ClippedReluLayer,
    EluLayer as EluLayer,
    GeluLayer as GeluLayer,
    HardSigmoidLayer as HardSigmoidLayer,
    HardSwishLayer as HardSwishLayer,
    HardTanhLayer as HardTanhLayer,
    LeakyReluLayer as LeakyReluLayer,
    LogSigmoidLayer as LogSigmoidLayer,
    MishLayer as MishLayer,
    ReluLayer as ReluLayer,
    SeluLayer as SeluLayer,
    SigmoidLayer as SigmoidLayer,
    SoftmaxLayer as SoftmaxLayer,
    SoftplusLayer as SoftplusLayer,
    SoftsignLayer as SoftsignLayer,
    SwishLayer as SwishLayer,
    TanhLayer as TanhLayer,
    ThresholdedReluLayer as ThresholdedReluLayer,
    UnaryLayer as UnaryLayer,
)
from .layers.analyze import analyze_network as analyze_network
from .layers.base import Layer as Layer
from .layers.convolution import (
    Convolution1dLayer as Convolution1dLayer,
    Convolution2dLayer as Convolution2dLayer,
    Convolution3dLayer as Convolution3dLayer,
    GroupedConvolution1dLayer as GroupedConvolution1dLayer,
    GroupedConvolution2dLayer as GroupedConvolution2dLayer,
    GroupedConvolution3dLayer as GroupedConvolution3dLayer,
)
from .layers.dense import (
    DropoutLayer as DropoutLayer,
    FlattenLayer as FlattenLayer,
    FullyConnectedLayer as FullyConnectedLayer,
)
from .layers.factors import (
    get_l2_factor as get_l2_factor,
    get_learn_rate_factor as get_learn_rate_factor,
    set_l2_factor as set_l2_factor,
    set_learn_rate_factor as set_learn_rate_factor,
)
from .layers.graph import LayerGraph as LayerGraph
from .layers.inputs import (
    FeatureInputLayer as FeatureInputLayer,
    Image3dInputLayer as Image3dInputLayer,
    ImageInputLayer as ImageInputLayer,
    SequenceInputLayer as SequenceInputLayer,
)
from .layers.local_response import CrossChannelNormalizationLayer as CrossChannelNormalizationLayer
from .layers.joining import (
    AdditionLayer as AdditionLayer,
    DepthConcatenationLayer as DepthConcatenationLayer,
    ElementwiseLayer as ElementwiseLayer,
    MultiplicationLayer as MultiplicationLayer,
)
from .layers.matrices import MatrixProductLayer as MatrixProductLayer
from .layers.movement import (
    CropLayer as CropLayer,
    DepthToSpaceLayer as DepthToSpaceLayer,
    SpaceToDepthLayer as SpaceToDepthLayer,
)
from .layers.network import Network as Network
from .layers.normalization import (
    BatchNormalizationLayer as BatchNormalizationLayer,
    GroupNormalizationLayer as GroupNormalizationLayer,
    InstanceNormalizationLayer as InstanceNormalizationLayer,
    LayerNormalizationLayer as LayerNormalizationLayer,
)
from .layers.outputs import (
    ClassificationLayer as ClassificationLayer,
    RegressionLayer as RegressionLayer,
)
from .layers.padding import PaddingLayer as PaddingLayer
from .layers.pooling import (
    AveragePooling1dLayer as AveragePooling1dLayer,
    AveragePooling2dLayer as AveragePooling2dLayer,
    AveragePooling3dLayer as AveragePooling3dLayer,
    GlobalAveragePooling1dLayer as GlobalAveragePooling1dLayer,
    GlobalAveragePooling2dLayer as GlobalAveragePooling2dLayer,
    GlobalAveragePooling3dLayer as GlobalAveragePooling3dLayer,
    GlobalMaxPooling1dLayer as GlobalMaxPooling1dLayer,
    GlobalMaxPooling2dLayer as GlobalMaxPooling2dLayer,
    GlobalMaxPooling3dLayer as GlobalMaxPooling3dLayer,
    MaxPooling1dLayer as MaxPooling1dLayer,
    MaxPooling2dLayer as MaxPooling2dLayer,
    MaxPooling3dLayer as MaxPooling3dLayer,
)
from .layers.resize import (
    Resize1dLayer as Resize1dLayer,
    Resize2dLayer as Resize2dLayer,
    Resize3dLayer as Resize3dLayer,
)
from .layers.tensors import (
    PermuteLayer as PermuteLayer,
    ReshapeLayer as ReshapeLayer,
    TensorInputLayer as TensorInputLayer,
)
from .layers.prelu import PreluLayer as PreluLayer
from .layers.transposed_convolution import (
    TransposedConvolution1dLayer as TransposedConvolution1dLayer,
    TransposedConvolution2dLayer as TransposedConvolution2dLayer,
    TransposedConvolution3dLayer as TransposedConvolution3dLayer,
)
from .runtime.device_array import DeviceArray as DeviceArray
from .train.history import (
    TrainingInfo as TrainingInfo,
    TrainingState as TrainingState,
)
from .train.network import train_network as train_network
from .train.options import (
    TrainingOptions as TrainingOptions,
    training_options as training_options,
)
from .train.trained import (
    TrainedNetwork as TrainedNetwork,
    load as load,
)

__version__: str
