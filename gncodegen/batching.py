"""Any number of observations, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gncodegen.runtime.backend import Array, Key
from gncodegen.runtime.rows import Rows


def batches(
    size: int,
    rows: Callable[[int], int],
    inputs: Mapping[Key, Rows],
    results: Mapping[Key, Array],
    empty: Callable[[tuple[int, ...], Any, Array], Array],
) -> Iterator[tuple[int, dict[Key, Array]]]:
    """(observations, arguments of a run) of each batch; a run is to be over when the next one is asked for.

    Args:
        size: observations of a batch.
        rows: observations → rows of the arguments of their run; behind those that there are they hold zeros.
        inputs: as many observations of each.
        results: arrays for these observations, and no more.
        empty: as Backend.empty.
    """
    count = len(next(iter(inputs.values())))
    for start in range(0, count, size):
        stop = min(start + size, count)
        found = stop - start
        needed = rows(found)
        given = {key: each.part(start, stop, needed) for key, each in inputs.items()}
        parts = results if found == count else {key: result[start:stop] for key, result in results.items()}
        larger = {
            key: empty((needed, *part.shape[1:]), part.dtype, part) for key, part in parts.items() if needed > found
        }
        yield found, {**given, **parts, **larger}
        for key, array in larger.items():
            results[key][start:stop] = array[:found]
