"""Networks the IR and pass tests lower: between them every layer, joins, and what fusion must leave alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import gncodegen as gnc
from gncodegen.kernels.hyperparameters import PARTS
from gncodegen.kernels.program import SUMS
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.layers.activations import SigmoidLayer, TanhLayer
from gncodegen.layers.network import Network
from support.hyperparameters import numbers

Arrays = dict[tuple[str, str], np.ndarray]


def plain() -> Network:
    """conv-GN-relu-pool-fc-softmax-classification, as in the README."""
    return Network.build([
        gnc.ImageInputLayer((6, 6, 3)), gnc.Convolution2dLayer(3, 4, padding="same"), gnc.GroupNormalizationLayer(2),
        gnc.ReluLayer(), gnc.MaxPooling2dLayer(2, stride=2), gnc.FullyConnectedLayer(5), gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(class_weights=[1, 2, 3, 1, 0.5]),
    ])  # fmt: skip


def residual() -> Network:
    """A residual block with batch normalization, dropout and a second branch, ending in regression."""
    graph = gnc.LayerGraph([
        gnc.ImageInputLayer((5, 4, 2), normalization="zscore"),
        gnc.Convolution2dLayer(3, 4, padding="same", name="stem"),
        gnc.BatchNormalizationLayer(), gnc.LeakyReluLayer(0.1),
        gnc.Convolution2dLayer((3, 1), 4, padding="same", name="branch"), gnc.GroupNormalizationLayer("channel-wise"),
        gnc.AdditionLayer(2, name="add"), gnc.ReluLayer(name="after"), gnc.DropoutLayer(0.25),
        gnc.DepthConcatenationLayer(2, name="cat"),
        gnc.AveragePooling2dLayer(2, padding="same", padding_value="mean"),
        gnc.Convolution2dLayer(2, 3, padding=1, padding_value="replicate"),
        gnc.GlobalAveragePooling2dLayer(), gnc.FullyConnectedLayer(2), gnc.RegressionLayer(),
    ])  # fmt: skip
    graph.connect("leakyrelu_1", "add/in2")
    graph.connect("leakyrelu_1", "cat/in2")
    return Network.build(graph)


def features() -> Network:
    """Fully connected layers on features; the first is frozen."""
    return Network.build([
        gnc.FeatureInputLayer(6, normalization="rescale-symmetric"),
        gnc.FullyConnectedLayer(8, weight_learn_rate_factor=0, bias_learn_rate_factor=0), gnc.ReluLayer(),
        gnc.LayerNormalizationLayer(), gnc.FullyConnectedLayer(8, weight_learn_rate_factor=2), TanhLayer(),
        gnc.GroupNormalizationLayer("all-channels"), SigmoidLayer(),
        gnc.FullyConnectedLayer(3), gnc.RegressionLayer(),
    ])  # fmt: skip


def larger() -> Network:
    """Transposed convolutions, one with a constant and relu behind it, one whose window is shorter than its stride."""
    return Network.build([
        gnc.ImageInputLayer((3, 2, 2), normalization="none"),
        gnc.TransposedConvolution2dLayer((3, 2), 4, stride=2, cropping=(0, 1, 1, 0)),
        gnc.ElementwiseLayer("subtract", 1, constant=np.array([[[0.5, 2, -1, 3]]])), gnc.ReluLayer(),
        gnc.TransposedConvolution2dLayer(1, 3, stride=2, cropping="same"), gnc.GroupNormalizationLayer(3),
        gnc.FullyConnectedLayer(2), gnc.BatchNormalizationLayer(), gnc.RegressionLayer(),
    ])  # fmt: skip


def gated() -> Network:
    """Squeeze and excite: a product with one number per channel; learned slopes, a constant, two inputs."""
    graph = gnc.LayerGraph([
        gnc.ImageInputLayer((3, 4, 2), normalization="none"),
        gnc.Convolution2dLayer(1, 4, name="stem"), gnc.PreluLayer(0.3),
        gnc.ElementwiseLayer("multiply", name="gate"), gnc.PreluLayer(0.1, slopes="shared", name="one"),
        gnc.ElementwiseLayer("divide", 1, constant=np.array([0.5, 2, -1, 3]), name="scaled"),
        gnc.MultiplicationLayer(3, name="product"), gnc.ElementwiseLayer("maximum", name="larger"),
        gnc.FullyConnectedLayer(2), gnc.RegressionLayer(),
    ])  # fmt: skip
    graph.add([gnc.GlobalAveragePooling2dLayer(name="squeeze"), gnc.SigmoidLayer(name="excite")])
    graph.connect("stem", "squeeze").connect("excite", "gate/in2")
    graph.connect("stem", "product/in2").connect("one", "product/in3").connect("stem", "larger/in2")
    return Network.build(graph)


NETWORKS: dict[str, Callable[[], Network]] = {
    "plain": plain, "residual": residual, "features": features, "larger": larger, "gated": gated,
}  # fmt: skip


def arguments(network: Network, batch: int, seed: int = 0, solver: str = "sgdm") -> Arrays:
    """Random float64 arrays for every argument of every function; the solver's state is not zero."""
    draw = np.random.default_rng(seed)
    size = network.output.size.shape
    classes = type(network.output_layer).__name__ == "ClassificationLayer"
    target = np.eye(size[-1])[draw.integers(0, size[-1], batch)] if classes else draw.normal(size=(batch, *size))
    arrays: Arrays = {
        ("input", "x"): draw.normal(size=(batch, *network.input.size.shape)),
        ("target", "t"): target,
        ("hyperparameters", "hyperparameters"): numbers(
            solver, learn_rate=0.1, l2_regularization=0.01, gradient_threshold=0.5, iteration=3, seed=7, steps=0
        ),
    }
    block = arrays["hyperparameters", "hyperparameters"]
    block[PARTS["share"]], block[PARTS["summed"]] = 0.25, 0.5
    for name, parameter in network.parameters.items():
        value = draw.normal(size=parameter.shape)
        positive = name.endswith(("variance", "deviation", "max"))
        kind = "parameter" if parameter.learnable else "state"
        arrays[kind, name] = np.abs(value) + 2 if positive else value
        if parameter.learnable:
            for array in (*SOLVERS[solver].state, SUMS):
                state = draw.normal(size=parameter.shape)
                arrays[array, name] = np.abs(state) if "square" in array else state
    arrays["cotangent", "y"] = draw.normal(size=(batch, *size))
    return arrays
