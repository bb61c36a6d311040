"""A network that runs without this package: its memory, its launches, its arrays in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gncodegen.allocation import ALIGNMENT, address_of, aligned, lasting
from gncodegen.exchange.standalone.linking import linked
from gncodegen.exchange.standalone.weights import NORMALIZATION, stored
from gncodegen.kernels.schedule import Order
from gncodegen.runtime.input_normalization import InputNormalization
from gncodegen.runtime.pool import ALIGNED_FROM, POOL
from gncodegen.targets.cpu.runner import Launches, run

Key = tuple[str, str]
"""(kind, name) of a buffer."""

Arrays = dict[Key, NDArray[Any]]

NORMALIZED = "_normalized"
"""Behind the name of a function: the one whose inputs are normalized in float64 before it runs."""

MOST_COUNTS = 8
"""Numbers of observations whose launches are kept."""


class Buffer(NamedTuple):
    """An array that kernels read or write; those of kind "arena" and "constant" lie at `offset` of one memory."""

    kind: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int = 0


class Launch(NamedTuple):
    """A kernel over `grid` tiles, the first of which is `first`; `cost` is nanoseconds on one core, about.

    It reads `numbers`, which stand in front of the addresses of its buffers, last first. `order` says how tiles and
    numbers follow the observations of a run; () = they do not.
    """

    kernel: Callable[[], Any]
    buffers: tuple[int, ...]
    grid: int
    first: int
    cost: int
    numbers: tuple[int, ...] = ()
    order: tuple[int, ...] = ()


class Function(NamedTuple):
    """Launches in order; the first `hoisted` depend on parameters alone."""

    buffers: Sequence[Buffer]
    launches: Sequence[Launch]
    hoisted: int
    arena_bytes: int
    constant_bytes: int


class Port(NamedTuple):
    """An input or an output: its buffer's key, how callers name it, and the shape of one observation of theirs."""

    key: Key
    name: str
    shape: tuple[int, ...]


class Program:
    """A function of the network, its kernels compiled for this processor.

    Args:
        function: what to run.
        persistent: arrays that stay from run to run, by key.
    """

    def __init__(self, function: Function, persistent: Mapping[Key, NDArray[Any]]) -> None:
        memory = {
            "arena": lasting(function.arena_bytes, np.uint8),
            "constant": lasting(function.constant_bytes, np.uint8),
        }
        self._held = memory, persistent
        self._is_ready = False
        self.batch = max((each.shape[0] for each in function.buffers if each.kind == "input"), default=1)
        self.in_order = all(launch.order for launch in function.launches[function.hoisted :])
        self._function, self._count = function, 0
        words, slots, first = list[int](), list[tuple[int, int]](), list[int]()
        for launch in function.launches:
            words += reversed(launch.numbers)
            first.append(len(words))
            slots += enumerate(launch.buffers, len(words))
            words += [0] * len(launch.buffers)
        self._starts = np.array(first, np.int64)
        self._argv = np.array(words or [0], np.int64)
        self._slots: dict[Key, list[int]] = {}
        for slot, index in slots:
            buffer = function.buffers[index]
            key = (buffer.kind, buffer.name)
            if buffer.kind in memory:
                self._argv[slot] = memory[buffer.kind].ctypes.data + buffer.offset
            elif key in persistent:
                self._argv[slot] = persistent[key].ctypes.data
            else:
                self._slots.setdefault(key, []).append(slot)
        kernels = list(dict.fromkeys(launch.kernel for launch in function.launches))
        self._kernels = dict(zip(kernels, linked((each.__name__, each()) for each in kernels), strict=True))
        self._constant = self._launches(slice(0, function.hoisted), self.batch)
        self._runs: dict[int, Launches] = {}

    def _launches(self, part: slice, count: int) -> Launches:
        """What the runner takes for the first `count` observations, of a part of the launches."""
        rows: list[tuple[int, int, int, int]] = []
        for each in self._function.launches[part]:
            grid = Order(*each.order).grid(count, each.first, each.grid) if count < self.batch else each.grid
            cost = each.cost * grid // max(each.grid, 1)
            rows.append((self._kernels[each.kernel].address, grid, each.first, cost))
        functions, grids, firsts, costs = np.array(rows, np.int64).reshape(-1, 4).T.copy()
        return Launches(functions, grids, firsts, costs, self._argv, self._starts[part])

    def _launches_of(self, count: int) -> Launches:
        """Those of a run of so many observations; the last few are kept."""
        if count not in self._runs:
            while len(self._runs) >= MOST_COUNTS:
                del self._runs[next(iter(self._runs))]
            self._runs[count] = self._launches(slice(self._function.hoisted, None), count)
        return self._runs[count]

    def renew(self) -> None:
        """Says that parameters have changed."""
        self._is_ready = False

    def run(self, places: Mapping[Key, int], count: int) -> None:
        """One run over the first `count` observations: a whole batch, unless the launches are in order.

        The first run that comes to its end has done what depends on parameters alone.

        Args:
            places: addresses of the arrays that are of this run alone.
            count: observations.
        """
        for key, slots in self._slots.items():
            for slot in slots:
                self._argv[slot] = places[key]
        if count != self._count:
            for launch, start in zip(self._function.launches, self._starts, strict=True):
                for slot, number in enumerate(launch.numbers, 1):
                    self._argv[start - slot] = number * count // self.batch if launch.order else number
            self._count = count
        if not self._is_ready:
            run(self._constant)
            self._is_ready = True
        run(self._launches_of(count))


class Network:
    """Functions that share parameters; a Program of each is made when it is first asked for.

    Args:
        weights: file of the parameters, by name.
        functions: by name; "predict" is one.
        inputs, outputs: the arrays of prediction.
    """

    def __init__(
        self, weights: Path, functions: Mapping[str, Function], inputs: Sequence[Port], outputs: Sequence[Port]
    ) -> None:
        self._weights, self._functions, self._inputs, self._outputs = weights, functions, inputs, outputs
        self._lock = RLock()
        self._persistent: dict[Key, NDArray[Any]] = {}
        self._is_loaded = False
        self._programs: dict[str, Program] = {}
        self._names = [port.name for port in inputs]
        self._buffers = {(each.kind, each.name): each for each in functions["predict"].buffers}
        self._dtypes = {port.key: np.dtype(self._buffers[port.key].dtype) for port in (*inputs, *outputs)}

    def _program(self, name: str) -> Program:
        """The Program of a function."""
        if name not in self._programs:
            self._load()
            self._programs[name] = Program(self._functions[name], self._persistent)
        return self._programs[name]

    def _load(self) -> None:
        """Reads the parameters, unless they are here."""
        if self._is_loaded:
            return
        arrays: dict[Key, NDArray[Any]] = {}
        buffers = {name: each for function in self._functions.values() for each in function.buffers
                   if (name := stored(each.kind, each.name))}  # fmt: skip
        with np.load(self._weights, allow_pickle=False) as found:
            for name, buffer in buffers.items():
                array = found[name]
                if array.shape != buffer.shape or array.dtype != buffer.dtype:
                    given, wanted = f"{array.dtype} {array.shape}", f"{buffer.dtype} {buffer.shape}"
                    raise ValueError(f"{self._weights}: {name} is {given}; allowed: {wanted}")
                arrays[buffer.kind, buffer.name] = memory = lasting(buffer.shape, buffer.dtype)
                memory[...] = array
        self._persistent |= arrays
        self._is_loaded = True

    def predict(self, *x: Any) -> Any:
        """The outputs for any number of observations.

        Args:
            x: an array of each input, in their order, or one mapping of their names to arrays.

        Returns:
            One array, or a tuple where there are several outputs.

        Raises:
            ValueError: x does not fit the inputs.
        """
        if (y := self._direct(*x)) is not None:
            return y
        name, given = self._given("predict", x)
        count = len(given[self._inputs[0].key])
        results = {port.key: POOL.array((count, *port.shape), self._dtypes[port.key]) for port in self._outputs}
        with self._lock:
            program = self._program(name)
            for begin in range(0, count, program.batch):
                self._run(program, given, results, begin, min(program.batch, count - begin))
        found = tuple(results.values())
        return found[0] if len(found) == 1 else found

    def _direct(self, *x: Any) -> NDArray[Any] | None:
        """The output for an array that kernels read as it is, in one run; None where there is more to do."""
        program = self._programs.get("predict")
        if program is None or not program.in_order or not len(x) == len(self._inputs) == len(self._outputs) == 1:
            return None
        (array,), (source,), (target,) = x, self._inputs, self._outputs
        if type(array) is not np.ndarray or array.dtype != self._dtypes[source.key]:
            return None
        if array.shape[1:] != source.shape or not array.flags.carray or not 0 < len(array) <= program.batch:
            return None
        y = POOL.array((len(array), *target.shape), self._dtypes[target.key])
        with self._lock:
            program.run({source.key: address_of(array), target.key: address_of(y)}, len(array))
        return y

    def _run(self, program: Program, given: Arrays, results: Arrays, begin: int, rows: int) -> None:
        """One run over some observations, which kernels read and write where they lie if they can."""
        whole = rows == program.batch or program.in_order
        places: dict[Key, int] = {}
        staged: dict[Key, NDArray[Any]] = {}
        for key, array in (given | results).items():
            places[key] = address_of(array) + begin * array.strides[0]
            # Kernels may store past the caches what they write, and only to the start of a line.
            misplaced = key in results and places[key] % ALIGNMENT and array.nbytes >= ALIGNED_FROM
            if misplaced or not whole:
                staged[key] = _padded(array[begin : begin + rows], self._buffers[key])
                places[key] = address_of(staged[key])
        program.run(places, rows if whole else program.batch)
        for key in staged.keys() & results.keys():
            part = results[key][begin : begin + rows]
            part[...] = staged[key][:rows].reshape(part.shape)

    def _given(self, function: str, x: tuple[Any, ...]) -> tuple[str, dict[Key, NDArray[Any]]]:
        """The function to run, and the observations by key, checked."""
        names = self._names
        if len(x) == 1 and isinstance(x[0], Mapping):
            if sorted(x[0]) != sorted(names):
                raise ValueError(f"arrays for {', '.join(x[0])}; allowed: one for each of {', '.join(names)}")
            x = tuple(x[0][name] for name in names)
        if len(x) != len(names):
            raise ValueError(f"{len(x)} arrays; allowed: one for each of {', '.join(names)}, in this order")
        arrays = [np.asarray(value) for value in x]
        for port, array in zip(self._inputs, arrays, strict=True):
            if array.shape[1:] != port.shape or not array.ndim or not len(array):
                wanted = ("N", *port.shape)
                raise ValueError(f"{port.name} has shape {array.shape}; allowed: ({', '.join(map(str, wanted))})")
        if len({len(array) for array in arrays}) > 1:
            raise ValueError(f"the inputs {', '.join(names)} have different numbers of observations; give as many")
        ports = list(zip(self._inputs, arrays, strict=True))
        is_wide = any(not np.can_cast(array.dtype, self._dtypes[port.key]) for port, array in ports)
        if not is_wide or function + NORMALIZED not in self._functions:
            return function, {port.key: self._converted(port.key, array) for port, array in ports}
        with self._lock:
            self._load()
        return function + NORMALIZED, {port.key: self._normalized(port.key, array) for port, array in ports}

    def _converted(self, key: Key, array: NDArray[Any]) -> NDArray[Any]:
        """The observations of an input as kernels read them."""
        array = np.ascontiguousarray(array, self._dtypes[key])
        return array if array.flags.aligned else array.copy()

    def _normalized(self, key: Key, array: NDArray[Any]) -> NDArray[Any]:
        """The same, normalized in float64 where the input has a normalization."""
        keys = [(NORMALIZATION, f"{key[1]}.{number.name}") for number in fields(InputNormalization)]
        if not self._persistent.keys() >= set(keys):
            return self._converted(key, array)
        numbers: list[Any] = [self._persistent[each] for each in keys]
        y = np.empty(array.shape, self._dtypes[key])
        InputNormalization(*numbers)(array, y)
        return y


def _padded(array: NDArray[Any], buffer: Buffer) -> NDArray[Any]:
    """The rows of a batch: those of an array, then zeros."""
    rows = aligned(buffer.shape, buffer.dtype)
    rows[: len(array)] = array.reshape(len(array), *buffer.shape[1:])
    return rows
