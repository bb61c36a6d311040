"""Any number of observations, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gncodegen.runtime.backend import Array, Key
from gncodegen.runtime.rows import Rows


def batches(
    size: int, inputs: Mapping[Key, Rows], results: Mapping[Key, Array]
) -> Iterator[tuple[int, dict[Key, Array]]]:
    """(observations, arguments of a run) of each batch; a run is to be over when the next one is asked for.

    Args:
        size: observations of a batch; the last may have fewer.
        inputs: as many observations of each.
        results: arrays for these observations, and no more.
    """
    count = len(next(iter(inputs.values())))
    for start in range(0, count, size):
        stop = min(start + size, count)
        given = {key: each.part(start, stop) for key, each in inputs.items()}
        parts = results if stop - start == count else {key: each[start:stop] for key, each in results.items()}
        yield stop - start, {**given, **parts}
