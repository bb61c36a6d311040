"""Observations on their way in: copied only where they must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gncodegen.layers.tensors import TensorInputLayer
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.runtime.input_normalization import InputNormalization
from gncodegen.runtime.pool import POOL
from gncodegen.runtime.sequences import Lengths

Array = NDArray[Any] | DeviceArray

Key = tuple[str, str]
"""(kind, name) of a Program's argument."""


class Rows:
    """An array's rows as kernels read them: where they lie if that is possible, else converted part by part.

    Args:
        array: the batch axis first, the others in the order that kernels read.
        dtype: what they read.
        normalization: what is done to the array before it is converted, or None.
        lengths: of sequences, where they were given as a list.
    """

    def __init__(
        self,
        array: Any,
        dtype: np.dtype[Any],
        normalization: InputNormalization | None = None,
        lengths: NDArray[np.int64] | None = None,
    ) -> None:
        self.array, self._dtype, self.normalization, self.lengths = array, dtype, normalization, lengths
        self._ready = isinstance(array, DeviceArray) or (array.dtype == dtype and array.flags.c_contiguous)

    def __len__(self) -> int:
        return self.array.shape[0]

    def part(self, start: int, stop: int) -> Any:
        """The rows `start` … `stop` − 1."""
        part = self.array if stop - start == len(self) else self.array[start:stop]
        if self._ready:
            return part
        staged = POOL.array(part.shape, self._dtype)
        if self.normalization is None:
            staged[...] = part
        else:
            self.normalization(part, staged)
        return staged


def seen(letters: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one observation as callers see it; `letters` are its axes, `shape` that of the kernels' array."""
    return {"B": (), "BC": shape[-1:]}.get(letters, shape[1:])


def with_observations(array: NDArray[Any], layer: TensorInputLayer) -> NDArray[Any]:
    """An array of an imported graph with an axis of observations, and of at least one axis besides."""
    array = array if layer.batched else array[None]
    return array if layer.shape else array.reshape(-1, 1)


class Given(NamedTuple):
    """The observations of one run.

    Args:
        arrays: by argument, as kernels read them.
        observations: of each array.
        normalizations: of the inputs that are normalized already, by the argument's name.
        lengths: of the sequences of inputs that were lists, by the layer's name.
    """

    arrays: dict[Key, Any]
    observations: int
    normalizations: Mapping[str, InputNormalization]
    lengths: Lengths

    @property
    def normalized(self) -> tuple[str, ...]:
        """The names of the inputs that are normalized already."""
        return tuple(self.normalizations)
