"""Targets as training wants them: labels become class indices once, mini-batches of one-hot rows are made as needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.layers.network import Network, Node
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.runtime.arrays import as_array
from gncodegen.runtime.sequences import is_listed, listed, padded
from gncodegen.train.labels import (
    IGNORED,
    categories,
    classes_of,
    encoded,
    indices_of,
    indices_of_rows,
    label_array,
    without,
)


class Targets(Protocol):
    """The targets of N samples."""

    def gather(self, indices: NDArray[np.int64], dtype: str) -> NDArray[Any]:
        """The targets of these samples as a step takes them, in a buffer that the next call overwrites."""
        ...

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Class indices or responses of these samples, as an augmentation sees them."""
        ...

    def rows(self, values: Any, dtype: str) -> NDArray[Any]:
        """What an augmentation made of them, as a step takes it."""
        ...

    def whole(self) -> NDArray[Any]:
        """The targets of all samples, as `Compiled.evaluate` takes them."""
        ...

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """The K labels in the order of the outputs; None for responses."""
        ...


class ClassTargets:
    """Class indices.

    Args:
        indices: int64 (N, *positions), each 0 … K−1, or -1 where ignored.
        classes: the K labels, in the order of the network's outputs.
    """

    def __init__(self, indices: NDArray[np.int64], classes: tuple[Any, ...]) -> None:
        self.indices = indices
        self._classes = classes
        self._rows = np.empty((0, len(classes)), np.float32)

    @property
    def classes(self) -> tuple[Any, ...]:
        """The K labels."""
        return self._classes

    def gather(self, indices: NDArray[np.int64], dtype: str) -> NDArray[Any]:
        """One-hot rows (n, *positions, K) of these samples; zeros where ignored."""
        shape = (len(indices), *self.indices.shape[1:], len(self.classes))
        if self._rows.shape != shape or self._rows.dtype != dtype:
            self._rows = np.empty(shape, dtype)
        return _one_hot(self.indices[indices], self._rows)

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Class indices (n, *positions)."""
        return self.indices[indices]

    def rows(self, values: Any, dtype: str) -> NDArray[Any]:
        """Rows (n, *positions, K) of class indices; rows stay as they are, so an augmentation may mix classes."""
        array = np.asarray(values)
        if array.ndim > self.indices.ndim:
            return np.ascontiguousarray(array, dtype)
        return _one_hot(array, np.empty((*array.shape, len(self.classes)), dtype))

    def whole(self) -> NDArray[Any]:
        """Class indices, int64 (N, *positions)."""
        return self.indices


def _one_hot(indices: NDArray[np.int64], rows: NDArray[Any]) -> NDArray[Any]:
    """Writes the rows of class indices: a 1 at the index, zeros for all of an ignored one."""
    rows.fill(0)
    flat, kept = rows.reshape(-1, rows.shape[-1]), indices.ravel()
    places = np.flatnonzero(kept != IGNORED)
    flat[places, kept[places]] = 1
    return rows


class ResponseTargets:
    """Responses of a regression.

    Args:
        responses: (N, *output size).
    """

    classes = None

    def __init__(self, responses: NDArray[Any]) -> None:
        self.responses = responses

    def gather(self, indices: NDArray[np.int64], dtype: str) -> NDArray[Any]:
        """The responses of these samples."""
        return self.responses[indices].astype(dtype, copy=False)

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The responses of these samples, in their own type."""
        return self.responses[indices]

    def rows(self, values: Any, dtype: str) -> NDArray[Any]:
        """Responses."""
        return np.ascontiguousarray(values, dtype)

    def whole(self) -> NDArray[Any]:
        """All responses."""
        return self.responses


def measure(loss: float, y: NDArray[Any] | list[NDArray[Any]], t: NDArray[Any], classification: bool) -> float:
    """Accuracy in percent, or the RMSE √(2·loss), of outputs.

    Args:
        loss: of these outputs.
        y: outputs (n, *positions, K), extents of 1 left out or not; or a list of those of each sequence.
        t: class indices (n, *positions), or rows like y; what is ignored (-1, a row of zeros) does not count.
        classification: whether it is accuracy.
    """
    if not classification:
        return float(np.sqrt(2.0 * loss))
    right, counted = hits(y, t)
    return 100.0 * right / counted if counted else float("nan")


def hits(y: NDArray[Any] | list[NDArray[Any]], t: NDArray[Any]) -> tuple[int, int]:
    """How many targets have the highest score, and how many count; the arguments are those of `measure`."""
    if isinstance(y, list):  # of sequences, each with its own steps
        t = np.concatenate([row[: len(each)] for row, each in zip(t, y, strict=True)])
        y = np.concatenate(y)
    found = np.argmax(y.reshape(-1, y.shape[-1]), axis=1)
    rows = t.size == y.size and y.shape[-1] > 1
    if rows:
        given = t.reshape(len(found), -1)
        truth, kept = np.argmax(given, axis=1), np.any(given != 0, axis=1)
    else:
        truth = t.ravel()
        kept = truth != IGNORED
    return int(np.count_nonzero((found == truth) & kept)), int(np.count_nonzero(kept))


def targets_of(y: Any, node: Node, steps: NDArray[np.int64] | None = None) -> Targets:
    """The targets y of an output layer, checked.

    Args:
        y: labels or responses.
        node: the output layer.
        steps: that each sequence has there, where y is a list of as many targets for each.

    Raises:
        ArrayError: they do not fit.
    """
    layer = node.layer
    if steps is not None:
        return _of_steps(y, node, steps)
    if isinstance(layer, ClassificationLayer):
        named = None if layer.classes == "auto" else layer.classes
        return class_targets(y, named, node.size.shape, node.label, layer.ignore_label)
    return response_targets(y, node.size.shape, node.label)


def are_of_steps(y: Any, network: Network) -> bool:
    """Whether targets are a list of those of the steps of each sequence."""
    masking = network.maskings.get(network.loss.inputs[0])
    return masking is not None and masking.steps is not None and is_listed(y) and len(y) > 0 and np.ndim(y[0]) > 0


def in_a_row(y: Sequence[Any], node: Node) -> tuple[NDArray[Any], Node]:
    """The targets of all steps as observations, and the output layer as one of a single step."""
    size = replace(node.size, format=node.size.format[1:], shape=node.size.shape[1:])
    return np.concatenate([np.asarray(each) for each in y]), replace(node, size=size)


def _of_steps(y: Sequence[Any], node: Node, steps: NDArray[np.int64]) -> Targets:
    """Targets that are a list of those of each sequence; what stands behind its steps does not count.

    Raises:
        ArrayError: they do not fit, or are not as many as their sequences have steps.
    """
    counts = [len(each) for each in y]
    wrong = [i for i, pair in enumerate(zip(counts, steps.tolist(), strict=False)) if pair[0] != pair[1]]
    if wrong:
        raise ArrayError(
            f"{node.label}: {counts[wrong[0]]} targets of sequence {wrong[0]}; allowed: one for each of its "
            f"{steps[wrong[0]]} steps; give as many"
        )
    room, ends = node.size.shape[0], np.cumsum(counts)[:-1]
    targets = targets_of(*in_a_row(y, node))
    if isinstance(targets, ClassTargets):
        parts = listed(np.split(targets.indices, ends))
        return ClassTargets(padded(parts, room, 0, IGNORED).astype(np.int64), targets.classes)
    return ResponseTargets(padded(listed(np.split(targets.whole(), ends)), room, 0, 0.0))


def class_targets(
    labels: Any, classes: Sequence[Any] | None, size: tuple[int, ...], where: str, ignored: Any = None
) -> ClassTargets:
    """Class indices of labels.

    Args:
        labels: (N, *positions) of any sortable kind, class indices 0 … K−1, or one-hot rows (N, *positions, K).
        classes: the K labels in the order of the outputs, or None: the categories of a pandas categorical in their
            order, or the sorted distinct labels.
        size: (*positions, K), the size of one output.
        where: the output layer, as messages name it.
        ignored: the label of samples and positions that do not count, or None.

    Raises:
        ArrayError: the labels do not fit K classes.
    """
    if classes is None:
        classes = categories(labels, size[-1], ignored)
    array, are_rows = label_array(labels, size, where)
    if are_rows:
        named = tuple(range(size[-1])) if classes is None else tuple(classes)
        return ClassTargets(indices_of_rows(array, ignored, where), named)
    distinct, codes = encoded(array, where)
    if classes is None:
        classes = classes_of(without(distinct, ignored), size[-1], where)
    return ClassTargets(indices_of(distinct, codes, classes, ignored, where), tuple(classes))


def response_targets(responses: Any, shape: tuple[int, ...], where: str) -> ResponseTargets:
    """Responses of a regression, checked.

    Args:
        responses: (N, *shape), or (N,) where the output is one number.
        shape: the size of one output.
        where: the output layer, as messages name it.

    Raises:
        ArrayError: the responses have another shape, or are not real numbers.
    """
    array = as_array(responses, f"{where}: y")
    if array.ndim == 1 and shape == (1,):
        array = array[:, None]
    if array.shape[1:] != shape:
        wanted = ", ".join(map(str, ("N", *shape)))
        raise ArrayError(
            f"{where}: responses of shape {array.shape}, {array.dtype}; allowed: real numbers ({wanted}); "
            "give the last FullyConnectedLayer as many outputs as there are responses"
        )
    return ResponseTargets(np.ascontiguousarray(array))
