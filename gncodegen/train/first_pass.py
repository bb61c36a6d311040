"""What a network takes from its training data where they are a stream: class names and input statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.layers.inputs import InputLayer
from gncodegen.layers.network import Network
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.parallel.collective import ALONE, Collective, everyone, share
from gncodegen.process.waiting import Waiting
from gncodegen.train.inputs import (
    along,
    channel_last,
    checked_inputs,
    needs_statistics,
    with_classes,
    with_statistics,
)
from gncodegen.train.labels import classes_of, encoded, label_array, without
from gncodegen.train.population import Moments
from gncodegen.train.streams import Stream, no_batch
from gncodegen.train.targets import are_of_steps, in_a_row


def described(stream: Stream, network: Network, data_format: str) -> tuple[Network, int]:
    """The network with the classes and input statistics of a stream, and the length of an epoch if it was counted.

    Takes a pass over the first epoch where the network lacks some of them; statistics that are given stay. Each rank
    takes its share of the pass.

    Args:
        stream: the training data.
        network: as the user wrote it.
        data_format: axis order of x.

    Raises:
        ArrayError: the data do not fit, or can be read once only.
    """
    node, layer = network.loss, network.output_layer
    unnamed = isinstance(layer, ClassificationLayer) and layer.classes == "auto"
    if unnamed and _labels(stream.first()[1], network)[1]:
        network, unnamed = with_classes(network, tuple(range(node.size.channels))), False
    normalized = needs_statistics(network, reset=False)
    if not unnamed and not normalized:
        return network, 0
    what = [*(["class names"] if unnamed else []), *(["input statistics"] if normalized else [])]
    labels: dict[Any, None] = {}
    statistics = Statistics(network.input.layer) if normalized else None
    length = 0
    found = " and ".join(what)
    with Waiting(f"{found}: batches read") as waiting:
        for x, y in stream.again(f"finding {found}"):
            waiting.advance()
            length += 1
            if unnamed:
                array, _ = _labels(y, network)
                labels |= dict.fromkeys(encoded(array, node.label)[0])
            if statistics is not None:
                array, axis = checked_inputs(x, network.input, data_format)
                own = along(array, axis, stream.share(array.shape[axis]))
                statistics.add(channel_last(own, network.input, data_format))
    if not length:
        raise no_batch(1)
    if unnamed:
        assert isinstance(layer, ClassificationLayer)
        labels = {label: None for found in everyone(labels, stream.collective) for label in found}
        distinct = without(list(labels), layer.ignore_label)
        network = with_classes(network, classes_of(distinct, node.size.channels, node.label))
    if statistics is not None:
        network = with_statistics(network, statistics.of_all(stream.collective), reset=False)
    return network, length


def _labels(y: Any, network: Network) -> tuple[NDArray[Any], bool]:
    """As label_array, of the targets of a batch."""
    node = network.loss
    if are_of_steps(y, network):
        y, node = in_a_row(y, node)
    return label_array(y, node.size.shape, node.label)


def with_input_statistics(
    network: Network, x: NDArray[Any], data_format: str, reset: bool, collective: Collective = ALONE
) -> Network:
    """The network whose input layer has the statistics its normalization needs.

    Args:
        network: any network.
        x: the training inputs, of which each rank reads its share.
        data_format: their axis order.
        reset: compute all of them; else only where one is missing.
        collective: the ranks.
    """
    layer = network.input_layer
    if not isinstance(layer, InputLayer) or not needs_statistics(network, reset):
        return network
    inputs, statistics = channel_last(x, network.input, data_format), Statistics(layer)
    statistics.add(inputs[share(len(inputs), collective)])
    return with_statistics(network, statistics.of_all(collective), reset)


class Statistics:
    """The statistics of an input layer, joined over batches in float64.

    Means and variances are joined as Moments are, extremes by the least and largest.

    Args:
        layer: says which.
    """

    def __init__(self, layer: Any) -> None:
        assert isinstance(layer, InputLayer)
        self._layer = layer
        self._count: float = 0
        self.values: dict[str, NDArray[np.float64]] = {}

    def add(self, x: NDArray[Any]) -> None:
        """Counts another batch (N, *input size) in."""
        if len(x):
            # Sequences that are apart count by their steps.
            steps = len(x) if x.dtype != object else self._layer.counted(x).size / self._layer.output_size(()).count
            self._join(steps, self._layer.statistics(x))

    def of_all(self, collective: Collective) -> dict[str, NDArray[np.float64]]:
        """Those of the batches of all ranks, in their order."""
        joined = Statistics(self._layer)
        for count, values in everyone((self._count, self.values), collective):
            if count:
                joined._join(count, values)
        return joined.values

    def _join(self, count: float, found: dict[str, NDArray[np.float64]]) -> None:
        before, self._count = self._count, self._count + count
        if not before:
            self.values = found
            return
        values = self.values
        if "min" in found:
            values["min"] = np.minimum(values["min"], found["min"])
            values["max"] = np.maximum(values["max"], found["max"])
            return
        joined = _moments(before, values).joined(_moments(count, found))
        values["mean"] = joined.mean
        if "standard_deviation" in found:
            values["standard_deviation"] = np.sqrt(joined.squares / joined.count)


def _moments(count: float, values: Mapping[str, NDArray[np.float64]]) -> Moments:
    """Those of statistics, of which some have no deviation."""
    deviation = values.get("standard_deviation", np.zeros(()))
    return Moments(count, values["mean"], np.square(deviation) * count)
