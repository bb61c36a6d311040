"""Time of a run against cores, from kernels measured on one core and a model of what many of them share.

    python bench/scaling_cores.py [--only TEXT]    # the table of docs/scaling.md, for 2 to 64 cores
    python bench/scaling_cores.py --launches       # the launches that lose most at 64 cores
    python bench/scaling_cores.py --check          # the model beside the cores that are here

The Program is planned for each number of cores. A launch of `grid` equal tiles takes ⌈grid / cores⌉ / grid of its time
on one core, and no less than its bytes at the memory's bandwidth where they exceed half of all L3; a launch that is
not shared takes all of it. Between two shared launches each worker meets the counters of all others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nets import NETS, Net
from record import save

import gncodegen as gnc
from gncodegen.kernels.program import Call, Program
from gncodegen.kernels.schedule import Machine
from gncodegen.layers.network import Network
from gncodegen.options import CompileOptions
from gncodegen.passes.lower import lower
from gncodegen.runtime.executor import cost
from gncodegen.targets import registry
from gncodegen.targets.cpu.runner import SERIAL_BELOW, SHARED_FROM

CORES = (1, 2, 4, 8, 16, 64)
BANDWIDTH = {1: 12e9, 2: 20e9, 4: 40e9, 8: 60e9, 16: 120e9, 64: 280e9}
"""Bytes per second of memory, by cores: two channels up to eight cores, then a server's; usual measurements."""

LEAST_L3, L3_OF_A_CORE = 16 << 20, 2 << 20
HANDOVER, COUNTER = 0.5e-6, 10e-9
"""Seconds from one shared launch to the next, and for each worker's counter that the others read."""

FUNCTIONS = ("predict", "train_step")


@dataclass(frozen=True)
class Spent:
    """Seconds of one launch.

    Args:
        call: the launch.
        alone: on one core.
        split: its tiles on all cores.
        memory: its bytes from memory, 0 where caches hold them.
        wait: until the next launch begins.
    """

    call: Call
    alone: float
    split: float
    memory: float
    wait: float

    @property
    def seconds(self) -> float:
        """On all cores."""
        return max(self.split, self.memory) + self.wait


def machine(cores: int) -> Machine:
    """This kind of CPU with so many cores."""
    here: Machine = registry.row_of("cpu").open(CompileOptions(target="cpu")).target.machine
    more = cores > len(os.sched_getaffinity(0))
    return replace(here, cores=cores, l3=max(LEAST_L3, cores * L3_OF_A_CORE) if more else here.l3)


def planned(net: Net, function: str, cores: int) -> Program:
    """The Program for so many cores."""
    network = Network.build(net.layers())
    return lower(
        network, function, batch_size=net.batch, dtype="float32", training=True, data_format="BSSC",
        machine=machine(cores), clip="none",
    )[1]  # fmt: skip


def by_step(program: Program, seconds: Sequence[float]) -> dict[int, float]:
    """Op → seconds of its launches."""
    found: dict[int, float] = {}
    for call, each in zip(program.calls[program.hoisted :], seconds, strict=True):
        found[call.step] = found.get(call.step, 0.0) + each
    return found


def simulated(program: Program, alone: dict[int, float], cores: int) -> list[Spent]:
    """Each launch on so many cores; `alone`: seconds of each op's launches on one."""
    calls = program.calls[program.hoisted :]
    costs = [cost(program, call) for call in calls]
    whole: dict[int, int] = {}
    for call, each in zip(calls, costs, strict=True):
        whole[call.step] = whole.get(call.step, 0) + each
    is_shared = [call.grid > 1 and each >= SERIAL_BELOW for call, each in zip(calls, costs, strict=True)]
    shareable = sum(each for each, shared in zip(costs, is_shared, strict=True) if shared)
    together, in_caches = cores > 1 and shareable >= SHARED_FROM, machine(cores).l3 // 2
    found = []
    for call, each, shared in zip(calls, costs, is_shared, strict=True):
        own = alone.get(call.step, 0.0) * each / max(1, whole[call.step])
        split = own * -(-call.grid // cores) / call.grid if together and shared else own
        memory = call.bytes / BANDWIDTH[cores] if cores > 1 and call.bytes > in_caches else 0.0
        wait = HANDOVER + COUNTER * cores if together else 0.0
        found.append(Spent(call, own, split, memory, wait))
    return found


def measured(net: Net, function: str, threads: int) -> tuple[Program, list[float], float]:
    """The Program made for so many threads, the seconds of its launches on them and of a whole run."""
    command = [sys.executable, __file__, "--measure", net.name, function]
    environment = os.environ | {"GNCODEGEN_THREADS": str(threads)}
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    calls, whole = json.loads(said.splitlines()[-1])
    return planned(net, function, threads), calls, whole


def measure(name: str, function: str) -> None:
    """Prints the seconds of each launch and of a whole run, on the threads that the environment says."""
    net = next(net for net in NETS if net.name == name)
    x, t = net.data()
    training = function == "train_step"
    profile = gnc.compile(net.layers(), training=training, batch_size=net.batch).profile(x, t if training else None)
    print(json.dumps([[call.seconds for call in profile.calls], profile.seconds]))


def show(row: dict[str, Any]) -> None:
    """Prints a row of a table."""
    print(*(f"{each:.3g}" if isinstance(each, float) else each for each in row.values()), sep="\t", flush=True)


def rows_of(net: Net, function: str, launches: bool) -> list[dict[str, Any]]:
    """A row for each number of cores."""
    alone = by_step(*measured(net, function, 1)[:2])
    rows: list[dict[str, Any]] = []
    for cores in CORES:
        spent = simulated(planned(net, function, cores), alone, cores)
        total, serial = sum(each.seconds for each in spent), sum(each.alone for each in spent)
        rows.append({
            "net": net.name, "function": function, "cores": cores, "launches": len(spent),
            "few_tiles": sum(each.call.grid < cores for each in spent), "milliseconds": 1e3 * total,
            "speed": serial / total,
            "balance": serial / cores / sum(each.split for each in spent),
            "memory": sum(max(0.0, each.memory - each.split) for each in spent) / total,
            "waits": sum(each.wait for each in spent) / total,
        })  # fmt: skip
        if launches and cores == CORES[-1]:
            for each in sorted(spent, key=lambda one: one.alone / cores - one.seconds)[:5]:
                print(
                    f"    {each.call.kernel} of {', '.join(each.call.layers)}: {each.call.grid} tiles,"
                    f" {1e6 * each.alone:.0f} µs on one core, {1e6 * each.seconds:.0f} on {cores}"
                )
    return rows


def check(only: str) -> list[dict[str, Any]]:
    """The model on the cores that are here beside runs on them."""
    cores, rows = len(os.sched_getaffinity(0)), []
    for net in NETS:
        for function in FUNCTIONS:
            if only in net.name:
                program, seconds, serial = measured(net, function, 1)
                spent = simulated(planned(net, function, cores), by_step(program, seconds), cores)
                model, real = sum(each.seconds for each in spent), measured(net, function, cores)[2]
                row = {"net": net.name, "function": function, "cores": cores, "one": 1e3 * serial,
                       "model": 1e3 * model, "measured": 1e3 * real, "error": model / real - 1}  # fmt: skip
                print(
                    *(f"{each:.3g}" if isinstance(each, float) else each for each in row.values()), sep="\t", flush=True
                )
                rows.append(row)
    return rows


def main() -> None:
    """Prints the tables, and keeps them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks whose name has this")
    parser.add_argument("--launches", action="store_true", help="show those that lose most")
    parser.add_argument("--check", action="store_true", help="compare the model with the cores that are here")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(*given.measure)
        return
    if given.check:
        rows = check(given.only)
        if not given.only:
            save("scaling-cores-check", rows)
        return
    rows = []
    for net in NETS:
        for function in FUNCTIONS:
            if given.only in net.name:
                found = rows_of(net, function, given.launches)
                rows += found
                for row in found:
                    print(
                        *(f"{each:.3g}" if isinstance(each, float) else each for each in row.values()),
                        sep="\t",
                        flush=True,
                    )
    if not given.only:
        save("scaling-cores", rows)


if __name__ == "__main__":
    main()
