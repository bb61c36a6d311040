"""Launch a module: batches of blocks that fit the cache, one machine each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gncodegen.emulator.checks.clocks import Clocks
from gncodegen.emulator.checks.intervals import Intervals
from gncodegen.emulator.checks.order import Order
from gncodegen.emulator.checks.traffic import Traffic
from gncodegen.emulator.ptx.module import Module
from gncodegen.emulator.schedule import Schedule
from gncodegen.emulator.state.machine import Launch, Machine
from gncodegen.emulator.state.memory import Memory
from gncodegen.errors import EmulationFault

LANES = 1 << 13
BUDGET = 5_000_000


@dataclass(frozen=True)
class Statistics:
    """What a launch took: instructions executed (one for all lanes of a group at once), batches and lanes."""

    instructions: int
    batches: int
    lanes: int


def run(
    module: Module,
    *,
    grid: int,
    block: int,
    arguments: Sequence[Any],
    memory: Memory,
    cluster: int = 1,
    cooperative: bool = False,
    dynamic_shared: int = 0,
    checks: bool = True,
    budget: int = BUDGET,
    traffic: Traffic | None = None,
) -> Statistics:
    """Execute a kernel for every thread of a one-dimensional grid.

    Args:
        module: the kernel.
        grid: blocks.
        block: threads a block, 1 to 1024.
        arguments: one for each parameter: an int for an address, else a number of the parameter's type.
        memory: the device's memory; addresses point into it.
        cluster: blocks a cluster; divides the grid.
        cooperative: whether all blocks are resident at once, so that they may wait for each other.
        dynamic_shared: bytes of dynamic shared memory a block.
        checks: whether to look for uninitialised reads and races; bounds, alignment and barriers are always checked.
        budget: instructions after which a batch counts as hanging.
        traffic: where to count the bytes of global accesses, if anywhere.

    Raises:
        EmulationFault: the kernel, or the launch, does what a GPU would not do.
    """
    if not (1 <= block <= 1024 and grid >= 1 and cluster >= 1 and grid % cluster == 0):
        raise EmulationFault(f"a grid of {grid} blocks of {block} threads in clusters of {cluster} cannot be launched")
    if len(arguments) != len(module.parameters):
        raise EmulationFault(f"{len(arguments)} arguments for {len(module.parameters)} parameters", kernel=module.entry)
    launch = Launch(module, memory, arguments, grid, block, cluster, cooperative, dynamic_shared, checks, traffic)
    order = _order(launch) if checks else None
    touched = _touched(launch) if checks else None
    step = grid if cooperative else max(LANES // (block * cluster), 1) * cluster
    time = batches = 0
    for first in range(0, grid, step):
        machine = Machine(launch, first, min(step, grid - first), order, touched)
        machine.time = time
        Schedule(machine, time + budget).run()
        time, batches = machine.time, batches + 1
    return Statistics(time, batches, grid * block)


def _touched(launch: Launch) -> Intervals:
    touched = Intervals("global", launch.module.granule["global"])
    touched.attach(launch.memory.bytes.size)
    return touched


def _order(launch: Launch) -> Order | None:
    size, granule = launch.memory.bytes.size, launch.module.granule["global"]
    if launch.grid == 1:
        return None
    if launch.cooperative or launch.cluster > 1:
        return Clocks(size, granule, launch.grid, launch.block, launch.cluster)
    return Order(size, granule)
