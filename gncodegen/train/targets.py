"""Targets as training wants them: labels become class indices once, mini-batches of one-hot rows are made as needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError


class Targets(Protocol):
    """The targets of N samples and the measure that belongs to them."""

    def gather(self, indices: NDArray[np.int64], dtype: str) -> NDArray[Any]:
        """The targets of these samples, in a buffer that the next call overwrites."""
        ...

    def whole(self) -> NDArray[Any]:
        """The targets of all samples, as `Compiled.evaluate` takes them."""
        ...

    def measure(self, loss: float, y: NDArray[Any], indices: NDArray[np.int64] | None = None) -> float:
        """Accuracy in percent, or RMSE, of the network outputs y of these samples (None: of all)."""
        ...


class ClassTargets:
    """Class indices.

    Args:
        indices: int64 (N,), each 0 … K−1.
        classes: the K labels, in the order of the network's outputs.
    """

    def __init__(self, indices: NDArray[np.int64], classes: tuple[Any, ...]) -> None:
        self.indices = indices
        self.classes = classes
        self._rows = np.empty((0, len(classes)), np.float32)

    def gather(self, indices: NDArray[np.int64], dtype: str) -> NDArray[Any]:
        """One-hot rows (n, K) of these samples."""
        if self._rows.shape[0] != len(indices) or self._rows.dtype != dtype:
            self._rows = np.empty((len(indices), len(self.classes)), dtype)
        self._rows.fill(0)
        self._rows[np.arange(len(indices)), self.indices[indices]] = 1
        return self._rows

    def whole(self) -> NDArray[Any]:
        """Class indices, int64 (N,)."""
        return self.indices

    def measure(self, loss: float, y: NDArray[Any], indices: NDArray[np.int64] | None = None) -> float:
        """Accuracy in percent."""
        truth = self.indices if indices is None else self.indices[indices]
        return 100.0 * float(np.mean(np.argmax(y.reshape(len(y), -1), axis=1) == truth))


class ResponseTargets:
    """Responses of a regression.

    Args:
        responses: (N, *output size).
    """

    def __init__(self, responses: NDArray[Any]) -> None:
        self.responses = responses

    def gather(self, indices: NDArray[np.int64], dtype: str) -> NDArray[Any]:
        """The responses of these samples."""
        return self.responses[indices].astype(dtype, copy=False)

    def whole(self) -> NDArray[Any]:
        """All responses."""
        return self.responses

    def measure(self, loss: float, y: NDArray[Any], indices: NDArray[np.int64] | None = None) -> float:
        """Root mean squared error: the square root of the mean over samples of Σ errors² = 2·loss."""
        return float(np.sqrt(2.0 * loss))


def class_targets(labels: Any, classes: Sequence[Any] | None, count: int, where: str) -> ClassTargets:
    """Class indices of labels.

    Args:
        labels: (N,) of any sortable kind, class indices 0 … K−1, or one-hot rows (N, K).
        classes: the K labels in the order of the outputs, or None: the sorted distinct labels.
        count: K, the outputs of the network.
        where: the output layer, as messages name it.

    Raises:
        ArrayError: the labels do not fit K classes.
    """
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == count:
        return ClassTargets(_from_one_hot(array, where), tuple(range(count)) if classes is None else tuple(classes))
    if array.ndim != 1:
        raise ArrayError(
            f"{where}: labels of shape {array.shape}; allowed: (N,) labels or class indices, or (N, {count}) one-hot "
            "rows; reshape them, as with labels.ravel()"
        )
    values = cast("list[Any]", array.tolist())
    if any(value is None or value != value for value in values):  # noqa: PLR0124  NaN is the value unequal to itself
        raise ArrayError(
            f"{where}: undefined labels (None or NaN); allowed: a class for every sample; drop those samples"
        )
    kinds = sorted({type(value).__name__ for value in values if not isinstance(value, (str, int, float))})
    if kinds or array.dtype.kind in "mM":
        raise ArrayError(
            f"{where}: labels of kind {', '.join(kinds) or array.dtype}; allowed: texts and numbers; turn them into "
            "text, as with labels.astype(str)"
        )
    named = tuple(classes) if classes is not None else _distinct(values, where)
    fits = len(named) == count and set(values) <= set(named)
    if not fits and array.dtype.kind in "iu" and values and 0 <= min(values) and max(values) < count:
        return ClassTargets(array.astype(np.int64), tuple(range(count)) if classes is None else named)
    if not fits:
        raise _misfit(values, classes, count, where)
    lookup = {label: index for index, label in enumerate(named)}
    return ClassTargets(np.array([lookup[value] for value in values], dtype=np.int64), named)


def _from_one_hot(rows: NDArray[Any], where: str) -> NDArray[np.int64]:
    valid = rows.dtype.kind in "biuf" and bool(np.all((rows == 0) | (rows == 1)) and np.all(rows.sum(axis=1) == 1))
    if not valid:
        raise ArrayError(
            f"{where}: target rows that are not one-hot; allowed: one 1 and zeros in every row, or class indices; "
            "write targets.argmax(axis=1) if the largest entry is meant"
        )
    return np.argmax(rows, axis=1).astype(np.int64)


def _distinct(values: list[Any], where: str) -> tuple[Any, ...]:
    try:
        return tuple(sorted(set(values)))
    except TypeError:
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise ArrayError(
            f"{where}: labels of kinds {kinds} have no order; allowed: one sortable kind; turn them all into text"
        ) from None


def _misfit(values: list[Any], classes: Sequence[Any] | None, count: int, where: str) -> ArrayError:
    distinct = set(values)
    if classes is not None:
        unknown = next(value for value in values if value not in set(classes))
        return ArrayError(
            f"{where}: label {unknown!r}; allowed: {', '.join(map(repr, classes[:20]))}; "
            "drop the sample or list the class in ClassificationLayer(classes=…)"
        )
    more = f"give the last FullyConnectedLayer {len(distinct)} outputs"
    fewer = "name all classes, as in ClassificationLayer(classes=…), if this is a part of the samples"
    return ArrayError(
        f"{where}: {len(distinct)} distinct labels for {count} outputs; allowed: {count} distinct labels, or class "
        f"indices 0 … {count - 1}; {fewer if len(distinct) < count else more}"
    )


def response_targets(responses: Any, shape: tuple[int, ...], where: str) -> ResponseTargets:
    """Responses of a regression, checked.

    Args:
        responses: (N, *shape), or (N,) where the output is one number.
        shape: the size of one output.
        where: the output layer, as messages name it.

    Raises:
        ArrayError: the responses have another shape, or are not real numbers.
    """
    array = np.asarray(responses)
    if array.ndim == 1 and shape == (1,):
        array = array[:, None]
    if array.dtype.kind not in "biuf" or array.shape[1:] != shape:
        wanted = ", ".join(map(str, ("N", *shape)))
        raise ArrayError(
            f"{where}: responses of shape {array.shape}, {array.dtype}; allowed: real numbers ({wanted}); "
            "give the last FullyConnectedLayer as many outputs as there are responses"
        )
    return ResponseTargets(np.ascontiguousarray(array))
