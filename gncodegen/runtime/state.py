"""What a compiled network owns between runs: parameters, velocities, state and the run-time numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gncodegen.errors import ArrayError
from gncodegen.runtime.arrays import aligned, as_array, lasting


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


class Values(Protocol):
    """The arrays that a network owns, by name, wherever they lie."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name → extents."""
        ...

    @property
    def dtype(self) -> str:
        """The element type of all of them."""
        ...

    version: int
    """Counts the times that one of them was changed."""

    def read(self, name: str) -> NDArray[Any]:
        """A copy on the host."""
        ...

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Copies an array of that shape in."""
        ...


class HostValues:
    """Arrays in host memory, where kernels of the CPU read them.

    Args:
        initial: their values.
        dtype: element type of all.
    """

    def __init__(self, initial: Mapping[str, Any], dtype: str) -> None:
        self.dtype, self.arrays, self.version = dtype, copies(initial, dtype), 0

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name → extents."""
        return {name: array.shape for name, array in self.arrays.items()}

    def read(self, name: str) -> NDArray[Any]:
        """A copy."""
        return self.arrays[name].copy()

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Copies an array in."""
        self.arrays[name][...] = array
        self.version += 1


class Parameters(MutableMapping[str, NDArray[Any]]):
    """Name such as "groupnorm_1.scale" → array. Reading gives a read-only copy; assigning copies the values in."""

    def __init__(self, values: Values) -> None:
        self._values, self._shapes = values, dict(values.shapes)

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self._shapes:
            raise KeyError(f"there is no parameter {name!r}; there are {', '.join(self._shapes)}")
        return self._shapes[name]

    def __getitem__(self, name: str) -> NDArray[Any]:
        self._shape(name)
        copy = self._values.read(name)
        copy.flags.writeable = False
        return copy

    def __setitem__(self, name: str, value: Any) -> None:
        shape, array = self._shape(name), as_array(value, name)
        if array.shape != shape:
            raise ArrayError(f"{name} has shape {array.shape}; allowed: {shape}; give an array of that shape")
        self._values.write(name, array)

    def __delitem__(self, name: str) -> None:
        raise ArrayError(f"{name} cannot be deleted; parameters belong to the network; assign zeros instead")

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {self._values.dtype}{list(shape)}" for name, shape in self._shapes.items())


def copies(values: Mapping[str, Any], dtype: DTypeLike) -> dict[str, NDArray[Any]]:
    """Aligned copies of arrays."""
    result: dict[str, NDArray[Any]] = {}
    for name, value in values.items():
        result[name] = lasting(np.shape(value), dtype)
        result[name][...] = value
    return result
