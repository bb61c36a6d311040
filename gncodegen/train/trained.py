"""The network that a training returns, saved and loaded too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen import compiler, loading, saving
from gncodegen.compiled import Compiled
from gncodegen.errors import NetworkError
from gncodegen.layers.base import Layer
from gncodegen.layers.formats import axis_order
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.network import Network
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.options import takes_options


class TrainedNetwork:
    """A network with learned values.

    Args:
        compiled: what runs it; its parameters are the learned values.
    """

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled

    @property
    def network(self) -> Network:
        """The checked network; its layers carry the learned values."""
        parameters = self.compiled.parameters
        return self.compiled.network.with_values({**parameters, **parameters.statistics})

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order they were written, with the learned values as their properties."""
        return self.network.layers

    @property
    def graph(self) -> LayerGraph:
        """The layers with their connections, the learned values as their properties: to change, or to train again."""
        return self.compiled.graph

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """The labels in the order of the outputs; None for regression."""
        layer = self.compiled.network.output_layer
        return tuple(layer.classes) if isinstance(layer, ClassificationLayer) else None

    def predict(self, x: Any, data_format: str = "", *, out: Any = None) -> NDArray[Any]:
        """The outputs for any number of observations: scores (N, K) of a classification, over positions (N, *, K).

        Args:
            x: observations, sized as the training inputs.
            data_format: axis order of x; "" = that of training.
            out: the array that the outputs are written to.

        Raises:
            ArrayError: x does not fit the input layer, or out the outputs.
        """
        return self.compiled.predict(x, data_format=data_format, out=out)

    def classify(self, x: Any, data_format: str = "", *, out: Any = None) -> tuple[Any, Any]:
        """The label of the highest score of each observation, or of each of its positions, and all scores.

        Args:
            x: as for `predict`.
            data_format: likewise.
            out: the array that the scores are written to, as for `predict`.

        Returns:
            Labels (N,) or (N, *positions), as in the training data, and scores (N, K), or over positions as `predict`
            gives them. The axes of both are in the order of x. Lists of those of each sequence, if x is a list and
            labels are of steps.

        Raises:
            NetworkError: the network has no classification output.
        """
        if self.classes is None:
            issue = (
                "classify: the network has no classes; allowed: networks with a ClassificationLayer; use net.predict(x)"
            )
            raise NetworkError([issue])
        scores: Any = self.predict(x, data_format, out=out)
        size = self.compiled.network.output.size
        order = data_format or self.compiled.options.data_format or ""
        if isinstance(scores, list):  # of sequences, each with its own steps
            highest = [np.argmax(each, axis=axis_order(order, size.format).index("C")) for each in scores]
            return [np.asarray(self.classes)[each] for each in highest], scores
        if size.count > size.channels:
            highest = np.argmax(scores, axis=axis_order(order, "B" + size.format).index("C"))
        else:
            scores = (scores.T if axis_order(order, "BC") == "CB" else scores).reshape(-1, len(self.classes))
            highest = np.argmax(scores, axis=1)
        return np.asarray(self.classes)[highest], scores

    def activations(self, x: Any, layer: str, data_format: str = "", *, out: Any = None) -> NDArray[Any]:
        """The output of a layer in prediction mode.

        Args:
            x: as for `predict`.
            layer: the layer's name.
            data_format: as for `predict`.
            out: the array that it is written to.

        Raises:
            NetworkError: there is no such layer.
        """
        return self.compiled.activations(x, layer, data_format, out=out)

    def save(self, directory: str | Path) -> None:
        """Writes the network, its values and its classes; `gncodegen.load` reads them back."""
        saving.write(replace(self.compiled.state, trained=True), directory)

    def export(self, path: str | Path, **choices: Any) -> None:
        """Writes the network as a file that others read: `Compiled.export`."""
        self.compiled.export(path, **choices)

    def __repr__(self) -> str:
        return f"TrainedNetwork({len(self.compiled.network.nodes)} layers, target {self.compiled.target!r})"


@takes_options("caller", "compile")
def load(directory: str | Path, **choices: Any) -> Compiled | TrainedNetwork:
    """What `save` wrote: a `TrainedNetwork` if one was saved, else a `Compiled`; compiled with the options of then.

    Args:
        directory: the folder.
        choices: what is to be other than when it was saved, of the options of compilation.
    """
    state = loading.read(directory, choices)
    compiled = compiler.of_state(state)
    return TrainedNetwork(compiled) if state.trained else compiled
