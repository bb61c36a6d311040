"""Labels of any sortable kind: which there are, and the class indices they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.layers.checks import LABEL_KINDS
from gncodegen.runtime.arrays import as_array, is_masked, on_gpu

IGNORED = -1
"""The class index of a label that neither loss nor accuracy sees."""


def label_array(labels: Any, size: tuple[int, ...], where: str) -> tuple[NDArray[Any], bool]:
    """Labels as an array (N, *positions), or one-hot rows (N, *positions, K), and whether they are rows.

    Args:
        labels: an array-like; extents of 1 may be left out or added, as in a column (N, 1).
        size: (*positions, K) of one output of the network.
        where: the output layer, as messages name it.

    Raises:
        ArrayError: another shape, ragged, or some are masked.
    """
    if is_masked(labels):
        raise ArrayError(
            f"{where}: masked labels; allowed: a class for every sample; drop those samples, or fill them with a label "
            "and give it as ClassificationLayer(ignore_label=…)"
        )
    array = _array(labels, where)
    *positions, count = size
    if array.ndim:
        given = _without_ones(array.shape[1:])
        if array.ndim > 1 and array.shape[-1] == count > 1 and given == _without_ones(size):
            return array.reshape(len(array), *size), True
        if given == _without_ones(positions):
            return array.reshape(len(array), *positions), False
    places = "".join(f", {n}" for n in positions)
    raise ArrayError(
        f"{where}: labels of shape {array.shape}; allowed: (N{places or ','}) labels or class indices, or "
        f"(N{places}, {count}) one-hot rows; reshape them"
    )


def categories(labels: Any, count: int, ignored: Any) -> tuple[Any, ...] | None:
    """The categories of a pandas categorical in their own order: all of them, or those that occur, where they are K.

    Args:
        labels: as for `label_array`.
        count: K.
        ignored: the label that is no class, or None.

    Returns:
        None where labels are no categorical, or have another number of categories.
    """
    column = labels.iloc[:, 0] if getattr(labels, "ndim", 0) == 2 and hasattr(labels, "iloc") else labels
    found = getattr(getattr(column, "dtype", None), "categories", None)
    if found is None or not len(column):
        return None
    every = without(found.to_numpy().tolist(), ignored)
    if len(every) == count:
        return tuple(every)
    seen = set(np.asarray(column).tolist())
    used = tuple(each for each in every if each in seen)
    return used if len(used) == count else None


def _array(labels: Any, where: str) -> NDArray[Any]:
    if on_gpu(labels):
        return as_array(labels, f"{where}: labels")
    try:
        array = np.asarray(labels)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArrayError(
            f"{where}: labels are no array ({error}); allowed: one label for each sample; give them as one flat list"
        ) from error
    if array.dtype.kind in "US" and array.ndim == 1 and isinstance(labels, (list, tuple)):
        kinds = {type(each) for each in labels}  # of which NumPy makes texts
        if not any(all(issubclass(kind, text) for kind in kinds) for text in (str, bytes)):
            named = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise ArrayError(f"{where}: labels of kinds {named}; allowed: one sortable kind; turn them all into text")
    if array.dtype.kind in "cV":
        raise ArrayError(f"{where}: labels of type {array.dtype}; allowed: one sortable kind; turn them into text")
    return array


def _without_ones(extents: Iterable[int]) -> tuple[int, ...]:
    return tuple(n for n in extents if n != 1)


def encoded(labels: NDArray[Any], where: str) -> tuple[list[Any], NDArray[np.int64]]:
    """The distinct labels, and for every label its place among them.

    Raises:
        ArrayError: some are undefined (None, NaN, NaT, NA).
    """
    if labels.dtype.kind == "O":
        values = labels.ravel().tolist()
        _refuse_undefined(values, where)
        places: dict[Any, int] = {}
        try:
            codes = [places.setdefault(value, len(places)) for value in values]
        except TypeError as error:
            raise ArrayError(f"{where}: labels that are {error}; allowed: one sortable kind; use numbers") from error
        return list(places), np.array(codes, np.int64).reshape(labels.shape)
    found, codes = np.unique(labels, return_inverse=True)
    # Dates and durations stay NumPy's: their Python form depends on the unit.
    distinct: list[Any] = list(found) if found.dtype.kind in "mM" else found.tolist()
    _refuse_undefined(distinct, where)
    return distinct, codes.reshape(labels.shape).astype(np.int64, copy=False)


def _refuse_undefined(values: Iterable[Any], where: str) -> None:
    if any(map(_is_undefined, values)):
        raise ArrayError(
            f"{where}: undefined labels (None, NaN or NA); allowed: a class for every sample; drop those samples"
        )


def _is_undefined(value: Any) -> bool:
    try:
        return value is None or bool(value != value)  # noqa: PLR0124  NaN is the value unequal to itself
    except TypeError:  # pandas' NA is neither equal nor unequal to anything
        return True


def classes_of(distinct: Sequence[Any], count: int, where: str) -> tuple[Any, ...]:
    """The classes that these distinct labels stand for: the labels, sorted, or 0 … K − 1 where they are indices.

    Args:
        distinct: without the ignored one.
        count: K.
        where: the output layer, as messages name it.

    Raises:
        ArrayError: they have no order, or are not K.
    """
    if len(distinct) != count and _are_indices(distinct, count):
        return tuple(range(count))
    if kinds := sorted({type(value).__name__ for value in distinct if not isinstance(value, LABEL_KINDS)}):
        raise ArrayError(
            f"{where}: labels of kind {', '.join(kinds)}; allowed: texts, bytes, numbers, dates, durations and UUIDs; "
            "turn them into text, as with labels.astype(str)"
        )
    try:
        named = tuple(sorted(distinct))
    except TypeError:
        kinds = ", ".join(sorted({type(value).__name__ for value in distinct}))
        raise ArrayError(
            f"{where}: labels of kinds {kinds} have no order; allowed: one sortable kind; turn them all into text"
        ) from None
    if len(named) != count:
        more = f"give the last FullyConnectedLayer {len(named)} outputs"
        fewer = "name all classes, as in ClassificationLayer(classes=…), if this is a part of the samples"
        raise ArrayError(
            f"{where}: {len(named)} distinct labels for {count} outputs; allowed: {count} distinct labels, or class "
            f"indices 0 … {count - 1}; {fewer if len(named) < count else more}"
        )
    return named


def _are_indices(distinct: Iterable[Any], count: int) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count for value in distinct)


def indices_of(
    distinct: Sequence[Any], codes: NDArray[np.int64], classes: Sequence[Any], ignored: Any, where: str
) -> NDArray[np.int64]:
    """Class indices of encoded labels; labels that are no class are taken for indices if all of them can be.

    Args:
        distinct: the distinct labels, from `encoded`.
        codes: for every label its place among them.
        classes: the K labels in the order of the outputs.
        ignored: the label whose index is `IGNORED`; None = there is none.
        where: the output layer, as messages name it.

    Raises:
        ArrayError: a label is no class.
    """
    lookup = {label: index for index, label in enumerate(classes)}
    seen = without(distinct, ignored)
    unknown = [value for value in seen if value not in lookup]
    if unknown and _are_indices(seen, len(classes)):
        lookup = {index: index for index in range(len(classes))}
    elif unknown:
        raise ArrayError(
            f"{where}: label {unknown[0]!r}; allowed: {', '.join(map(repr, classes[:20]))}; "
            "drop the sample or list the class in ClassificationLayer(classes=…)"
        )
    table = np.array([lookup.get(value, IGNORED) for value in distinct], np.int64)
    return table[codes]


def without(distinct: Sequence[Any], ignored: Any) -> list[Any]:
    """The labels that are not ignored."""
    return [value for value in distinct if ignored is None or value != ignored]


def indices_of_rows(rows: NDArray[Any], ignored: Any, where: str) -> NDArray[np.int64]:
    """Class indices of one-hot rows (…, K); a row of zeros is ignored where labels can be.

    Raises:
        ArrayError: a row is not one-hot.
    """
    sums = rows.sum(axis=-1) if rows.dtype.kind in "biuf" else np.full(rows.shape[:-1], 2)
    empty = (sums == 0) & (ignored is not None)
    if not (np.all((rows == 0) | (rows == 1)) and np.all((sums == 1) | empty)):
        raise ArrayError(
            f"{where}: target rows that are not one-hot; allowed: one 1 and zeros in every row, or class indices; "
            "write targets.argmax(axis=-1) if the largest entry is meant"
        )
    return np.where(empty, IGNORED, np.argmax(rows, axis=-1)).astype(np.int64)
