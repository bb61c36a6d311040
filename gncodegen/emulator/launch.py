"""Launch a module: waves of blocks that fit the cache, one after the other."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from gncodegen.emulator.checks.clocks import VectorClocks
from gncodegen.emulator.checks.intervals import BarrierIntervals
from gncodegen.emulator.checks.order import BlockOrder
from gncodegen.emulator.checks.traffic import Traffic
from gncodegen.emulator.interpreter import Interpreter
from gncodegen.emulator.isa.executable import Executable
from gncodegen.emulator.ptx.module import Module
from gncodegen.emulator.state.configuration import Extents, LaunchConfiguration
from gncodegen.emulator.state.memory import DeviceMemory
from gncodegen.emulator.state.observer import Observer
from gncodegen.emulator.state.wave import Wave
from gncodegen.errors import EmulationFault

LANES = 1 << 13
BUDGET = 5_000_000
_WORKSPACE = 64


@dataclass(frozen=True)
class Statistics:
    """What a launch took: instructions executed (one for all lanes of a group at once), waves and lanes."""

    instructions: int
    waves: int
    lanes: int


def run(
    module: Executable,
    *,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    arguments: Sequence[Any],
    memory: DeviceMemory,
    cluster: int = 1,
    cooperative: bool = False,
    dynamic_shared: int = 0,
    checks: bool = True,
    agreeing: bool = False,
    leaving: bool = False,
    budget: int = BUDGET,
    traffic: Traffic | None = None,
) -> Statistics:
    """Execute a kernel for every thread of a grid.

    Args:
        module: the kernel.
        grid: blocks, in all or along x, y and z.
        block: threads a block, likewise; 1 to 1024 in all.
        arguments: one for each parameter: an int for an address, else a number of the parameter's type.
        memory: the device's memory; addresses point into it.
        cluster: blocks a cluster; divides the grid along x.
        cooperative: whether all blocks are resident at once, so that they may wait for each other.
        dynamic_shared: bytes of dynamic shared memory a block.
        checks: whether to look for uninitialised reads and races; bounds, alignment and barriers are always checked.
        agreeing: whether threads may store the same value to one place by one instruction, as kernels of Triton do.
        leaving: whether threads may end before a barrier that others of their block reach, as from sm_70 on they may.
        budget: instructions after which a wave counts as hanging.
        traffic: where to count the bytes of global accesses, if anywhere.

    Raises:
        EmulationFault: the kernel, or the launch, does what a GPU would not do.
    """
    extents = _extents(grid), _extents(block)
    grid, block = map(prod, extents)
    if not (1 <= block <= 1024 and grid >= 1 and cluster >= 1 and extents[0][0] % cluster == 0):
        raise EmulationFault(f"a grid of {grid} blocks of {block} threads in clusters of {cluster} cannot be launched")
    if len(arguments) != len(module.parameters):
        raise EmulationFault(f"{len(arguments)} arguments for {len(module.parameters)} parameters", kernel=module.entry)
    if module.meets and not cooperative:
        raise EmulationFault("all blocks wait for each other; allowed: a cooperative launch", kernel=module.entry)
    time = waves = 0
    with _workspace(memory, module) as workspace:
        configuration = LaunchConfiguration(
            module, memory, arguments, grid, block, cluster, cooperative, dynamic_shared, checks, extents,
            agreeing, leaving, workspace,
        )  # fmt: skip
        observers = [*(_observers(configuration) if checks else ()), *([traffic] if traffic else ())]
        step = grid if cooperative else max(LANES // (block * cluster), 1) * cluster
        for first in range(0, grid, step):
            wave = Wave(configuration, first, min(step, grid - first))
            wave.time = time
            _watch(wave, observers)
            Interpreter(wave, module.packs, time + budget).run()
            time, waves = wave.time, waves + 1
    return Statistics(time, waves, grid * block)


@contextmanager
def _workspace(memory: DeviceMemory, module: Module) -> Generator[int]:
    """The address of memory for the barrier of all blocks, 0 where a kernel has none."""
    if not module.meets:
        yield 0
        return
    address = memory.allocate(_WORKSPACE, "workspace of the grid's barrier")
    memory.write(address, np.zeros(_WORKSPACE, np.uint8))
    try:
        yield address
    finally:
        memory.free(address)


def _extents(given: int | Sequence[int]) -> Extents:
    x, y, z = (*((given,) if isinstance(given, int) else given), 1, 1)[:3]
    return int(x), int(y), int(z)


def _observers(configuration: LaunchConfiguration) -> list[Observer]:
    """The checks of global memory, which last as long as the launch."""
    memory, granule = configuration.memory, configuration.module.granule["global"]
    within = BarrierIntervals(memory.bytes.size, granule, memory.describe, apart=True)
    if configuration.grid == 1:
        return [within]
    if configuration.cooperative or configuration.cluster > 1 or _publishes(configuration.module):
        sizes = configuration.grid, configuration.block, configuration.cluster
        return [VectorClocks(memory, granule, *sizes), within]
    return [BlockOrder(memory, granule), within]


def _publishes(module: Module) -> bool:
    """Whether a block can say to others that it has written: by a fence, or an atomic that releases."""
    words = {"fence", "membar", "release", "acq_rel"}
    return any(not words.isdisjoint(step.instruction.opcode) for step in module.steps)


def _watch(wave: Wave, observers: Sequence[Observer]) -> None:
    for one in observers:
        wave.watch("global", one)
    if wave.configuration.checks and wave.configuration.shared_bytes:
        shared, granule = wave.spaces["shared"], wave.module.granule["shared"]
        wave.watch("shared", BarrierIntervals(shared.data.size, granule, shared.describe, apart=False))
