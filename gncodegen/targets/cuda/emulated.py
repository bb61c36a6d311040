"""Launches compiled kernels in the PTX emulator instead of on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from gncodegen.emulator import DeviceMemory, Executable, Traffic, run
from gncodegen.kernels.schedule import Schedule
from gncodegen.kernels.store import Source


def arguments_of(addresses: Sequence[int], first: int, numbers: Sequence[int] = ()) -> list[Any]:
    """The parameters of a launch: one address per buffer, the number of the first tile, then the numbers it reads."""
    return [*map(np.uint64, addresses), np.uint32(first), *map(np.uint64, numbers)]


@lru_cache(maxsize=512)
def _module(source: Source) -> Executable:
    """The parsed PTX of a kernel; its name is unique by content."""
    return Executable(source.read(".ptx").decode())


def launch_emulated(
    source: Source,
    schedule: Schedule,
    grid: int,
    arguments: Sequence[Any],
    memory: DeviceMemory,
    checks: bool = True,
    traffic: Traffic | None = None,
) -> None:
    """Runs one launch.

    Raises:
        EmulationFault: the kernel did what a GPU would not forgive; names kernel, source line, block and thread.
    """
    if not grid:
        return
    tiles = schedule.tiles
    run(
        _module(source),
        grid=grid,
        block=int(tiles["threads"]),  # pyright: ignore[reportArgumentType]
        arguments=list(arguments),
        memory=memory,
        cluster=schedule.cluster(arguments[len(arguments) - len(schedule.numbers) :]),
        cooperative=bool(tiles.get("cooperative", False)),
        dynamic_shared=int(tiles.get("dynamic_shared", 0)),  # pyright: ignore[reportArgumentType]
        checks=checks,
        traffic=traffic,
    )
