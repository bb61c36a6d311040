"""The order in which samples are seen, and mini-batches gathered from arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.parallel.collective import ALONE, Collective, share
from gncodegen.train.history import Record
from gncodegen.train.options import TrainingOptions
from gncodegen.train.targets import Targets

Augmentation = Callable[[NDArray[Any], NDArray[Any], np.random.Generator], tuple[Any, Any]]
"""(x, y, generator) → x, y of a mini-batch: x as the data has it, y class indices or responses."""


class Batch(NamedTuple):
    """One mini-batch, or as many as make an update, on its way into a step.

    Args:
        epoch, iteration: counted from 1.
        x, t: inputs, and targets as the step takes them: rows of classes, or responses.
        ends_epoch: whether it is the last of its epoch.
        last: whether it is the last of the training, if nothing stops it.
    """

    epoch: int
    iteration: int
    x: NDArray[Any]
    t: NDArray[Any]
    ends_epoch: bool
    last: bool


class Source(Protocol):
    """Where the mini-batches of a training come from."""

    @property
    def classification(self) -> bool:
        """Whether targets are classes."""
        ...

    @property
    def iterations(self) -> int:
        """How many there will be if nothing stops the training; 0 = nobody knows."""
        ...

    @property
    def slow(self) -> bool:
        """Whether a thread is to make them while steps run."""
        ...

    def batches(self, records: Sequence[Record]) -> Iterator[Batch]:
        """The mini-batches that come after the iterations of these records."""
        ...

    def inputs(self) -> Iterator[NDArray[Any]]:
        """All inputs of this rank's share, some at a time, as they are without augmentation."""
        ...


class Step(NamedTuple):
    """One iteration: epoch and iteration count from 1; `indices` are the samples of its mini-batch."""

    epoch: int
    iteration: int
    indices: NDArray[np.int64]


def steps(
    count: int,
    batch_size: int,
    epochs: int,
    shuffle: Literal["once", "never", "every-epoch"],
    generator: np.random.Generator,
) -> Iterator[Step]:
    """Every iteration of a training.

    The last incomplete mini-batch of an epoch is dropped; a batch size above the number of samples is one batch of all.

    Args:
        count: number of samples N.
        batch_size: samples per mini-batch.
        epochs: how often the samples are seen.
        shuffle: before the first epoch ("once"), never, or before each epoch ("every-epoch").
        generator: the source of the shuffles.
    """
    size = min(batch_size, count)
    order = np.arange(count)
    iteration = 0
    for epoch in range(1, epochs + 1):
        if shuffle == "every-epoch" or (shuffle == "once" and epoch == 1):
            generator.shuffle(order)
        for start in range(0, count - size + 1, size):
            iteration += 1
            yield Step(epoch, iteration, order[start : start + size])


def as_batch(x: NDArray[Any], data: NDArray[Any], dtype: str) -> NDArray[Any]:
    """A batch as a step takes it: of `dtype` if that can hold the data it comes from; the step converts others."""
    return np.ascontiguousarray(x, dtype if np.can_cast(data.dtype, dtype) else x.dtype)


class Samples:
    """Inputs with their targets.

    Args:
        x: the inputs, C-contiguous, N samples along `batch_axis`.
        targets: the targets of the same N samples.
        batch_axis: the position of B in x's format.
    """

    def __init__(self, x: NDArray[Any], targets: Targets, batch_axis: int = 0) -> None:
        self.x = x
        self.targets = targets
        self.batch_axis = batch_axis
        self._staged: NDArray[Any] = np.empty(0, x.dtype)
        self._gathered: NDArray[Any] = np.empty(0, x.dtype)

    def __len__(self) -> int:
        return self.x.shape[self.batch_axis]

    @property
    def on_disk(self) -> bool:
        """Whether the inputs are a memory-mapped file."""
        array: Any = self.x
        while isinstance(array, np.ndarray):
            if isinstance(array, np.memmap):
                return True
            array = array.base
        return False

    def take(self, indices: NDArray[np.int64], dtype: str = "float32") -> NDArray[Any]:
        """The inputs of these samples, in a buffer that the next call overwrites.

        Args:
            indices: int64, which samples.
            dtype: the floating type of the batch; inputs that it cannot hold keep their own.
        """
        shape, kept = list(self.x.shape), np.dtype(dtype) if np.can_cast(self.x.dtype, dtype) else self.x.dtype
        shape[self.batch_axis] = len(indices)
        if self._gathered.shape != tuple(shape) or self._gathered.dtype != kept:
            self._gathered = np.empty(shape, kept)
            self._staged = self._gathered if self.x.dtype == kept else np.empty(shape, self.x.dtype)
        # mode="clip" lets take write straight into the buffer; the indices are in range.
        np.take(self.x, indices, axis=self.batch_axis, out=self._staged, mode="clip")
        if self._staged is not self._gathered:
            np.copyto(self._gathered, self._staged, casting="unsafe")
        return self._gathered

    def gather(self, indices: NDArray[np.int64], dtype: str = "float32") -> tuple[NDArray[Any], NDArray[Any]]:
        """Inputs and targets (one-hot rows for classes) of these samples, in buffers that the next call overwrites."""
        return self.take(indices, dtype), self.targets.gather(indices, dtype)


class ArraySource:
    """Mini-batches of arrays in memory, or in a memory-mapped file.

    Args:
        samples: the training data.
        options: of the training.
        seed: of the shuffles and augmentations.
        augment: changes each mini-batch; None = they stay as they are.
        dtype: the floating type of batches.
        collective: the ranks, each of which takes its share of every mini-batch.
    """

    def __init__(
        self,
        samples: Samples,
        options: TrainingOptions,
        seed: int,
        augment: Augmentation | None = None,
        dtype: str = "float32",
        collective: Collective = ALONE,
    ) -> None:
        self.samples, self._options, self._seed, self._collective = samples, options, seed, collective
        self._augment, self._dtype = augment, dtype
        self.slow = augment is not None or samples.on_disk

    @property
    def classification(self) -> bool:
        """Whether targets are classes."""
        return self.samples.targets.classes is not None

    @property
    def iterations(self) -> int:
        """All of them."""
        return self._options.max_epochs * self._per_epoch

    @property
    def _per_epoch(self) -> int:
        count = len(self.samples)
        return count // min(self._options.observations_of_update, count)

    def batches(self, records: Sequence[Record]) -> Iterator[Batch]:
        """The mini-batches after these records; their shuffles follow from those of all before."""
        options, count = self._options, len(self.samples)
        # The compiler draws initial values from the seed itself; the shuffles get a stream of their own.
        generator = np.random.default_rng([self._seed, 1])
        every = steps(count, options.observations_of_update, options.max_epochs, options.shuffle, generator)
        for step in islice(every, len(records), None):
            x, t = self._gathered(step._replace(indices=step.indices[share(len(step.indices), self._collective)]))
            ends, last = step.iteration % self._per_epoch == 0, step.iteration == self.iterations
            yield Batch(step.epoch, step.iteration, x, t, ends, last)

    def _gathered(self, step: Step) -> tuple[NDArray[Any], NDArray[Any]]:
        if self._augment is None:
            x, t = self.samples.gather(step.indices, self._dtype)
            return (x.copy(), t.copy()) if self.slow else (x, t)  # a thread is ahead of the step that reads them
        samples = self.samples
        x = np.take(samples.x, step.indices, axis=samples.batch_axis)
        targets = samples.targets
        rank = self._collective.rank
        x, y = augmented(self._augment, x, targets.take(step.indices), self._seed, step.iteration, rank)
        return as_batch(x, samples.x, self._dtype), targets.rows(y, self._dtype)

    def inputs(self) -> Iterator[NDArray[Any]]:
        """All inputs of this rank's share."""
        own, size = share(len(self.samples), self._collective), self._options.mini_batch_size
        for start in range(own.start, own.stop, size):
            yield self.samples.take(np.arange(start, min(start + size, own.stop)), self._dtype)


def augmented(
    augment: Augmentation, x: NDArray[Any], y: NDArray[Any], seed: int, iteration: int, rank: int = 0
) -> tuple[NDArray[Any], Any]:
    """What an augmentation makes of a mini-batch; its generator follows from seed, iteration and rank alone.

    Raises:
        ArrayError: it returns something else than a pair.
    """
    result = augment(x, y, np.random.default_rng([seed, 2, iteration, *([rank] if rank else [])]))
    if not isinstance(result, tuple) or len(result) != 2:  # pyright: ignore[reportUnnecessaryIsInstance, reportUnnecessaryComparison]
        raise ArrayError(
            f"augment returned {type(result).__name__}; allowed: a pair (x, y) of arrays; write `return x, y`"
        )
    return np.asarray(result[0]), result[1]
