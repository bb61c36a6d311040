"""Learnables that a layer has from another one: whose they are, and in which order of axes it reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

_TEXT = re.compile(r"(?P<key>.*\.[^.\[\]]+)(\[(?P<order>\d+(,\s*\d+)*)\])?$", re.DOTALL)


@dataclass(frozen=True)
class Reading:
    """An array that a layer reads.

    Args:
        key: of the array: "conv_1.weights".
        order: axis i of what is read is axis order[i] of the array; () = the array as it is.
    """

    key: str
    order: tuple[int, ...] = ()

    @staticmethod
    def of(text: str) -> Reading:
        """What "conv_1.weights" or "conv_1.weights[0, 1, 3, 2]" says."""
        found = _TEXT.match(text)
        if found is None or found["order"] is None:
            return Reading(text)
        return Reading(found["key"], tuple(int(axis) for axis in found["order"].split(",")))

    @property
    def text(self) -> str:
        """The same as text."""
        return self.key + (f"[{', '.join(map(str, self.order))}]" if self.order else "")

    def fits(self, given: Sequence[int] | None, wanted: Sequence[int]) -> bool:
        """Whether an array of a shape can be read as one of another; axes of extent 1 may stand anywhere then."""
        if given is None or not self.order:
            return given == wanted
        if sorted(self.order) != list(range(len(given))):
            return False
        return _without_ones([given[axis] for axis in self.order]) == _without_ones(wanted)

    def read(self, array: NDArray[np.generic], shape: Sequence[int]) -> NDArray[np.generic]:
        """The array as it is read, in a shape that fits."""
        return array.transpose(self.order).reshape(tuple(shape)) if self.order else array


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [extent for extent in shape if extent != 1]


def order_between(array: NDArray[np.int64], read: NDArray[np.int64]) -> tuple[int, ...] | None:
    """The order of axes in which an array of distinct numbers is another one; None where there is none."""
    long = [axis for axis, extent in enumerate(array.shape) if extent != 1]
    short = tuple(axis for axis in range(array.ndim) if axis not in long)
    for order in permutations(long):
        found = array.transpose((*short, *order))
        if _without_ones(found.shape) == _without_ones(read.shape) and np.array_equal(found.ravel(), read.ravel()):
            return (*short, *order)
    return None
