"""Runs Programs: binds buffers to addresses once, then one call into compiled code per run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from gncodegen.allocation import address_of, lasting
from gncodegen.kernels.program import OUTPUT_KINDS, Call, Program, Reduction
from gncodegen.parallel.averaging import Averaging
from gncodegen.process import forks
from gncodegen.process.signals import imported
from gncodegen.runtime.arrays import numpy_type
from gncodegen.runtime.execution import Execution, Key
from gncodegen.runtime.state import HostValues

if TYPE_CHECKING:
    from gncodegen.targets.cpu.objects import LinkedKernel
    from gncodegen.targets.cpu.runner import Launches


MOST_COUNTS = 32
"""Numbers of observations whose launches a program keeps."""


class Arena:
    """The memory of intermediate buffers; programs share it, since nothing in it outlives a run.

    One run at a time may use it: hold `lock` around a run and the reading of outputs that a next run overwrites.
    """

    def __init__(self) -> None:
        self.lock = forks.lock(forks.Rank.RUN)
        self._memory = lasting(0, np.uint8)

        self.address = address_of(self._memory)
        """Where it starts; changes when it grows."""

    def reserve(self, size: int) -> None:
        """Makes room for `size` bytes."""
        with self.lock:  # a run may be using it
            if self._memory.nbytes < size:
                self._memory = lasting(size, np.uint8)
                self.address = address_of(self._memory)

    def part(self, begin: int, end: int) -> NDArray[np.uint8]:
        """The bytes from `begin` to `end`."""
        return self._memory[begin:end]


BYTES_PER_NANOSECOND = 10
FLOPS_PER_NANOSECOND = 20
"""Of one core, about."""


def cost(program: Program, call: Call) -> int:
    """Nanoseconds of a call on one core, about."""
    written = sum(program.buffers[call.arguments[slot]].bytes for slot in call.writes)
    return max(call.bytes, written) // BYTES_PER_NANOSECOND + call.flops // FLOPS_PER_NANOSECOND


def argument_table(calls: Sequence[Call]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Where addresses of each call begin, the place of every address, and the table's size: numbers stand in front."""
    numbers = np.array([len(call.numbers) for call in calls], np.int64)
    addresses = np.array([len(call.arguments) for call in calls], np.int64)
    starts = np.cumsum(numbers + addresses) - addresses
    places = [start + slot for start, count in zip(starts, addresses, strict=True) for slot in range(count)]
    return starts, np.array(places, np.int64), int((numbers + addresses).sum())


def set_numbers(argv: NDArray[np.int64], starts: NDArray[np.int64], program: Program, count: int) -> None:
    """Writes what kernels read at run time for the first `count` observations."""
    for start, call in zip(starts, program.calls, strict=True):
        for slot, number in enumerate(program.numbers(call, count), 1):
            argv[start - slot] = number


class Executor(Execution):
    """One program on this machine's CPU.

    Args:
        program: what to run.
        kernels: its linked kernels, by name.
        arena: the memory of its intermediate buffers.
        bound: arrays of the arguments that stay the same from run to run, by (kind, name).
        values: the parameters among them, which may be given another place; None where a program has none.
        averaging: what a program's reductions are made by.
    """

    def __init__(
        self,
        program: Program,
        kernels: Mapping[str, LinkedKernel],
        arena: Arena,
        bound: Mapping[Key, NDArray[Any]],
        values: HostValues | None = None,
        averaging: Averaging | None = None,
    ) -> None:
        super().__init__(program, arena.lock, values)
        self._averaging = averaging or Averaging()
        self._arena, self._kernels = arena, kernels  # in memory as long as they are held
        arena.reserve(program.arena_bytes)
        calls = program.calls
        self._functions = np.array([int(kernels[call.kernel]) for call in calls], np.int64)
        self._starts, self._places, size = argument_table(calls)
        roots = [program.root(i) for call in calls for i in call.arguments]
        self._roots = np.array(roots, np.int64)
        self._argv = np.zeros(max(1, size), np.int64)
        self._count = 0  # whose numbers stand in the table
        self._addresses = np.zeros(max(1, len(program.buffers)), np.int64)
        self._arena_buffers = np.array([i for i, b in enumerate(program.buffers) if b.kind == "arena"], np.int64)
        self._offsets = np.array([b.offset for b in program.buffers if b.kind == "arena"], np.int64)
        self._arena_address = -1  # so that the first run fills in every argument
        self._persistent, self._owner, self._moves = dict(bound), values, 0 if values is None else values.moves
        self._constants = lasting(program.constant_bytes, np.uint8)
        for index, buffer in enumerate(program.buffers):
            if buffer.kind == "constant":
                self._addresses[index] = address_of(self._constants) + buffer.offset
        self._launches: OrderedDict[tuple[int, int, int], Launches] = OrderedDict()
        self._start: Callable[[Launches], None]
        self._known: dict[int, ref[NDArray[Any]]] = {}
        self._hoisted, self._end, self._stops = program.hoisted, len(calls), program.stops
        self._results: dict[Key, NDArray[Any]] = {}
        self.free: dict[Key, int] = {}
        for key, index in program.arguments.items():
            if key in self._persistent:
                self._addresses[index] = address_of(self._persistent[key])
            else:
                self.free[key] = index
        places = [(int(place), root) for place, root in zip(self._places, roots, strict=True)]
        slots = {i: [place for place, root in places if root == i] for i in self.free.values()}
        self._slots = [(key, index, slots[index]) for key, index in self.free.items()]
        table: Any = self._argv
        self._table = memoryview(table)  # a number is written to it in half the time

    def _launched(self, count: int, begin: int, end: int) -> Launches:
        """What the runner takes for the first `count` observations, of the calls from `begin` to `end`."""
        key = (count, begin, end)
        if key not in self._launches:
            runner = imported("gncodegen.targets.cpu.runner")  # Numba loads when something runs
            kind, self._start = runner.Launches, runner.run
            program, calls = self.program, self.program.calls[begin:end]
            tiles = [program.grid(call, count) for call in calls]
            costs = [cost(program, call) * grid // max(call.grid, 1) for call, grid in zip(calls, tiles, strict=True)]
            columns = (tiles, [call.first for call in calls], costs)
            grids, firsts, weights = (np.array(column, np.int64) for column in columns)
            functions, starts = self._functions[begin:end], self._starts[begin:end]
            self._launches[key] = kind(functions, grids, firsts, weights, self._argv, starts)
            if len(self._launches) > MOST_COUNTS + len(program.stops):
                self._launches.popitem(last=False)
        return self._launches[key]

    def _execute(self, arguments: Mapping[Key, NDArray[Any]], hoisted: bool, count: int) -> None:
        self._bind(arguments, count)
        place, end = 0 if hoisted else self._hoisted, self._end
        if not self._stops:
            self._run(count, place, end)
            return
        for stop in self._stops:
            self._run(count, place, stop.place)
            place = stop.place
            for reduction in stop.begin:
                self._averaging.begin(self._reduced(reduction))
            if stop.finish:
                self._averaging.finish()
        self._run(count, place, end)
        self._averaging.finish()

    def _run(self, count: int, begin: int, end: int) -> None:
        """Does the calls from `begin` to `end`."""
        launched = self._launches.get((count, begin, end)) or self._launched(count, begin, end)
        if launched.alone is not None:
            launched.alone()
        else:
            self._start(launched)

    def _reduced(self, reduction: Reduction) -> NDArray[Any]:
        """The memory of a bucket, with what lies between its buffers."""
        dtype = self.program.buffers[self.program.root(reduction.buffers[0])].dtype
        return self._arena.part(*self.program.extent(reduction)).view(dtype)

    def _follow(self, owner: HostValues) -> None:
        """Takes over the places of parameters that were given another one."""
        moves = owner.moves
        for key, index in self.program.arguments.items():
            if key[0] in ("parameter", "state"):
                self._persistent[key] = array = owner.arrays[key[1]]
                self._addresses[index] = address_of(array)
        self._arena_address, self._moves = -1, moves

    def _bind(self, arguments: Mapping[Key, NDArray[Any]], count: int) -> None:
        """Puts the addresses of these arrays in their slots, and the numbers of so many observations."""
        if self._owner is not None and self._moves != self._owner.moves:
            self._follow(self._owner)
        # Whatever interrupts this, an address counts as known only when it stands in every slot.
        if self._arena_address != self._arena.address:
            self._addresses[self._arena_buffers] = self._offsets + self._arena.address
            self._argv[self._places] = self._addresses[self._roots]
            self._arena_address = self._arena.address
        for key, index, slots in self._slots:
            array = arguments.get(key)
            if array is None and (array := self._results.get(key)) is None:
                array = self.result(key)
            known = self._known.get(index)
            if known is None or known() is not array:
                self._known.pop(index, None)
                self._addresses[index] = place = address_of(array)
                for slot in slots:
                    self._table[slot] = place
                self._known[index] = ref(array)  # to ask an array for its address takes longer
        if count != self._count:
            self._count = 0
            set_numbers(self._argv, self._starts, self.program, count)
            self._count = count

    def result(self, key: Key) -> NDArray[Any]:
        """A result of the last run that no array was given for; the next run overwrites it.

        Raises:
            KeyError: the program has no such result.
        """
        if key not in self._results:
            if key[0] not in OUTPUT_KINDS:
                raise KeyError(f"the run needs an array for {key}")
            buffer = self.program.buffers[self.free[key]]
            self._results[key] = lasting(buffer.shape, numpy_type(buffer.dtype))
        return self._results[key]

    @property
    def constants(self) -> NDArray[np.uint8]:
        """The memory of "constant" buffers, as the last run left it."""
        return self._constants
