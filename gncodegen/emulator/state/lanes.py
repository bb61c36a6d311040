"""The set of lanes (threads of a wave) that execute an instruction together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]
_DENSE = 4  # from one lane in so many on, a mask is cheaper than an index


class ActiveLanes:
    """Lanes of a wave of `size`, kept as a mask, an index or both.

    `all`: every lane of the wave is in it. `whole`: no lane outside still runs, so registers may be written blindly.
    """

    __slots__ = ("_index", "_mask", "all", "count", "size", "whole")

    def __init__(self, size: int, mask: Mask | None = None, index: Index | None = None) -> None:
        self.size, self._mask, self._index = size, mask, index
        if mask is not None:
            self.count = int(np.count_nonzero(mask))
        else:
            self.count = size if index is None else index.size
        self.all = self.whole = self.count == size

    @property
    def mask(self) -> Mask:
        """One flag a lane."""
        if self._mask is None:
            self._mask = np.ones(self.size, np.bool_) if self._index is None else np.zeros(self.size, np.bool_)
            if self._index is not None:
                self._mask[self._index] = True
        return self._mask

    @property
    def index(self) -> Index:
        """The lanes' numbers, ascending."""
        if self._index is None:
            self._index = np.arange(self.size) if self._mask is None else np.flatnonzero(self._mask)
        return self._index

    @property
    def dense(self) -> bool:
        """Whether masked work on all lanes is cheaper than work on the lanes' index."""
        return self.count * _DENSE >= self.size

    def where(self, flags: Mask) -> ActiveLanes:
        """The lanes of this set whose flag (one for every lane of the wave) is set."""
        if self.all:
            # The flags may be a register, which these lanes write next.
            return ActiveLanes(self.size, mask=flags.copy())
        if self.dense:
            return ActiveLanes(self.size, mask=flags & self.mask)
        return ActiveLanes(self.size, index=self.index[flags[self.index]])


def union(parts: Sequence[ActiveLanes]) -> ActiveLanes:
    """The lanes of any part."""
    if len(parts) == 1:
        return parts[0]
    mask = np.zeros(parts[0].size, np.bool_)
    for part in parts:
        if part.dense:
            mask |= part.mask
        else:
            mask[part.index] = True
    return ActiveLanes(mask.size, mask=mask)
