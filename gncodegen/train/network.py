"""`train_network` and the network it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen import compiler, loading, saving
from gncodegen.compiled import Compiled
from gncodegen.errors import ArrayError, NetworkError, OptionsError
from gncodegen.layers.base import Layer
from gncodegen.layers.formats import axis_order
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.network import Network
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.options import CompileOptions, takes_options
from gncodegen.train.batches import Samples
from gncodegen.train.checkpoint import Checkpoints, checkpoints, read, refuse_others
from gncodegen.train.history import TrainingInfo
from gncodegen.train.inputs import checked_inputs, with_input_statistics, with_layer
from gncodegen.train.loop import Training
from gncodegen.train.options import TrainingOptions
from gncodegen.train.population import fix_batch_statistics
from gncodegen.train.targets import ClassTargets, Targets, class_targets, response_targets


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
        return self.compiled.network.with_values(dict(self.compiled.parameters))

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

    def predict(self, x: Any, data_format: str = "") -> NDArray[Any]:
        """The outputs for any number of observations: scores (N, K) of a classification.

        Args:
            x: observations, sized as the training inputs.
            data_format: axis order of x; "" = that of training.

        Raises:
            ArrayError: x does not fit the input layer.
        """
        return self.compiled.predict(x, data_format=data_format)

    def classify(self, x: Any, data_format: str = "") -> tuple[NDArray[Any], NDArray[Any]]:
        """The label of the highest score of each observation, and all scores.

        Args:
            x: as for `predict`.
            data_format: likewise.

        Returns:
            Labels (N,), as in the training data, and scores (N, K).

        Raises:
            NetworkError: the network has no classification output.
        """
        if self.classes is None:
            issue = (
                "classify: the network has no classes; allowed: networks with a ClassificationLayer; use net.predict(x)"
            )
            raise NetworkError([issue])
        scores = self.predict(x, data_format)
        if axis_order(data_format or self.compiled.options.data_format or "", "BC") == "CB":
            scores = scores.T
        scores = scores.reshape(-1, len(self.classes))
        return np.asarray(self.classes)[np.argmax(scores, axis=1)], scores

    def activations(self, x: Any, layer: str, data_format: str = "") -> NDArray[Any]:
        """The output of a layer in prediction mode.

        Args:
            x: as for `predict`.
            layer: the layer's name.
            data_format: as for `predict`.

        Raises:
            NetworkError: there is no such layer.
        """
        return self.compiled.activations(x, layer, data_format)

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


@takes_options("caller")
def train_network(
    x: Any,
    y: Any,
    layers: Sequence[Layer] | LayerGraph | Network,
    options: TrainingOptions,
    *,
    resume: str | Path | None = None,
    **choices: Any,
) -> tuple[TrainedNetwork, TrainingInfo]:
    """Trains a network.

    Args:
        x: observations (N, *input size) in the order of `data_format`, any real type.
        y: labels (N,) of any sortable kind, class indices or one-hot rows (N, K) for classification;
            responses shaped like the output for regression.
        layers: an array of layers or a `LayerGraph`, with an output layer.
        options: from `training_options("sgdm", …)`.
        choices: as for `gncodegen.compile`.
        resume: a folder of checkpoints: the last one in it goes on as if the training had never been interrupted, with
            the same bits; where there is none the training starts anew.

    Returns:
        The trained network and the course of the training. Ctrl-C and SIGTERM end a training after its iteration; the
        network so far is returned, and left as a checkpoint where options.checkpoint_path names a folder.

    Raises:
        NetworkError: the layers do not make a network.
        ArrayError: x or y do not fit it.
        OptionsError: the options are not training options, or not those of the checkpoint.
        Exception: what an output function raises, with the network so far as its attribute `network`.
    """
    net, training = prepare_training(x, y, layers, options, resume=resume, **choices)
    try:
        return net, training.run()
    except BaseException as error:
        error.network = net  # pyright: ignore[reportAttributeAccessIssue]
        raise


@takes_options("caller")
def prepare_training(
    x: Any,
    y: Any,
    layers: Sequence[Layer] | LayerGraph | Network,
    options: TrainingOptions,
    *,
    resume: str | Path | None = None,
    **choices: Any,
) -> tuple[TrainedNetwork, Training]:
    """`train_network` up to the first iteration: data checked, network compiled; `Training.run` does the rest."""
    if not isinstance(options, TrainingOptions):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise OptionsError(f'options = {options!r}; allowed: TrainingOptions; write training_options("sgdm", …)')
    network = Network.build(layers)
    data_format = choices.get("data_format", CompileOptions.data_format) or ""
    training = _samples(x, y, network, data_format, "x and y")
    if isinstance(training.targets, ClassTargets):
        network = _with_classes(network, training.targets.classes)
    validation = None
    if options.validation_data is not None:
        validation = _samples(*options.validation_data, network, data_format, "validation_data")
    network = with_input_statistics(network, training.x, data_format, options.reset_input_normalization)
    facts = _facts(network, training, options)
    saved = checkpoints(Path(resume))[-1:] if resume is not None else []
    known = [read(path, facts) for path in saved]
    if options.checkpoint_path is not None and (resume is None or Path(resume) != options.checkpoint_path):
        refuse_others(options.checkpoint_path)
    if known:
        seed = known[0][1]
    else:
        seed = int(np.random.default_rng().integers(2**31)) if options.seed is None else options.seed
    compiled = compiler.compile(
        network,
        batch_size=min(options.mini_batch_size, len(training)),
        training=True,
        options=options,
        seed=seed,
        **choices,
    )

    def finalize() -> None:
        if options.batch_normalization_statistics == "population":
            fix_batch_statistics(compiled, training, data_format, options.mini_batch_size)

    # The compiler draws initial values from the seed itself; the shuffles get a stream of their own.
    generator = np.random.default_rng([seed, 1])
    net, loop = TrainedNetwork(compiled), Training(compiled, training, validation, options, generator, finalize)
    loop.history.network = net
    for path, (progress, _) in zip(saved, known, strict=True):
        compiled.restore(path)
        loop.restore(progress)
    if options.checkpoint_path is not None:
        epoch = loop.history.iterations // options.max_epochs
        loop.checkpoints = Checkpoints(options, epoch, net.save, facts | {"seed": seed})
    return net, loop


def _facts(network: Network, training: Samples, options: TrainingOptions) -> dict[str, Any]:
    """What must be the same for a training to go on."""
    names = ("solver", "mini_batch_size", "shuffle", "seed")
    return {
        "layers": [f"{type(node.layer).__name__} {node.name}" for node in network.nodes],
        "parameters": [f"{name} {list(parameter.shape)}" for name, parameter in network.parameters.items()],
        "observations": len(training),
        **{name: getattr(options, name) for name in names},
    }


def _samples(x: Any, y: Any, network: Network, data_format: str, what: str) -> Samples:
    array, axis = checked_inputs(x, network.input, data_format)
    samples = Samples(array, _targets(y, network), axis)
    count = len(samples.targets.whole())
    if count != len(samples):
        raise ArrayError(
            f"{what}: {len(samples)} observations but {count} targets; allowed: one target per observation; "
            "give x and y of the same length"
        )
    return samples


def _targets(y: Any, network: Network) -> Targets:
    node = next(node for node in network.nodes if node.layer.is_output)
    if isinstance(node.layer, ClassificationLayer):
        classes = None if node.layer.classes == "auto" else node.layer.classes
        return class_targets(y, classes, node.size.channels, node.label)
    return response_targets(y, node.size.shape, node.label)


def _with_classes(network: Network, classes: tuple[Any, ...]) -> Network:
    """The network whose output layer names the classes of the training data."""
    layer = network.output_layer
    assert isinstance(layer, ClassificationLayer)
    return with_layer(network, layer.name, replace(layer, classes=classes))
