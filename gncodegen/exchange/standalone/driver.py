"""The prediction of an object file, as a function of the kernels' own vocabulary: batch by batch, launch by launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from gncodegen.kernels.schedule import ENOUGH_TILES
from gncodegen.targets.cpu.intrinsics import clear, copy, device, int64, pointer, uint8
from gncodegen.targets.cpu.runner import SERIAL_BELOW

LAUNCH = 10
"""Words of a launch: kernel, first tile, tiles, its place in the arguments, nanoseconds, and the five of its order."""

pointer_to: Any = pointer
copy_bytes: Any = copy
clear_bytes: Any = clear
enough: Any = ENOUGH_TILES


@dataclass(frozen=True)
class Layout:
    """Where the words of the driver's table lie: first the arrays of the call, inputs before outputs.

    Args:
        inputs, ports: how many inputs, and arrays in all, there are.
    """

    inputs: int
    ports: int

    @property
    def bases(self) -> int:
        """The first address that slots count from: the workspace, the weights, the arrays of this batch, and 0."""
        return self.ports

    @property
    def number(self) -> int:
        """What a slot counts from that is a number, and no address."""
        return 2 + self.ports

    @property
    def fixed(self) -> int:
        """The first of slots, launches, the table itself, the arguments, the caller's loop, its context, two places."""
        return 2 * self.ports + 3

    @property
    def size(self) -> int:
        """Words of the table."""
        return self.fixed + 8


@intrinsic
def _call(context: Any, function: Any, arguments: Any) -> Any:
    """Calls the function at an address with a tuple of words."""
    count = len(arguments)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * count)
        values = cgutils.unpack_tuple(builder, args[1], count)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), generate


call: Any = _call


@device
def part_of(whole: Any, rows: Any, batch: Any) -> Any:
    """Of nanoseconds or of a number that kernels read, the part for so many observations of a batch."""
    return whole * rows // batch


@device
def tiles_of(launch: Any, one: Any, rows: Any, batch: Any) -> Any:
    """`Order.grid` of the launch whose words begin at `one`."""
    most = launch[one + 2]
    if rows == batch:
        return most
    observations, cuts = launch[one + 5], launch[one + 9]
    fewest = min(enough, (rows * cuts + observations - 1) // observations)
    units = max((rows * launch[one + 6] + observations - 1) // observations, fewest)
    return min(max(units * launch[one + 7] * launch[one + 8] - launch[one + 1], 0), most)


def driver(
    layout: Layout,
    batch: int,
    sizes: tuple[int, ...],
    stages: tuple[int, ...],
    slots: int,
    launches: int,
    in_order: bool,
) -> Callable[[int, int], None]:
    """A function of (number of observations, address of the table).

    Args:
        layout: of the table.
        batch: observations of a run.
        sizes: bytes of an observation of each array.
        stages: where in the workspace a batch of each array can lie.
        slots: arguments of all launches.
        launches: how many there are.
        in_order: whether a run can be of fewer observations than `batch`: launches follow them.
    """
    inputs, ports, bases, fixed, most = layout.inputs, layout.ports, layout.bases, layout.fixed, SERIAL_BELOW
    number, words = layout.number, LAUNCH

    def predict(count: Any, argv: Any) -> None:
        table = pointer_to(argv, fixed + 2, int64)
        slot, launch = pointer_to(argv, fixed, int64), pointer_to(argv, fixed + 1, int64)
        arguments, loop = pointer_to(argv, fixed + 3, int64), table[fixed + 4]
        for begin in range(0, count, batch):
            rows = min(batch, count - begin)
            for port in range(ports):
                place, size = table[port] + begin * sizes[port], sizes[port]
                if (rows < batch and not in_order) or (port >= inputs and place % 64 != 0):
                    staged = table[bases] + stages[port]
                    if port < inputs:
                        table[fixed + 6], table[fixed + 7] = place, staged
                        copy_bytes(pointer_to(argv, fixed + 7, uint8), pointer_to(argv, fixed + 6, uint8), rows * size)
                        table[fixed + 7] = staged + rows * size
                        clear_bytes(pointer_to(argv, fixed + 7, uint8), (batch - rows) * size)
                    place = staged
                table[bases + 2 + port] = place
            counted = rows if in_order else batch
            for index in range(slots):
                base, value = slot[2 * index], slot[2 * index + 1]
                arguments[index] = part_of(value, counted, batch) if base == number else table[bases + base] + value
            for index in range(launches):
                one = words * index
                kernel, first, given = launch[one], launch[one + 1], table[fixed + 3] + 8 * launch[one + 3]
                nanoseconds, grid = part_of(launch[one + 4], counted, batch), tiles_of(launch, one, counted, batch)
                if loop != 0 and grid > 1 and nanoseconds >= most:
                    call(loop, (table[fixed + 5], kernel, first, first + grid, given))
                else:
                    for tile in range(grid):
                        call(kernel, (first + tile, given))
            for port in range(inputs, ports):
                place, staged = table[port] + begin * sizes[port], table[bases + 2 + port]
                if place != staged:
                    table[fixed + 6], table[fixed + 7] = place, staged
                    copy_bytes(
                        pointer_to(argv, fixed + 6, uint8), pointer_to(argv, fixed + 7, uint8), rows * sizes[port]
                    )

    return predict
