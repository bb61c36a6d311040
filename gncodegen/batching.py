"""Any number of observations, batch by batch; the last batch is filled up with rows of zeros where that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Batch:
    """One batch of some arrays.

    Args:
        arrays: its rows of each of them, filled up.
        start: number of its first row.
        rows: how many there are, with those that were filled up.
        whole: whether the arrays are one batch as they are.
    """

    arrays: tuple[Any, ...]
    start: int
    rows: int
    whole: bool

    def of(self, result: Any) -> Any:
        """The rows of a result; itself where it is one batch: the same objects cost the runner less."""
        return result if self.whole and len(result) == self.rows else result[self.start : self.start + self.rows]


def batches(size: int, filled: Callable[[Any, int], Any] | None, *arrays: Any) -> Iterator[Batch]:
    """The batches of some arrays of as many rows.

    Args:
        size: rows of a batch.
        filled: the rows of a last, shorter batch with zeros after them; None = it stays short.
        arrays: of the host, or of a GPU.
    """
    count = len(arrays[0])
    if count == size:
        yield Batch(arrays, 0, size, whole=True)
        return
    for start in range(0, count, size):
        parts = tuple(array[start : start + size] for array in arrays)
        if filled is not None and len(parts[0]) < size:
            parts = tuple(filled(part, size) for part in parts)
        yield Batch(parts, start, len(parts[0]), whole=False)


def rows_of(count: int, size: int, fill: bool) -> int:
    """Rows of the results of so many observations, with those that are filled up."""
    return -(-count // size) * size if fill else count
