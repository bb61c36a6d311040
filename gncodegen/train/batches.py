"""The order in which samples are seen, and mini-batches gathered into one pair of buffers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gncodegen.train.targets import Targets


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


def step_count(count: int, batch_size: int, epochs: int) -> int:
    """How many iterations `steps` yields."""
    return epochs * (count // min(batch_size, count))


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

    def take(self, indices: NDArray[np.int64], dtype: str = "float32") -> NDArray[Any]:
        """The inputs of these samples, in a buffer that the next call overwrites.

        Args:
            indices: int64, which samples.
            dtype: the floating type of the batch.
        """
        shape = list(self.x.shape)
        shape[self.batch_axis] = len(indices)
        if self._gathered.shape != tuple(shape) or self._gathered.dtype != dtype:
            self._gathered = np.empty(shape, dtype)
            self._staged = self._gathered if self.x.dtype == dtype else np.empty(shape, self.x.dtype)
        # mode="clip" lets take write straight into the buffer; the indices are in range.
        np.take(self.x, indices, axis=self.batch_axis, out=self._staged, mode="clip")
        if self._staged is not self._gathered:
            np.copyto(self._gathered, self._staged, casting="unsafe")
        return self._gathered

    def gather(self, indices: NDArray[np.int64], dtype: str = "float32") -> tuple[NDArray[Any], NDArray[Any]]:
        """Inputs and targets (one-hot rows for classes) of these samples, in buffers that the next call overwrites."""
        return self.take(indices, dtype), self.targets.gather(indices, dtype)
