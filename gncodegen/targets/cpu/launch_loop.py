"""The launch loop: all launches of a list, one after the other, by as many workers as come.

This file is a kernel's source as it stands, and is compiled as one. Its parameters are those of the loop bodies that
Numba's threads run: `kernel(parts, counts, strides, table)` does the work of the `counts[0]` workers whose numbers
stand at `parts[0]`, `strides[0]` bytes from one to the next.
"""

from __future__ import annotations

from typing import Any

from gncodegen.targets.cpu.atomics import call, fetch, fetch_add, give_way, nanoseconds, pause
from gncodegen.targets.cpu.frontend import device

LINE = 64  # bytes from one counter to the next, so that no two are on one line of the caches
PATIENCE = 2000  # pauses until a waiting worker gives way to others, or does what another should have done


@device
def word(address: Any, index: Any) -> Any:
    """Element `index` of the int64 array at an address."""
    return fetch(address + 8 * index)


@device
def note(table: Any, place: Any) -> None:
    """Notes the time, where the table has a place for times: at 0 when the run began, then when each launch ended."""
    clock = word(table, 8)
    if clock:
        fetch_add(clock + 8 * place, nanoseconds())


@device
def alone(table: Any) -> None:
    """All launches by one worker."""
    functions, grids, firsts, arguments = word(table, 3), word(table, 4), word(table, 5), word(table, 7)
    note(table, 0)
    for launch in range(word(table, 0)):
        function, first, argv = word(functions, launch), word(firsts, launch), word(arguments, launch)
        for tile in range(word(grids, launch)):
            call(function, first + tile, argv)
        note(table, launch + 1)


@device
def take_part(worker: Any, table: Any) -> None:
    """One worker's part in all launches: first its own share of the tiles, then what others have not begun.

    The next launch begins when all tiles are done; no worker waits for one that has not come. The progress has, for
    each launch, the tiles begun of each worker's share, and the tiles done.
    """
    workers, progress = word(table, 1), word(table, 2)
    functions, grids, firsts, arguments = word(table, 3), word(table, 4), word(table, 5), word(table, 7)
    if worker == 0:
        note(table, 0)
    for launch in range(word(table, 0)):
        function, grid, first = word(functions, launch), word(grids, launch), word(firsts, launch)
        shared, argv = word(word(table, 6), launch), word(arguments, launch)
        begun = progress + launch * (workers + 1) * LINE
        done = begun + workers * LINE
        finished = 0
        if shared:
            for turn in range(workers):
                owner = (worker + turn) % workers
                begin, end, counter = grid * owner // workers, grid * (owner + 1) // workers, begun + owner * LINE
                while begin + fetch(counter) < end:  # many cores may read a line at once, one at a time may change it
                    tile = begin + fetch_add(counter, 1)
                    if tile < end:
                        call(function, first + tile, argv)
                        finished += 1
            if finished > 0 and fetch_add(done, finished) + finished == grid:
                note(table, launch + 1)
        turns, patience = 0, 0 if worker == 0 else PATIENCE
        while finished < grid and fetch(done) < grid:
            if not shared and turns == patience and fetch_add(begun, 1) == 0:
                for tile in range(grid):
                    call(function, first + tile, argv)
                note(table, launch + 1)
                fetch_add(done, grid)
            elif turns < PATIENCE:
                pause()
            else:
                give_way()
            turns += 1


def kernel(parts: Any, counts: Any, strides: Any, table: Any) -> None:
    """Work of some workers."""
    for index in range(word(counts, 0)):
        if word(table, 1) == 1:
            alone(table)
        else:
            take_part(word(word(parts, 0) + index * word(strides, 0), 0), table)
