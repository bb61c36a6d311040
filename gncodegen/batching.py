"""Any number of observations, batch by batch; kernels may touch some rows more than those that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gncodegen.runtime.backend import Array, Key
from gncodegen.runtime.rows import Rows


def batches(
    size: int,
    reach: Callable[[Key, int], int],
    inputs: Mapping[Key, Rows],
    results: Mapping[Key, Array],
    empty: Callable[[tuple[int, ...], Any, Array], Array],
) -> Iterator[tuple[int, dict[Key, Array]]]:
    """(observations, arguments of a run) of each batch; a run is to be over when the next one is asked for.

    Args:
        size: rows of a batch.
        reach: rows of an argument that a run of so many needs; beyond those that there are they hold zeros.
        inputs: as many rows of each.
        results: arrays for these rows, and no more.
        empty: as Backend.empty.
    """
    count = len(next(iter(inputs.values())))
    for start in range(0, count, size):
        stop = min(start + size, count)
        found = stop - start
        given = {key: each.part(start, stop, reach(key, found)) for key, each in inputs.items()}
        parts = results if found == count else {key: result[start:stop] for key, result in results.items()}
        rows = {key: reach(key, found) for key in results}
        larger = {
            key: empty((rows[key], *part.shape[1:]), part.dtype, part)
            for key, part in parts.items()
            if rows[key] > found
        }
        yield found, {**given, **parts, **larger}
        for key, array in larger.items():
            results[key][start:stop] = array[:found]
