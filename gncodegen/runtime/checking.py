"""GNCODEGEN_CHECK=1 on the CPU: every buffer in memory of its own, poisoned, between guards that are looked at.

Poison is a NaN whose bits arithmetic hands on and does not make; each buffer has one of its own, in its guards too.
What a kernel reads and nobody wrote, or reads beyond an end, so reaches the results; a write beyond an end changes a
guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.allocation import address_of, aligned
from gncodegen.errors import CheckError
from gncodegen.kernels.program import OUTPUT_KINDS
from gncodegen.process.signals import imported
from gncodegen.runtime.arrays import numpy_type
from gncodegen.runtime.execution import Key
from gncodegen.runtime.executor import Executor, set_numbers

GUARD = 4096
"""Bytes before and behind each buffer."""

_PAYLOAD = {
    "float16": (np.uint16, 0x7FC0), "bfloat16": (np.uint16, 0x7FF8), "float32": (np.uint32, 0x7FF80000),
    "float64": (np.uint64, 0x7FFF000000000000),
}  # fmt: skip
"""Bits that are all set in poison, also after a conversion to another type and back: a NaN's, four of its payload."""

_WORD = {2: (np.uint16, 0xFFF8), 4: (np.uint32, 0xFFFF0000)}
"""Bytes of an element → poison, whose other bits are each buffer's own."""

_numbers = count()


class Guarded:
    """Poisoned memory between two guards.

    Args:
        size: in bytes, without the guards.
        dtype: of the elements, each of which is poison.
    """

    def __init__(self, size: int, dtype: str) -> None:
        self._whole = aligned(size + 2 * GUARD, np.uint8)
        self._step = min(4, numpy_type(dtype).itemsize)
        kind, bits = _WORD[max(2, self._step)]
        word = np.array([bits | next(_numbers) & (~bits & np.iinfo(kind).max)], kind)
        self._poison = np.resize(word.view(np.uint8), self._whole.size)
        self._whole[:] = self._poison
        self.memory = self._whole[GUARD : GUARD + size]

    def array(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """The memory as an array."""
        return self.memory.view(numpy_type(dtype)).reshape(shape)

    @property
    def fault(self) -> str:
        """Where somebody wrote beyond an end; "" = nowhere."""
        changed = self._whole != self._poison
        before, behind = np.flatnonzero(changed[:GUARD]), np.flatnonzero(changed[-GUARD:])
        if before.size:
            return f"{GUARD - int(before[-1]) // self._step * self._step} bytes before its start"
        if not behind.size:
            return ""
        distance = int(behind[0]) // self._step * self._step
        return f"{distance} bytes behind its end" if distance else "right behind its end"


def is_poisoned(array: NDArray[Any], dtype: str) -> bool:
    """Whether an array of this element type, as `numpy_type` has it, holds poison."""
    if dtype not in _PAYLOAD:
        return False
    word, payload = _PAYLOAD[dtype]
    return bool(np.any(np.ascontiguousarray(array).view(word) & word(payload) == payload))


class CheckedExecutor(Executor):
    """Runs a program call by call and checks each.

    Raises:
        CheckError: in a run: a kernel wrote beyond an end, or a result depends on what nobody wrote.
    """

    complete = True
    """Whether a run writes all of its results."""

    _constant_memory: dict[int, Guarded]

    def _execute(self, arguments: Mapping[Key, NDArray[Any]], hoisted: bool, count: int) -> None:
        if self._owner is not None:
            self._follow(self._owner)
        program = self.program
        given = {
            index: self._persistent[key] if key in self._persistent else self._argument(arguments, key)
            for key, index in program.arguments.items()
        }
        used = set(map(int, self._roots))
        sizes = {i: given[i].nbytes if i in given else program.buffers[i].bytes for i in used}
        places = {i: Guarded(size, program.buffers[i].dtype) for i, size in sizes.items()}
        if not hoisted:
            places |= self._constant_memory
        self._constant_memory = {i: place for i, place in places.items() if program.buffers[i].kind == "constant"}
        shapes = {i: given[i].shape if i in given else program.buffers[i].shape for i in used}
        arrays = {i: place.array(shapes[i], program.buffers[i].dtype) for i, place in places.items()}
        for index in given.keys() & arrays.keys():
            if program.buffers[index].kind not in OUTPUT_KINDS:
                arrays[index][...] = given[index]
        read = [i for i in given.keys() & arrays.keys() if program.buffers[i].kind not in OUTPUT_KINDS]
        clean = not any(self._is_poisoned(i, arrays[i]) for i in read)
        written = self._run_all(places, arrays, hoisted, count)
        for index in given.keys() & written.keys():
            # Rows behind those that count depend on observations that were not computed.
            counted = arrays[index][:count] if count < program.batch_size else arrays[index]
            if self.complete and clean and self._is_poisoned(index, counted):
                raise CheckError(
                    f"{written[index]}: {program.buffers[index].kind} {program.buffers[index].name!r} depends on "
                    "memory that nobody wrote, or beyond a buffer's end; this is a fault of gncodegen"
                )
            given[index][...] = arrays[index]

    def _is_poisoned(self, index: int, array: NDArray[Any]) -> bool:
        return is_poisoned(array, self.program.buffers[index].dtype)

    def _argument(self, arguments: Mapping[Key, NDArray[Any]], key: Key) -> NDArray[Any]:
        array = arguments.get(key)
        return self.result(key) if array is None else array

    def _run_all(
        self, places: Mapping[int, Guarded], arrays: Mapping[int, NDArray[Any]], hoisted: bool, count: int
    ) -> dict[int, str]:
        """Runs the calls and checks the guards; for each buffer that was written, the call to blame for poison in it.

        That is the first one that left poison in what it wrote; of a buffer without, the last one that wrote it.
        """
        runner = imported("gncodegen.targets.cpu.runner")
        begin, stops = 0 if hoisted else self.program.hoisted, self.program.stops
        launches = self._launched(count, begin, len(self.program.calls))
        argv = np.zeros_like(self._argv)
        argv[self._places] = [address_of(places[int(root)].memory) for root in self._roots]
        set_numbers(argv, self._starts, self.program, count)
        blamed, first = dict[int, str](), ""
        for number in range(begin, len(self.program.calls)):
            call = self.program.calls[number]
            for reduction in (each for stop in stops if stop.place == number for each in stop.begin):
                for root in map(self.program.root, reduction.buffers):
                    self._averaging.average(arrays[root])
            runner.run(launches.only(number - begin, argv))
            label = f"kernel {call.kernel} of {' + '.join(call.layers) or 'no layer'}"
            for root in map(self.program.root, call.arguments):
                if fault := places[root].fault:
                    buffer = self.program.buffers[root]
                    raise CheckError(
                        f"{label} wrote {fault}: {buffer.kind} {buffer.name!r} of shape {buffer.shape}; "
                        "this is a fault of gncodegen"
                    )
            roots = [self.program.root(call.arguments[slot]) for slot in call.writes]
            if not first and any(self._is_poisoned(root, arrays[root]) for root in roots):
                first = label
            blamed |= dict.fromkeys(roots, first or label)
        return blamed


class GuardedExecutor(CheckedExecutor):
    """The same for a program that writes a part of its results: what is left holds poison, which is a NaN."""

    complete = False
