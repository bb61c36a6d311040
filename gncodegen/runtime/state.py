"""What a compiled network owns between runs: parameters, velocities, state and the run-time numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gncodegen.errors import ArrayError
from gncodegen.runtime.arrays import aligned, as_array


class Hyperparameters:
    """The numbers a step reads at run time, in the buffer that kernels see."""

    def __init__(
        self,
        learn_rate: float = 0.01,
        momentum: float = 0.9,
        l2: float = 1e-4,
        threshold: float = np.inf,
        seed: int = 0,
    ) -> None:
        self.array: NDArray[np.float64] = aligned(8, np.float64)
        self.array[:6] = (learn_rate, momentum, l2, threshold, 0, seed)

    @property
    def learn_rate(self) -> float:
        """The base learning rate."""
        return float(self.array[0])

    @learn_rate.setter
    def learn_rate(self, value: float) -> None:
        self.array[0] = value

    @property
    def momentum(self) -> float:
        """The share of the last velocity that stays."""
        return float(self.array[1])

    @momentum.setter
    def momentum(self, value: float) -> None:
        self.array[1] = value

    @property
    def l2(self) -> float:
        """The global L2 factor."""
        return float(self.array[2])

    @l2.setter
    def l2(self, value: float) -> None:
        self.array[2] = value

    @property
    def threshold(self) -> float:
        """The gradient threshold."""
        return float(self.array[3])

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.array[3] = value

    @property
    def iteration(self) -> int:
        """The number of the step; with the seed it decides the dropout masks."""
        return int(self.array[4])

    @iteration.setter
    def iteration(self, value: int) -> None:
        self.array[4] = value


class Parameters(MutableMapping[str, NDArray[Any]]):
    """Name such as "groupnorm_1.scale" → array. Reading gives a read-only copy; assigning copies the values in."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = dict(arrays)

    def _find(self, name: str) -> NDArray[Any]:
        if name not in self._arrays:
            raise KeyError(f"there is no parameter {name!r}; there are {', '.join(self._arrays)}")
        return self._arrays[name]

    def __getitem__(self, name: str) -> NDArray[Any]:
        copy = self._find(name).copy()
        copy.flags.writeable = False
        return copy

    def __setitem__(self, name: str, value: Any) -> None:
        target, array = self._find(name), as_array(value, name)
        if array.shape != target.shape:
            raise ArrayError(f"{name} has shape {array.shape}; allowed: {target.shape}; give an array of that shape")
        target[...] = array

    def __delitem__(self, name: str) -> None:
        raise ArrayError(f"{name} cannot be deleted; parameters belong to the network; assign zeros instead")

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in self._arrays.items())


def copies(values: Mapping[str, Any], dtype: DTypeLike) -> dict[str, NDArray[Any]]:
    """Aligned copies of arrays."""
    result: dict[str, NDArray[Any]] = {}
    for name, value in values.items():
        result[name] = aligned(np.shape(value), dtype)
        result[name][...] = value
    return result
