"""Runs Programs on a device: everything at fixed addresses, so that a run is one prepared piece of work."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import TargetError
from gncodegen.kernels.program import OUTPUT_KINDS, Buffer, Program, Reduction
from gncodegen.parallel.averaging import Averaging
from gncodegen.process import forks
from gncodegen.runtime.arrays import numpy_type
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.runtime.execution import Execution, Key
from gncodegen.runtime.state import Values
from gncodegen.targets.cuda.hyperparameters import BYTES, device_block
from gncodegen.targets.device import Allocation, Bytes, Device, DeviceLaunch, LoadedKernel, Work

Array = NDArray[Any] | DeviceArray

MOST_GRAPHS = 8
"""Prepared pieces of work of one program: one for each set of addresses, and number of observations, used in turn."""

MOST_IN_FLIGHT = 8
"""Runs that may be under way while the caller goes on."""


ON_HOST, MISALIGNED = 0, -1
"""In the place of an input's address: it comes from host memory, or from device memory that kernels cannot read."""

WIDEST = 16
"""Bytes of a kernel's widest load, which must start on such a boundary."""


def _place(array: Array) -> int:
    """Where kernels read an input: its address, or how it gets to the staging memory."""
    if not isinstance(array, DeviceArray):
        return ON_HOST
    return MISALIGNED if array.address % WIDEST else array.address


def _viewed(staged: Bytes, array: NDArray[Any]) -> NDArray[Any]:
    """The first bytes of staging memory as an array like this one, which may have fewer observations."""
    return staged[: array.nbytes].view(array.dtype).reshape(array.shape)


def label(key: Key) -> str:
    """How faults name an argument: "x", "gradient conv_1.weights"."""
    return key[1] if key[0] in ("input", "target", "output", "loss") else " ".join(key)


class DeviceArena:
    """The memory of intermediate buffers; programs share it, since nothing in it outlives a run.

    One run at a time may use it: hold `lock` around a run and the reading of results that a next run overwrites.
    """

    def __init__(self, device: Device) -> None:
        self.lock = forks.lock(forks.Rank.RUN)
        self._device, self._size = device, 0
        self._allocation: Allocation | None = None

    def reserve(self, size: int) -> None:
        """Makes room for `size` bytes; where it fails, the next run asks for what it needs.

        Raises:
            TargetError: the device has too little memory.
        """
        with self.lock:
            if self._allocation is not None and size <= self._size:
                return
            self._device.synchronize()
            self._allocation = None  # given back before the larger one is asked for
            self._allocation = self._device.allocate({"arena": size})
            self._size = size

    @property
    def address(self) -> int:
        """Where it starts; changes when it grows."""
        assert self._allocation is not None
        return self._allocation.addresses["arena"]


class DeviceHyperparameters:
    """The run-time numbers in device memory, sent when they changed.

    A run may still be reading the block of the one before, so the host side has a few blocks in turn.
    """

    def __init__(self, device: Device, values: NDArray[np.float64]) -> None:
        self._device, self._values = device, values
        self._allocation = device.allocate({"hyperparameters": BYTES})
        self._sent = np.full_like(values, np.nan)
        staging = device.staging({str(turn): BYTES for turn in range(MOST_IN_FLIGHT)})
        self._blocks = deque((block, _nothing) for block in staging.values())

    @property
    def address(self) -> int:
        """Of the block."""
        return self._allocation.addresses["hyperparameters"]

    def send(self) -> None:
        """Uploads the numbers if they changed since the last time."""
        if np.array_equal(self._sent, self._values):
            return
        block, passed = self._blocks.popleft()
        passed()
        block[:] = device_block(self._values)
        self._device.upload_later(self.address, block)
        self._blocks.append((block, self._device.mark()))
        self._sent[:] = self._values


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class _Staged:
    """Device memory of some arguments, and host memory to copy from or to."""

    allocation: Allocation
    host: Mapping[str, Bytes]


class DeviceExecutor(Execution):
    """One program on a device.

    Host arrays are copied in and out, and a run is over when `run` returns; device arrays are read where they are, and
    results copied to device arrays, in the order of the device's stream. Results that no array is given for stay there.

    Args:
        program: what to run.
        kernels: its loaded kernels, by name.
        device: where.
        arena: the memory of its intermediate buffers.
        bound: addresses of the arguments that stay the same from run to run, by (kind, name).
        hyperparameters: sent before a run that reads them.
        values: the parameters among the bound arguments; None where nobody changes them.
        averaging: what the program's reductions are made by.

    Raises:
        TargetError: the device cannot hold all blocks of a launch whose blocks wait for each other.
    """

    def __init__(
        self,
        program: Program,
        kernels: Mapping[str, LoadedKernel],
        device: Device,
        arena: DeviceArena,
        bound: Mapping[Key, int],
        hyperparameters: DeviceHyperparameters,
        values: Values | None = None,
        averaging: Averaging | None = None,
    ) -> None:
        super().__init__(program, arena.lock, values)
        self._averaging = averaging or Averaging()
        _check_grids(program, kernels)
        self._kernels, self._device, self._arena = kernels, device, arena
        arena.reserve(program.arena_bytes)
        self._hyperparameters = hyperparameters
        self._constants = device.allocate({"constants": program.constant_bytes})
        self._hoisted: tuple[int, Callable[[], None]] | None = None  # and the address of the arena it was made for
        arguments = program.arguments
        used = {program.root(index) for call in program.calls for index in call.arguments}
        self._reads_hyperparameters = any(program.buffers[index].kind == "hyperparameters" for index in used)
        self._persistent = {index: bound[key] for key, index in arguments.items() if key in bound}
        free = {key: program.buffers[index] for key, index in arguments.items() if key not in bound}
        self._inputs = {key: buffer for key, buffer in free.items() if key[0] not in OUTPUT_KINDS}
        self._outputs = {key: buffer for key, buffer in free.items() if key[0] in OUTPUT_KINDS}
        self._staged_inputs: _Staged | None = None
        self._staged_outputs = self._stage(self._outputs)
        self._works: OrderedDict[tuple[object, ...], Sequence[Callable[[], None]]] = OrderedDict()
        self._in_flight: deque[tuple[Callable[[], None], Any]] = deque()
        self._fresh = _fresh_slots(program)

    def _stage(self, buffers: Mapping[Key, Buffer]) -> _Staged:
        sizes = {label(key): buffer.bytes for key, buffer in buffers.items()}
        return _Staged(self._device.allocate(sizes), self._device.staging(sizes))

    def _execute(self, arguments: Mapping[Key, Array], hoisted: bool, count: int) -> None:
        self._arena.reserve(self.program.arena_bytes)
        inputs = {key: arguments[key] for key in self._inputs}
        addresses = tuple(map(_place, inputs.values()))
        wanted = {key: each.nbytes for key in self._outputs if isinstance(each := arguments.get(key), np.ndarray)}
        if min(addresses, default=1) <= 0:
            self._fill_staging(inputs)
        if self._reads_hyperparameters:
            self._hyperparameters.send()
        if self.program.hoisted and hoisted:
            if self._hoisted is None or self._hoisted[0] != self._arena.address:
                calls = slice(self.program.hoisted)
                launches = self._launches(self._persistent, self.program.batch_size, calls)
                self._hoisted = self._arena.address, self._prepared(Work((), launches, ()))
            self._hoisted[1]()
        self._start(self._work(addresses, wanted, count))
        for key in self._outputs:
            given = arguments.get(key)
            if isinstance(given, DeviceArray):
                self._device.copy(self._staged_outputs.allocation.addresses[label(key)], given.address, given.nbytes)
        passed = self._device.mark()
        self._averaging.wait()
        if not wanted:
            self._hold(passed, inputs)
            return
        passed()
        self._in_flight.clear()
        for key in wanted:
            array = arguments[key]
            assert isinstance(array, np.ndarray)
            array[...] = _viewed(self._staged_outputs.host[label(key)], array)

    def _start(self, pieces: Sequence[Callable[[], None]]) -> None:
        """Starts the pieces of a run, and the averages between them."""
        for piece, stop in zip(pieces, self.program.stops, strict=False):
            piece()
            for reduction in stop.begin:
                self._averaging.begin(self._reduced(reduction))
            if stop.finish:
                self._averaging.finish()
        pieces[-1]()
        if self.program.reductions:
            self._averaging.finish()

    def _reduced(self, reduction: Reduction) -> DeviceArray:
        """The memory of a bucket, with what lies between its buffers."""
        begin, end = self.program.extent(reduction)
        dtype = np.dtype(self.program.buffers[self.program.root(reduction.buffers[0])].dtype)
        count = (end - begin) // dtype.itemsize
        return DeviceArray(self._device, self._arena.address + begin, (count,), dtype, self._arena)

    def result(self, key: Key) -> NDArray[Any]:
        """A result of the last run, on the host."""
        buffer = self._outputs[key]
        array = np.empty(buffer.shape, numpy_type(buffer.dtype))
        self._device.download(self._staged_outputs.allocation.addresses[label(key)], array)
        return array

    def _hold(self, passed: Callable[[], None], arrays: object) -> None:
        """Keeps a run's arrays until it is over: their owner may hand out their memory again."""
        self._in_flight.append((passed, arrays))
        if len(self._in_flight) > MOST_IN_FLIGHT:
            self._in_flight.popleft()[0]()

    def _fill_staging(self, inputs: Mapping[Key, Array]) -> None:
        """Host arrays into the host's staging memory, arrays that lie askew on the device into the device's."""
        if self._staged_inputs is None:
            self._staged_inputs = self._stage(self._inputs)
        while self._in_flight:  # a run under way may still be reading it
            self._in_flight.popleft()[0]()
        for key, array in inputs.items():
            if isinstance(array, np.ndarray):
                np.copyto(_viewed(self._staged_inputs.host[label(key)], array), array)
            elif _place(array) == MISALIGNED:
                self._device.copy(array.address, self._staged_inputs.allocation.addresses[label(key)], array.nbytes)

    # ---- prepared work -------------------------------------------------------------------------------------------

    def _work(self, addresses: tuple[int, ...], wanted: Mapping[Key, int], count: int) -> Sequence[Callable[[], None]]:
        """The work for inputs at these addresses, so many observations, and so many bytes of results to the host.

        It is in pieces: a run stops between them because of reductions.
        """
        key = (self._arena.address, addresses, count, *wanted.items())
        if key not in self._works:
            self._works[key] = [self._prepared(work) for work in self._planned(addresses, wanted, count)]
            if len(self._works) > MOST_GRAPHS:
                self._device.synchronize()
                self._works.popitem(last=False)
        self._works.move_to_end(key)
        return self._works[key]

    def _prepared(self, work: Work) -> Callable[[], None]:
        return self._device.prepare(work)

    def _planned(self, addresses: tuple[int, ...], wanted: Mapping[Key, int], count: int) -> list[Work]:
        program, places, uploads = self.program, dict(self._persistent), list[tuple[Bytes, int]]()
        staged, rows, batch = self._staged_inputs, self.program.rows(count), self.program.batch_size
        for (key, buffer), address in zip(self._inputs.items(), addresses, strict=True):
            if address <= 0:
                assert staged is not None
                place = staged.allocation.addresses[label(key)]
                held = buffer.bytes * rows // batch
                uploads += [(staged.host[label(key)][:held], place)] if address == ON_HOST else []
            else:
                place = address
            places[program.arguments[key]] = place
        outputs = self._staged_outputs
        for key in self._outputs:
            places[program.arguments[key]] = outputs.allocation.addresses[label(key)]
        downloads = tuple(
            (outputs.allocation.addresses[label(key)], outputs.host[label(key)][:nbytes])
            for key, nbytes in wanted.items()
        )
        edges = [program.hoisted, *(stop.place for stop in program.stops), len(program.calls)]
        pieces = [Work((), self._launches(places, count, slice(*each)), ()) for each in pairwise(edges)]
        pieces[0] = replace(pieces[0], uploads=tuple(uploads))
        pieces[-1] = replace(pieces[-1], downloads=downloads)
        return pieces

    def _launches(self, arguments: Mapping[int, int], count: int, chosen: slice) -> tuple[DeviceLaunch, ...]:
        """Some of the calls, on arguments at these addresses, for the first `count` observations."""
        program, places = self.program, dict(arguments)
        starts = {"arena": self._arena.address, "constant": self._constants.addresses["constants"]}
        for index, buffer in enumerate(program.buffers):
            if buffer.kind in starts:
                places[index] = starts[buffer.kind] + buffer.offset
        return tuple(
            DeviceLaunch(
                self._kernels[call.kernel],
                program.grid(call, count),
                tuple(places[program.root(index)] for index in call.arguments),
                call.first,
                program.numbers(call, count),
                call.kernel,
                call.layers,
                tuple((self._arena.address + offset, nbytes) for offset, nbytes in fresh),
            )
            for call, fresh in zip(program.calls[chosen], self._fresh[chosen], strict=True)
        )


def _check_grids(program: Program, kernels: Mapping[str, LoadedKernel]) -> None:
    for call in program.calls:
        most = kernels[call.kernel].most_blocks
        if most is not None and call.grid > most:
            layers = " + ".join(call.layers) or call.kernel
            raise TargetError(
                f"{layers}: kernel {call.kernel} has {call.grid} blocks that wait for each other, and the GPU holds "
                f"{most} of them at once; allowed: all at once; lift the limits of this process (MPS, MIG), or compile "
                "with another batch_size"
            )


def _fresh_slots(program: Program) -> list[Sequence[tuple[int, int]]]:
    """For each call, (offset, bytes) in the arena of the buffers whose life starts with it.

    Where such a buffer takes the place of one that the same call reads, the shared bytes are left out.
    """
    lives = program.lifetimes()
    fresh: list[Sequence[tuple[int, int]]] = []
    for position in range(len(program.calls)):
        born = [index for index, (first, _) in lives.items() if first == position]
        living = [index for index, (first, last) in lives.items() if first < position <= last]
        taken = sorted((program.buffers[i].offset, program.buffers[i].bytes) for i in living)
        slots: list[tuple[int, int]] = []
        for index in born:
            begin = program.buffers[index].offset
            end = begin + program.buffers[index].bytes
            for offset, nbytes in taken:
                if offset < end and begin < offset + nbytes:
                    if begin < offset:
                        slots.append((begin, offset - begin))
                    begin = min(max(begin, offset + nbytes), end)
            if begin < end:
                slots.append((begin, end - begin))
        fresh.append(slots)
    return fresh
