"""What a compiled network owns between runs: parameters, state, the solver's state and the run-time numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gncodegen.allocation import aligned, is_unchanging, lasting
from gncodegen.errors import ArrayError, OptionsError
from gncodegen.kernels.hyperparameters import COMMON_NUMBERS, COUNT, PARTS, slots
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.process.signals import Uninterrupted
from gncodegen.runtime.arrays import as_array
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.tables import alike, any_of, near

_OWN = ("solver", "steps", "array", "_slots", "_rules")
"""Attributes of Hyperparameters that are not numbers of a step."""


class Hyperparameters:
    """The numbers a step reads at run time, in the buffer that kernels see: `hyperparameters["momentum"] = 0.5`.

    Args:
        solver: whose numbers they are, beside those that all solvers read.
        seed: of dropout.
        steps: that the solver's state has seen already.
        values: others than the defaults, by name.
    """

    def __init__(self, solver: str = "sgdm", seed: int = 0, steps: int = 0, **values: float) -> None:
        self.solver, self.steps = SOLVERS[solver], steps
        self.array: NDArray[np.float64] = aligned(COUNT, np.float64)
        self.array[:] = 0
        self._slots = slots(solver)
        self._rules = {each.name: each for each in (*COMMON_NUMBERS, *self.solver.hyperparameters)}
        defaults = {name: rule.default for name, rule in self._rules.items()}
        self.update(defaults | {"learn_rate": self.solver.initial_learn_rate, "seed": seed} | values)

    def __getitem__(self, name: str) -> float:
        return float(self.array[self._slot(name)])

    def __setitem__(self, name: str, value: float) -> None:
        self.update({name: value})

    def update(self, values: Mapping[str, float]) -> None:
        """Sets several numbers, or none.

        Raises:
            OptionsError: one is out of range.
        """
        slots = {self._slot(name): self._allowed(name, value) for name, value in values.items()}
        with Uninterrupted():
            for slot, value in slots.items():
                self.array[slot] = value
            self._compute_scalars()

    def _allowed(self, name: str, value: Any) -> float:
        rule = self._rules[name]
        if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
            with suppress(OverflowError):
                number = float(value)
                if rule.holds(number) and (number < math.inf or rule.default == math.inf):
                    return number
        raise OptionsError(
            f"hyperparameter {name} = {value!r}; allowed: {rule.allowed}; write hyperparameters[{name!r}] = "
            f"{rule.default:g}"
        )

    def _slot(self, name: str) -> int:
        if name not in self._slots or name in self.solver.scalars:
            raise KeyError(self._unknown(name))
        return self._slots[name]

    def _unknown(self, name: str) -> str:
        """Why there is no such number, and which is meant."""
        close = alike(name, self.values())
        cure = f"; write {any_of(close)}" if close else ""
        return f"solver {self.solver.name!r} has no hyperparameter {name!r}; there are {', '.join(self.values())}{cure}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what copying and pickling ask for
            raise AttributeError(name)
        raise AttributeError(f"{self._unknown(name)}; numbers are read by name: hyperparameters[name]")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _OWN and not hasattr(type(self), name):
            raise AttributeError(f"{self._unknown(name)}; numbers are set by name: hyperparameters[name] = …")
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={value:g}" for name, value in self.values().items())
        return f"Hyperparameters({self.solver.name}: {numbers})"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.values())

    def values(self) -> dict[str, float]:
        """All that can be set, by name."""
        return {name: float(self.array[slot]) for name, slot in self._slots.items() if name not in self.solver.scalars}

    @property
    def learn_rate(self) -> float:
        """The base learning rate."""
        return self["learn_rate"]

    @learn_rate.setter
    def learn_rate(self, value: float) -> None:
        self["learn_rate"] = value

    @property
    def iteration(self) -> int:
        """The number of the step; with the seed it decides the dropout masks."""
        return int(self["iteration"])

    @iteration.setter
    def iteration(self, value: int) -> None:
        self["iteration"] = value

    @contextmanager
    def at(self, iteration: int | None) -> Generator[None, None, None]:
        """Within it, the dropout masks are those of that iteration; None = those of the present one."""
        present = self.iteration
        try:
            self.iteration = present if iteration is None else iteration
            yield
        finally:
            self.iteration = present

    @contextmanager
    def part(self, number: int, parts: int, share: float, summed: float) -> Generator[None, None, None]:
        """Within it, a step sees one part of a mini-batch, which has dropout masks of its own.

        Args:
            number: of the part, from 0.
            parts: how many there are.
            share: its observations over those of the mini-batch.
            summed: those of the parts before, likewise.
        """
        with self.at(self.iteration * parts + number):
            self.array[PARTS["share"]], self.array[PARTS["summed"]] = share, summed
            yield

    def advance(self) -> None:
        """After a step: the numbers of the next one."""
        self.steps += 1
        self.array[self._slots["iteration"]] += 1
        self._compute_scalars()

    def _compute_scalars(self) -> None:
        """What follows from the others for the next step."""
        if self.solver.scalars:
            values = self.values()
            for name, scalar in self.solver.scalars.items():
                self.array[self._slots[name]] = scalar(values, self.steps + 1)


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

    def place(self, name: str) -> Any:
        """The array where it lies, not copied: of the host, or a DeviceArray."""
        ...

    def read(self, name: str) -> NDArray[Any]:
        """A copy on the host."""
        ...

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Copies an array of that shape in."""
        ...


class HostValues:
    """Arrays in host memory, where kernels of the CPU read them.

    Those of layers that nobody can change are read where they are, until one is written: then it is copied.

    Args:
        initial: their values.
        dtype: element type of all.
    """

    def __init__(self, initial: Mapping[str, Any], dtype: str) -> None:
        self.dtype, self.version = dtype, 0
        self.arrays = {name: _kept(value, dtype) for name, value in initial.items()}

        self.moves = 0
        """Counts the times that one of them was given another place."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name → extents."""
        return {name: array.shape for name, array in self.arrays.items()}

    def place(self, name: str) -> NDArray[Any]:
        """The array itself, which the caller may write."""
        if not self.arrays[name].flags.writeable:
            self.arrays[name] = _copy(self.arrays[name], self.dtype)
            self.moves += 1
        return self.arrays[name]

    def read(self, name: str) -> NDArray[Any]:
        """A copy."""
        return self.arrays[name].copy()

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Copies an array in."""
        try:
            self.place(name)[...] = array
        finally:
            self.version += 1


class Parameters(MutableMapping[str, NDArray[Any]]):
    """Name such as "groupnorm_1.scale" → array. Reading gives a read-only copy; assigning copies the values in.

    Args:
        values: all of them.
        statistics: those of input layers, which are kept in float64, too.
        import_device_array: as that of ArrayConversion.
    """

    def __init__(
        self,
        values: Values,
        statistics: Mapping[str, NDArray[np.float64]],
        import_device_array: Callable[[Any, str], DeviceArray | None],
    ) -> None:
        self._values, self._shapes, self._import_device_array = values, dict(values.shapes), import_device_array
        self.statistics: dict[str, NDArray[np.float64]] = dict(statistics)

    @property
    def stored(self) -> Values:
        """The arrays where they lie."""
        return self._values

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self._shapes:
            raise KeyError(f"there is no parameter {name!r}; write {any_of(near(name, self._shapes))}")
        return self._shapes[name]

    def __getitem__(self, name: str) -> NDArray[Any]:
        self._shape(name)
        copy = self._values.read(name)
        copy.flags.writeable = False
        return copy

    def on_host(self, name: str, value: Any) -> NDArray[Any]:
        """What is to be written, fetched from a GPU if it lies there.

        Raises:
            ArrayError: it is no array of numbers that can be reached.
        """
        there = self._import_device_array(value, name)
        return as_array(value if there is None else there.numpy(), name)

    def __setitem__(self, name: str, value: Any) -> None:
        shape, array = self._shape(name), self.on_host(name, value)
        if array.shape != shape:
            raise ArrayError(f"{name} has shape {array.shape}; allowed: {shape}; give an array of that shape")
        self._values.write(name, array)
        if name in self.statistics:
            self.statistics[name] = np.array(array, np.float64)

    def __delitem__(self, name: str) -> None:
        raise ArrayError(f"{name} cannot be deleted; parameters belong to the network; assign zeros instead")

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {self._values.dtype}{list(shape)}" for name, shape in self._shapes.items())


def _kept(value: Any, dtype: DTypeLike) -> NDArray[Any]:
    """An array that stays as it is, itself where nobody can change it."""
    shared = isinstance(value, np.ndarray) and is_unchanging(value) and value.dtype == np.dtype(dtype)
    return value if shared else _copy(value, dtype)


def _copy(value: Any, dtype: DTypeLike) -> NDArray[Any]:
    """An aligned copy."""
    result = lasting(np.shape(value), dtype)
    result[...] = value
    return result
