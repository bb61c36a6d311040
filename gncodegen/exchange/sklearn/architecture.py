"""The network of an estimator: what its user gave, with the ends that follow from the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import OptionsError
from gncodegen.layers.activations import ReluLayer, SoftmaxLayer
from gncodegen.layers.base import Layer, Size
from gncodegen.layers.checks import shown
from gncodegen.layers.dense import FullyConnectedLayer
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.inputs import input_layer
from gncodegen.layers.network import Network
from gncodegen.layers.normalization import GroupNormalizationLayer
from gncodegen.layers.outputs import ClassificationLayer, RegressionLayer

WIDTH, GROUPS = 64, 8
"""Of the two hidden layers of the network that is taken where none is given."""


def architecture(layers: Any, size: tuple[int, ...], ends: list[Layer]) -> Network:
    """The checked network of an estimator.

    Args:
        layers: as `NetworkEstimator` takes them.
        size: of one observation.
        ends: what an array without an output layer is continued with: FullyConnectedLayer, SoftmaxLayer for classes,
            output layer.

    Raises:
        OptionsError: that is no network.
        NetworkError: it is faulty.
    """
    given = layers(size, _outputs(ends)) if callable(layers) else layers
    if isinstance(given, (LayerGraph, Network)):
        return Network.build(given)
    if given is None:
        given = _hidden() * 2
    if not isinstance(given, (list, tuple)):
        raise OptionsError(
            f"layers = {shown(layers)}; allowed: None, an array of layers, a LayerGraph, or f(input size, outputs) "
            "that returns one of these; write layers=[gnc.FullyConnectedLayer(64), gnc.ReluLayer()]"
        )
    array: list[Any] = [*given]
    if not (array and getattr(array[0], "is_input", False)):
        array.insert(0, _input(size))
    if isinstance(array[-1], SoftmaxLayer):
        array += ends[-1:]
    elif not getattr(array[-1], "is_output", False):
        array += ends
    return Network.build(array)


def classification_ends(classes: tuple[Any, ...]) -> list[Layer]:
    """From features to the loss of these classes."""
    return [FullyConnectedLayer(len(classes)), SoftmaxLayer(), ClassificationLayer(classes=classes)]


def regression_ends(y: NDArray[np.float64]) -> list[Layer]:
    """From features to the loss of responses (N, outputs).

    The outputs start at the mean of the responses, and are learned at a rate that their deviation sets.
    """
    rate = max(float(np.sqrt(y.var(axis=0).mean())), 1e-6)
    last = FullyConnectedLayer(
        y.shape[1], bias=y.mean(axis=0), weight_learn_rate_factor=rate, bias_learn_rate_factor=rate
    )
    return [last, RegressionLayer()]


def _outputs(ends: list[Layer]) -> int:
    last = ends[0]
    assert isinstance(last, FullyConnectedLayer)
    return last.outputs


def _hidden() -> list[Layer]:
    return [FullyConnectedLayer(WIDTH), GroupNormalizationLayer(GROUPS), ReluLayer()]


def _input(size: tuple[int, ...]) -> Layer:
    """The input layer for observations of a size, channels last; every feature or channel is scaled by its deviation.

    Raises:
        OptionsError: there is none.
    """
    axes = {1: "C", 2: "TC", 3: "SSC", 4: "SSSC"}.get(len(size), "")
    layer = input_layer(Size(axes, size), "zscore")
    if layer is None:
        raise OptionsError(
            f"observations of size {size} and layers without an input layer; allowed: 1 to 4 axes, channels last; "
            "begin the array with an input layer"
        )
    return layer
