"""Batch normalization's statistics over the whole training set, fixed after training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gncodegen.layers.network import Network
from gncodegen.layers.normalization import BatchNormalizationLayer
from gncodegen.parallel.collective import ALONE, Collective, everyone
from gncodegen.runtime.sequences import is_listed
from gncodegen.train.batches import Source
from gncodegen.train.inputs import channel_last


class Predictor(Protocol):
    """What the pass asks of a compiled network."""

    @property
    def network(self) -> Network:
        """The checked network."""
        ...

    @property
    def parameters(self) -> Any:
        """Name → array, assignable."""
        ...

    def activations(self, x: NDArray[Any], layer_name: str, data_format: str = "") -> NDArray[Any]:
        """A layer's output in prediction mode, in the axis order of x."""
        ...


def fix_batch_statistics(
    compiled: Predictor, training: Source, data_format: str, collective: Collective = ALONE
) -> None:
    """Sets every `trained_mean` and `trained_variance` to the population's, first layer first.

    Each layer sees what it will see at prediction: the layers before it have their final statistics already.

    Args:
        compiled: the trained network; its statistics are assigned.
        training: the training data; every sample counts.
        data_format: axis order of its inputs.
        collective: the ranks, each of which reads its share.
    """
    given = compiled.network.input
    for node in compiled.network.nodes:
        if isinstance(node.layer, BatchNormalizationLayer):
            parts = (
                compiled.activations(channel_last(x, given, data_format), node.inputs[0], "B" + given.size.format)
                for x in training.inputs()
            )
            mean, variance = merged_moments(parts, collective)
            compiled.parameters[f"{node.name}.trained_mean"] = mean
            compiled.parameters[f"{node.name}.trained_variance"] = variance


def merged_moments(
    parts: Iterable[NDArray[Any]], collective: Collective = ALONE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population variance per channel of arrays (…, C), or of lists of them, of all ranks, in float64."""
    merged = Moments(0, np.zeros(()), np.zeros(()))
    for part in parts:
        values = _rows(part)
        local = values.mean(axis=0)
        merged = merged.joined(Moments(len(values), local, np.square(values - local).sum(axis=0)))
    first, *others = [each for each in everyone(merged, collective) if each.count]
    for other in others:
        first = first.joined(other)
    return first.mean, first.squares / first.count


def _rows(part: NDArray[Any]) -> NDArray[np.float64]:
    """An array (…, C), or sequences (T, …, C) that stay apart, as rows of channels."""
    arrays = part if is_listed(part) else [part]
    return np.concatenate([np.asarray(each, np.float64).reshape(-1, each.shape[-1]) for each in arrays])


@dataclass(frozen=True)
class Moments:
    """Of some values.

    Args:
        count: how many.
        mean: theirs.
        squares: the sum of squared differences from it.
    """

    count: float
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    def joined(self, other: Moments) -> Moments:
        """Of these values and others.

        Source: T. F. Chan, G. H. Golub, R. J. LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample
        Variances, 1979.
        """
        delta, total = other.mean - self.mean, self.count + other.count
        between = np.square(delta) * self.count * other.count / total
        return Moments(total, self.mean + delta * other.count / total, self.squares + other.squares + between)
