"""Small networks that together reach every op of the compiler: what a new target is checked with, here and on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gncodegen as gnc

Layers = Any


@dataclass(frozen=True)
class Specimen:
    """One network and how it is compiled.

    Args:
        name: what it shows.
        layers: makes the layers.
        batch: observations.
        options: of training.
        dtype: of activations and parameters.
        data_format: axis order of the arrays.
        training: False = compiled for prediction, so that gradients are those of prediction too.
    """

    name: str
    layers: Callable[[], Layers]
    batch: int = 4
    options: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    data_format: str = "BSSC"
    training: bool = True

    @property
    def functions(self) -> tuple[str, ...]:
        """What of it can be run."""
        return ("predict", "gradients", *(["train_step"] if self.training else []))

    def compile(self, **settings: Any) -> gnc.Compiled:
        """The compiled network; `settings` go to gncodegen.compile."""
        options = gnc.training_options("sgdm", **{"initial_learn_rate": 0.01, "seed": 1, **self.options})
        return gnc.compile(
            self.layers(), batch_size=self.batch, options=options, dtype=self.dtype, data_format=self.data_format,
            seed=1, training=self.training, **settings,
        )  # fmt: skip

    def train(self, target: str) -> gnc.TrainingInfo:
        """Two epochs of `data`, a mini-batch each."""
        x, t = self.data(self.compile(target=target))
        options = gnc.training_options(
            "sgdm", mini_batch_size=self.batch, max_epochs=2, shuffle="never", verbose=False,
            **{"initial_learn_rate": 0.01, "seed": 1, **self.options},
        )  # fmt: skip
        return gnc.train_network(x, t, self.layers(), options, target=target)[1]

    def data(self, compiled: gnc.Compiled, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Random observations and targets in the specimen's axis order."""
        generator = np.random.default_rng(seed)
        size = compiled.network.input.size.shape
        x = generator.normal(size=(self.batch, *size)).astype(self.dtype)
        if self.data_format == "BCSS":
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        outputs = compiled.network.output.size.shape
        if isinstance(compiled.network.output_layer, gnc.RegressionLayer):
            return x, generator.normal(size=(self.batch, *outputs)).astype(self.dtype)
        return x, generator.integers(outputs[-1], size=self.batch)


def _classifier(*middle: Layers, size: tuple[int, int, int] = (8, 8, 6), classes: int = 5, **of_input: Any) -> Layers:
    given = {"normalization": "none", **of_input}
    return [
        gnc.ImageInputLayer(size, **given),
        *middle,
        gnc.FullyConnectedLayer(classes),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]


def demo(size: tuple[int, int, int] = (28, 28, 1), filters: tuple[int, ...] = (8, 16, 32)) -> Layers:
    """The README's network: conv-GN-relu blocks with max pooling between."""
    blocks: list[Any] = []
    for index, count in enumerate(filters):
        blocks += [
            gnc.Convolution2dLayer(3, count, padding="same"), gnc.GroupNormalizationLayer(4), gnc.ReluLayer()
        ]  # fmt: skip
        if index < len(filters) - 1:
            blocks.append(gnc.MaxPooling2dLayer(2, stride=2))
    return _classifier(*blocks, size=size, classes=10, normalization="zerocenter", mean=np.full(size[-1], 0.3))


def _activations() -> Layers:
    every = (
        gnc.LeakyReluLayer(0.1), gnc.ClippedReluLayer(2.0), gnc.EluLayer(), gnc.TanhLayer(), gnc.SigmoidLayer(),
        gnc.SwishLayer(), gnc.GeluLayer(), gnc.GeluLayer(approximation="tanh"), gnc.SoftplusLayer(), gnc.ReluLayer(),
    )  # fmt: skip
    return _classifier(*every, size=(5, 7, 3))


def _more_activations() -> Layers:
    every = (
        gnc.HardSwishLayer(), gnc.MishLayer(), gnc.SeluLayer(), gnc.HardSigmoidLayer(), gnc.LogSigmoidLayer(),
        gnc.CeluLayer(0.7), gnc.SoftsignLayer(), gnc.HardTanhLayer(-0.8, 0.9), gnc.PreluLayer(),
        gnc.PreluLayer(0.1, slopes="shared"),
    )  # fmt: skip
    return _classifier(*every, size=(5, 7, 3))


def _moved() -> Layers:
    return _classifier(
        gnc.CropLayer((1, 0, 0, 2)), gnc.SpaceToDepthLayer(2), gnc.Convolution2dLayer(1, 8),
        gnc.DepthToSpaceLayer(2, order="column-first"), gnc.Resize2dLayer((5, 9), method="linear"), size=(5, 8, 3),
    )  # fmt: skip


def _gated() -> Layers:
    graph = gnc.LayerGraph([
        gnc.ImageInputLayer((4, 6, 8), normalization="none", name="start"),
        gnc.Convolution2dLayer(1, 8, name="stem"), gnc.ElementwiseLayer("multiply", name="gate"),
        gnc.ElementwiseLayer("subtract", 1, constant=np.linspace(-1, 1, 8), name="shifted"),
        gnc.MultiplicationLayer(2, name="product"), gnc.ElementwiseLayer("minimum", name="less"),
        gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
    ])  # fmt: skip
    graph.add([gnc.GlobalAveragePooling2dLayer(name="squeeze"), gnc.SigmoidLayer(name="excite")])
    graph.connect("stem", "squeeze").connect("excite", "gate/in2")
    return graph.connect("stem", "product/in2").connect("start", "less/in2")


def _residual() -> Layers:
    graph = gnc.LayerGraph([
        gnc.ImageInputLayer((8, 8, 8), normalization="none"),
        gnc.Convolution2dLayer(3, 8, padding="same", name="first"),
        gnc.GroupNormalizationLayer(4), gnc.ReluLayer(name="trunk"),
        gnc.Convolution2dLayer(3, 8, padding="same"), gnc.GroupNormalizationLayer(2),
        gnc.AdditionLayer(2, name="add"), gnc.ReluLayer(),
        gnc.Convolution2dLayer(1, 4, name="narrow"), gnc.DepthConcatenationLayer(2, name="join"),
        gnc.GlobalAveragePooling2dLayer(), gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
    ])  # fmt: skip
    return graph.connect("trunk", "add/in2").connect("first", "join/in2")


def _pooling() -> Layers:
    return _classifier(
        gnc.MaxPooling2dLayer(3, stride=2, padding=1), gnc.AveragePooling2dLayer(2, padding="same"),
        gnc.AveragePooling2dLayer(3, stride=2, padding=1, padding_value="mean"), gnc.MaxPooling2dLayer(2),
        size=(13, 11, 8),
    )  # fmt: skip


def _windows() -> Layers:
    return _classifier(
        gnc.Convolution2dLayer(3, 8, stride=2, padding=1), gnc.Convolution2dLayer(3, 12, dilation_factor=2, padding=2),
        gnc.Convolution2dLayer((1, 2), 5, padding=(1, 0, 0, 1), padding_value=0.5),
        gnc.Convolution2dLayer(3, 7, padding="same", padding_value="replicate"), size=(12, 11, 3),
    )  # fmt: skip


def _larger() -> Layers:
    return _classifier(
        gnc.TransposedConvolution2dLayer(2, 8, stride=2), gnc.GroupNormalizationLayer(2), gnc.ReluLayer(),
        gnc.TransposedConvolution2dLayer((3, 1), 5, stride=(1, 2), cropping="same"), gnc.ReluLayer(), size=(3, 4, 6),
    )  # fmt: skip


def _normalizations() -> Layers:
    return _classifier(
        gnc.BatchNormalizationLayer(), gnc.ReluLayer(), gnc.LayerNormalizationLayer(),
        gnc.LayerNormalizationLayer(operation_dimension="channel-only"), gnc.InstanceNormalizationLayer(),
        gnc.GroupNormalizationLayer(2), gnc.LeakyReluLayer(), size=(6, 5, 6),
    )  # fmt: skip


def _regression() -> Layers:
    return [
        gnc.FeatureInputLayer(7, normalization="zscore", mean=np.full(7, 0.5), standard_deviation=np.full(7, 2.0)),
        gnc.FullyConnectedLayer(9), gnc.GroupNormalizationLayer(3), gnc.TanhLayer(),
        gnc.FullyConnectedLayer(2), gnc.RegressionLayer(),
    ]  # fmt: skip


def product(*before: Layers) -> Layers:
    """One fully connected layer, the smallest network with a training step."""
    return [gnc.FeatureInputLayer(7), *before, gnc.FullyConnectedLayer(2), gnc.RegressionLayer()]


def _dropout() -> Layers:
    return product(gnc.DropoutLayer(0.3))


def _rescaled(method: str) -> Layers:
    low, high = np.full(6, -3.0), np.full(6, 4.0)
    return _classifier(gnc.GroupNormalizationLayer(2), normalization=method, min=low, max=high)


def _softmax_inside() -> Layers:
    return [
        gnc.ImageInputLayer((3, 5, 6), normalization="none"), gnc.GroupNormalizationLayer(2),
        gnc.SoftmaxLayer(name="inner"), gnc.FullyConnectedLayer(5, weight_learn_rate_factor=0), gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]  # fmt: skip


def _weighted() -> Layers:
    return [
        *_classifier(gnc.GlobalMaxPooling2dLayer())[:-1],
        gnc.ClassificationLayer(class_weights=[1.0, 2.0, 0.5, 1.5, 1.0]),
    ]


def _attention() -> Layers:
    graph = gnc.LayerGraph([
        gnc.ImageInputLayer((2, 7, 6), normalization="none", name="start"),
        gnc.Convolution2dLayer(1, 8, name="queries"), gnc.MatrixProductLayer(transpose_second=True, name="scores"),
        gnc.SoftmaxLayer(name="shares"), gnc.MatrixProductLayer(name="mixed"),
        gnc.MatrixProductLayer(constant=np.linspace(-1, 1, 24).reshape(8, 3), constant_learn_rate_factor=1),
        gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
    ])  # fmt: skip
    graph.add([gnc.Convolution2dLayer(1, 8, name="keys")]).add([gnc.Convolution2dLayer(1, 8, name="values")])
    graph.connect("start", "keys").connect("keys", "scores/in2")
    return graph.connect("start", "values").connect("values", "mixed/in2")


def _folded() -> Layers:
    return [
        gnc.ImageInputLayer((7, 6, 3)),
        gnc.Convolution2dLayer(3, 8, padding="same"),
        gnc.BatchNormalizationLayer(),
        gnc.ReluLayer(),
        gnc.FullyConnectedLayer(2),
        gnc.RegressionLayer(),
    ]


def _sequences() -> Layers:
    return [
        gnc.SequenceInputLayer(6, min_length=9, padding="mask"),
        gnc.Convolution1dLayer(3, 8, padding="same"), gnc.GroupNormalizationLayer(2), gnc.ReluLayer(),
        gnc.BatchNormalizationLayer(), gnc.MaxPooling1dLayer(2, stride=2), gnc.GlobalAveragePooling1dLayer(),
        gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
    ]  # fmt: skip


def _half() -> Layers:
    return _classifier(gnc.Convolution2dLayer(3, 8, padding="same"), gnc.GroupNormalizationLayer(2), gnc.ReluLayer())


ALWAYS_FUSED = frozenset({"bias", "cross_entropy", "cross_entropy_gradient"})
"""Ops that the fuse pass leaves in no network."""

IN_PARTS = frozenset({"accumulate"})
"""Ops of a step whose mini-batch is run in parts."""

OVER_RANKS = frozenset({"group_statistics", "masked_channel_normalize", "statistics_gradient"})
"""Ops that networks of a GPU have only in a step over ranks."""

ZOO: tuple[Specimen, ...] = (
    Specimen("demo", demo, batch=8),
    Specimen("demo float64", lambda: demo((12, 12, 1)), dtype="float64"),
    Specimen("activations", _activations),
    Specimen("more activations", _more_activations),
    Specimen("crops and blocks", _moved),
    Specimen("products and functions of inputs", _gated),
    Specimen("residual and concatenation", _residual),
    Specimen("pooling", _pooling),
    Specimen("windows", _windows, options={"gradient_threshold": 0.5}),
    Specimen("transposed convolutions", _larger),
    Specimen("normalizations", _normalizations, options={"gradient_threshold": 0.5, "l2_regularization": 0.01}),
    Specimen("normalizations in prediction", _normalizations, training=False),
    Specimen("norm folded in prediction", _folded, training=False),
    Specimen("regression", _regression,
             options={"gradient_threshold": 0.01, "gradient_threshold_method": "absolute-value"}),
    Specimen("dropout", _dropout, batch=64),
    Specimen("global clip", lambda: _rescaled("rescale-symmetric"),
             options={"gradient_threshold": 0.1, "gradient_threshold_method": "global-l2norm"}),
    Specimen("rescaled", lambda: _rescaled("rescale-zero-one")),
    Specimen("class weights", _weighted),
    Specimen("sequences of any length", _sequences, data_format="BTC"),
    Specimen("half precision", _half, dtype="float16"),
    Specimen("softmax inside, frozen weights", _softmax_inside),
    Specimen("attention", _attention),
    Specimen("channels first", lambda: demo((10, 10, 3), (8,)), data_format="BCSS"),
)  # fmt: skip
