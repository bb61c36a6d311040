"""`train_network`: data and layers in, a trained network and the course of its training out."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gncodegen import compiler
from gncodegen.errors import ArrayError, OptionsError
from gncodegen.layers.base import Layer
from gncodegen.layers.checks import required_path, shown
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.network import Network
from gncodegen.layers.normalization import BatchNormalizationLayer
from gncodegen.options import CompileOptions, takes_options
from gncodegen.parallel.environments import ENVIRONMENTS
from gncodegen.process.waiting import Waiting
from gncodegen.targets.registry import row_of
from gncodegen.train.batches import ArraySource, Augmentation, Samples, Source
from gncodegen.train.checkpoint import Checkpoints, checkpoints, read, refuse_others
from gncodegen.train.first_pass import described, with_input_statistics
from gncodegen.train.history import TrainingInfo
from gncodegen.train.inputs import with_classes
from gncodegen.train.loop import Training
from gncodegen.train.options import TrainingOptions
from gncodegen.train.pairs import checked
from gncodegen.train.population import fix_batch_statistics
from gncodegen.train.ranks import Ranks, check_together
from gncodegen.train.streams import Stream, StreamSource
from gncodegen.train.trained import TrainedNetwork


@takes_options("caller")
def train_network(
    x: Any,
    y: Any,
    layers: Sequence[Layer] | LayerGraph | Network,
    options: TrainingOptions,
    *,
    resume: str | Path | None = None,
    augment: Augmentation | None = None,
    **choices: Any,
) -> tuple[TrainedNetwork, TrainingInfo]:
    """Trains a network.

    Mini-batches of a stream, of a memory-mapped file and of an augmentation are made by a thread while a step runs; the
    bits do not depend on its timing.

    Args:
        x: observations (N, *input size) in the order of `data_format`, any real type; a memory-mapped file is read
            mini-batch by mini-batch. Sequences of different lengths are a list of arrays, and so are the targets of
            their steps (docs/sequences.md); an augmentation sees them as an array of objects. Where y is None, a
            stream: an iterable of mini-batches (x, y), such as a torch DataLoader, or a callable that makes one per
            epoch and may take the number of the epoch, from 1. Each batch of a stream makes a step; give all the same
            size, since each size is compiled.
        y: labels (N, *positions) of any sortable kind, class indices or one-hot rows (N, *positions, K) for
            classification; responses shaped like the output for regression; None for a stream.
        layers: an array of layers or a `LayerGraph`, with an output layer. Class names and input statistics that it
            lacks are found in the data; in those of a stream by a pass over its first epoch.
        options: from `training_options("sgdm", …)`.
        choices: as for `gncodegen.compile`.
        resume: a folder of checkpoints: the last one in it goes on as if the training had never been interrupted, with
            the same bits; where there is none the training starts anew. A stream's current epoch is read again up to
            the checkpoint: the bits are the same if its batches follow from the number of the epoch alone, which one
            with a random state of its own cannot promise.
        augment: f(x, y, generator) → (x, y), changes each mini-batch of the training: x as the data has it, y class
            indices or responses, the generator seeded by options.seed and the iteration. y may become rows of K.

    With execution_environment="parallel" or "multi-gpu" the processes that mpiexec started train one network:
    docs/parallel.md.

    Returns:
        The trained network and the course of the training. Ctrl-C and SIGTERM end a training after its iteration; the
        network so far is returned, and left as a checkpoint where options.checkpoint_path names a folder.

    Raises:
        NetworkError: the layers do not make a network.
        ArrayError: x or y do not fit it.
        OptionsError: the options are not training options, or not those of the checkpoint.
        Exception: what an output function, a stream or an augmentation raises, with the network so far as its attribute
            `network`.
    """
    with ranks_of(options) as ranks:
        net, training = prepare_training(x, y, layers, options, resume=resume, augment=augment, ranks=ranks, **choices)
        try:
            return net, training.run()
        except BaseException as error:
            error.network = net  # pyright: ignore[reportAttributeAccessIssue]
            raise


def _require_options(options: object) -> None:
    if not isinstance(options, TrainingOptions):
        raise OptionsError(f'options = {shown(options)}; allowed: TrainingOptions; write training_options("sgdm", …)')


def _target(options: TrainingOptions, choices: Mapping[str, Any], own: str) -> dict[str, str]:
    """The target that the execution environment is, where none is chosen; one of both is enough.

    Args:
        options: of the training.
        choices: fields of CompileOptions.
        own: the target of this rank where each has its own, or "".

    Raises:
        OptionsError: they are of different kinds.
    """
    environment = options.execution_environment
    wanted = own or ENVIRONMENTS[environment].target
    if not wanted:
        return {}
    target = choices.get("target", wanted)
    if row_of(target).family != row_of(wanted).family:
        raise OptionsError(
            f"execution_environment = {environment!r} with target = {target!r}; allowed: one of both, or both of one "
            'kind; leave execution_environment at "auto"'
        )
    return {"target": wanted if own and target == "cuda" else target}


@contextmanager
def ranks_of(options: TrainingOptions, environment: str = "") -> Generator[Ranks]:
    """The ranks of a training; an error that only this one knows ends all of them.

    Args:
        options: of the training.
        environment: a name in the table of environments, where execution_environment is none of several ranks.

    Raises:
        OptionsError: these are not training options.
        TargetError: what the environment needs is not installed.
    """
    _require_options(options)
    chosen = options.execution_environment
    row = ENVIRONMENTS[chosen if ENVIRONMENTS[chosen].several else environment or chosen]
    ranks = Ranks(row.open(options.rank_timeout))
    try:
        yield ranks
    except BaseException as error:
        if not ranks.told:
            ranks.collective.end(error)
        raise
    finally:
        ranks.averaging.close()


@takes_options("caller")
def prepare_training(
    x: Any,
    y: Any,
    layers: Sequence[Layer] | LayerGraph | Network,
    options: TrainingOptions,
    *,
    resume: str | Path | None = None,
    augment: Augmentation | None = None,
    ranks: Ranks | None = None,
    **choices: Any,
) -> tuple[TrainedNetwork, Training]:
    """`train_network` up to the first iteration: data checked, network compiled; `Training.run` does the rest.

    `ranks` come from `ranks_of(options)`; None = there is one.
    """
    _require_options(options)
    ranks = ranks or Ranks()
    if augment is not None and not callable(augment):  # pyright: ignore[reportUnnecessaryComparison]
        raise OptionsError(f"augment = {shown(augment)}; allowed: None or f(x, y, generator) → (x, y); give a function")
    data_format = choices.get("data_format", CompileOptions.data_format)
    data_format = "" if data_format is None else data_format
    target = _target(options, choices, ranks.averaging.target)
    network = Network.build(layers)
    if y is None:
        data = _Streamed.of(x, network, options, data_format, ranks)
    else:
        data = _Given.of(x, y, network, options, data_format, ranks)
    network = data.network
    validation = None
    if options.validation_data is not None:
        validation = _samples(*options.validation_data, network, data_format, "validation_data:")
    check_together(network, options, ranks)
    facts = _facts(network, data.observations, options)
    folder = None if resume is None else required_path(resume, "resume", 'write resume="checkpoints"')
    saved = checkpoints(folder)[-1:] if folder is not None else []
    known = [read(path, facts) for path in saved]
    own = options.checkpoint_path
    if ranks.first and own is not None and folder != own:
        refuse_others(own)
    if known:
        seed = known[0][1]
    else:
        drawn = int(np.random.default_rng().integers(2**31)) if options.seed is None else options.seed
        seed = ranks.agreed(drawn)
    given = {**choices, **target, "batch_size": data.batch_size, "training": True, "seed": seed}
    compiled = compiler.compiled(network, given, options, ranks.averaging)
    source = data.source(seed, augment, compiled.options.array_dtype)

    def finalize() -> None:
        if options.batch_normalization_statistics == "population":
            fix_batch_statistics(compiled, source, data_format, ranks.collective)

    net, loop = TrainedNetwork(compiled), Training(compiled, source, validation, options, finalize, ranks)
    loop.history.network = net
    for path, (progress, _) in zip(saved, known, strict=True):
        compiled.restore(path)
        loop.restore(progress)
    ranks.begin(compiled, seed, len(loop.history.records))
    if own is not None and ranks.first:
        loop.checkpoints = Checkpoints(options, net.save, facts | {"seed": seed})
    return net, loop


@dataclass(frozen=True)
class _Given:
    """Training data that are arrays.

    Args:
        network: with the class names and input statistics of the data.
        samples: inputs and targets.
        options: of the training.
        ranks: that share them.
    """

    network: Network
    samples: Samples
    options: TrainingOptions
    ranks: Ranks

    @staticmethod
    def of(x: Any, y: Any, network: Network, options: TrainingOptions, data_format: str, ranks: Ranks) -> _Given:
        samples = _samples(x, y, network, data_format, "x and y:")
        if samples.targets.classes is not None:
            network = with_classes(network, samples.targets.classes)
        reset = options.reset_input_normalization
        with Waiting("input statistics"):
            network = with_input_statistics(network, samples.x, data_format, reset, ranks.collective)
        ranks.require(min(options.observations_of_update, len(samples)), options.gradient_accumulation_steps)
        return _Given(network, samples, options, ranks)

    @property
    def observations(self) -> int | None:
        """How many there are."""
        return len(self.samples)

    @property
    def batch_size(self) -> int:
        """Observations of this rank's share of a mini-batch."""
        own = self.ranks.share(min(self.options.observations_of_update, len(self.samples)))
        return -(-(own.stop - own.start) // self.options.gradient_accumulation_steps)

    def source(self, seed: int, augment: Augmentation | None, dtype: str) -> Source:
        """Where the mini-batches come from."""
        return ArraySource(self.samples, self.options, seed, augment, dtype, self.ranks.collective)


@dataclass(frozen=True)
class _Streamed:
    """Training data that come as mini-batches.

    Args:
        network: with the class names and input statistics of the data.
        stream: pairs (x, y).
        length: batches of an epoch, if they were counted.
        options: of the training.
        data_format: axis order of x.
    """

    network: Network
    stream: Stream
    length: int
    options: TrainingOptions
    data_format: str

    @staticmethod
    def of(data: Any, network: Network, options: TrainingOptions, data_format: str, ranks: Ranks) -> _Streamed:
        stream = Stream(data, ranks.collective)
        if stream.one_shot and options.max_epochs > 1:
            raise ArrayError(
                f"the data is an iterator, which lasts for one epoch, and max_epochs = {options.max_epochs}; allowed: "
                "data that can be iterated again; give a callable that makes the batches, or write max_epochs=1"
            )
        normalized = any(isinstance(layer, BatchNormalizationLayer) for layer in network.layers)
        if normalized and options.batch_normalization_statistics == "population":
            stream.again('batch_normalization_statistics = "population"')
        network, length = described(stream, network, data_format)
        return _Streamed(network, stream, length, options, data_format)

    @property
    def observations(self) -> int | None:
        """Nobody knows."""
        return None

    @property
    def batch_size(self) -> int:
        """Observations of this rank's share of the first mini-batch."""
        x, _, axis = checked(*self.stream.first(), self.network, self.data_format, "a batch of")
        own = self.stream.share(x.shape[axis])
        return max(own.stop - own.start, 1)

    def source(self, seed: int, augment: Augmentation | None, dtype: str) -> Source:
        """Where the mini-batches come from."""
        return StreamSource(
            self.stream, self.network, self.options, self.data_format, seed, augment, dtype, self.length
        )


def _facts(network: Network, observations: int | None, options: TrainingOptions) -> dict[str, Any]:
    """What must be the same for a training to go on."""
    names = ("solver", "mini_batch_size", "gradient_accumulation_steps", "shuffle", "seed")
    return {
        "layers": [f"{type(node.layer).__name__} {node.name}" for node in network.nodes],
        "parameters": [f"{name} {list(parameter.shape)}" for name, parameter in network.parameters.items()],
        "observations": observations,
        **{name: getattr(options, name) for name in names},
    }


def _samples(x: Any, y: Any, network: Network, data_format: str, what: str) -> Samples:
    return Samples(*checked(x, y, network, data_format, what))
