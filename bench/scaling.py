"""Time of a training step against ranks, from measured kernels and a model of the network between them.

    python bench/scaling.py                       # the tables of docs/scaling.md
    python bench/scaling.py --buckets             # milliseconds that 16 ranks wait, for several bucket sizes
    python bench/scaling.py --check               # the model beside 1, 2 and 4 ranks on this machine, which is quiet

A step does its launches in order, each as long as it took alone here. A bucket starts where the Program says, behind
the buckets before it, and the step waits where the Program waits. An average over n ranks takes, as `parallel/mpi.py`
does it, two rounds: 2·((n − 1)·message + latency + (n − 1)/n·bytes/bandwidth), and the sum of n parts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nets import WIDE, Layers, resnet20
from record import cpu_name, recorded, save

import gncodegen as gnc
from gncodegen import compiler
from gncodegen.kernels.program import Program
from gncodegen.parallel.averaging import Averaging
from gncodegen.parallel.collective import Collective
from gncodegen.report.profile import Profile

RANKS = (1, 2, 4, 8, 16, 64, 256, 1024)


@dataclass(frozen=True)
class Fabric:
    """What joins ranks.

    Args:
        name: as tables show it.
        latency: seconds from one rank to another.
        message: seconds that sending one more message takes.
        bandwidth: bytes per second of each rank, in each direction.
    """

    name: str
    latency: float
    message: float
    bandwidth: float


ETHERNET = Fabric("1 Gb/s Ethernet", 50e-6, 2e-6, 0.125e9)
FABRICS = (
    ETHERNET,
    Fabric("10 Gb/s Ethernet", 30e-6, 2e-6, 1.25e9),
    Fabric("100 Gb/s Ethernet", 10e-6, 1e-6, 12.5e9),
    Fabric("NVLink", 5e-6, 0.5e-6, 300e9),
)
"""Figures of data sheets and of usual measurements, not of this machine."""

SUMMED = 4e9
"""Bytes per second that one thread adds up, about."""


@dataclass(frozen=True)
class OneOf:
    """The first of several ranks, alone: it makes a Program with reductions, and its averages are nothing."""

    ranks: int = 2
    rank: int = 0
    timeout: float = 60.0

    def allreduce(self, buffer: Any) -> None:
        """Nothing."""

    def end(self, error: BaseException) -> None:
        """Nothing."""


def reduction_seconds(size: int, ranks: int, fabric: Fabric) -> float:
    """Of an average of so many bytes."""
    if ranks == 1:
        return 0.0
    round_ = (ranks - 1) * fabric.message + fabric.latency + size * (ranks - 1) / ranks / fabric.bandwidth
    return 2 * round_ + size / SUMMED


def simulated(program: Program, seconds: Sequence[float], ranks: int, fabric: Fabric) -> tuple[float, float]:
    """A step's seconds, and the share of the network's time that is hidden behind launches.

    Args:
        program: with reductions.
        seconds: of each of its launches.
        ranks: how many.
        fabric: between them.
    """
    now, free, busy, place = 0.0, 0.0, 0.0, 0
    for stop in program.stops:
        now += sum(seconds[place : stop.place])
        place = stop.place
        for reduction in stop.begin:
            size = sum(program.buffers[program.root(index)].bytes for index in reduction.buffers)
            spent = reduction_seconds(size, ranks, fabric)
            free, busy = max(free, now) + spent, busy + spent
        if stop.finish:
            now = max(now, free)
    now = max(now + sum(seconds[place:]), free)
    return now, 1 - (now - sum(seconds)) / busy if busy else 1.0


def large() -> Layers:
    """Three fully connected layers of 25 million parameters, on vectors."""
    return [
        gnc.FeatureInputLayer(1024, normalization="none"), gnc.FullyConnectedLayer(4096), gnc.ReluLayer(),
        gnc.FullyConnectedLayer(4096), gnc.ReluLayer(), gnc.FullyConnectedLayer(1000), gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]  # fmt: skip


TABLES = ("ResNet-20-GN", "25 M parameters")
NETS = {
    "ResNet-20-GN": (resnet20, (32, 32, 3), 10),
    "25 M parameters": (large, (1024,), 1000),
    "wide": (WIDE.layers, WIDE.size, 10),
}


def compiled_for(name: str, batch: int, bucket: int | None, collective: Collective | None = None) -> Any:
    """The network of one of several ranks."""
    options = gnc.training_options("sgdm", bucket_size=bucket)
    return compiler.compiled(NETS[name][0](), {"batch_size": batch}, options, Averaging(collective or OneOf()))


def measured(
    name: str, batch: int, bucket: int | None = None, collective: Collective | None = None
) -> tuple[Program, list[float], Profile]:
    """The Program of a training step on one rank's share, the seconds of its launches here, and its profile."""
    _, size, classes = NETS[name]
    compiled, generator = compiled_for(name, batch, bucket, collective), np.random.default_rng(0)
    x = generator.normal(size=(batch, *size)).astype(np.float32)
    profile, program = compiled.profile(x, generator.integers(classes, size=batch)), compiled.program
    return program, [0.0] * program.hoisted + [call.seconds for call in profile.calls], profile


def keep(key: str, found: object) -> None:
    """Puts this under a key of the results of this CPU; those under others stay."""
    known: Any = recorded("scaling").get(cpu_name(), {}).get("results", {})
    save("scaling", (known if isinstance(known, dict) else {"simulated": known}) | {key: found})


def table(name: str, batch: int, bucket: int, strong: bool) -> list[dict[str, Any]]:
    """A row for each network and number of ranks; `strong`: all ranks share the batch, so each has less to compute."""
    program, seconds, _ = measured(name, batch, bucket)
    rows = []
    for fabric in FABRICS:
        for ranks in RANKS:
            if strong and ranks > batch:
                continue
            own = [each / ranks for each in seconds] if strong else seconds
            step, hidden = simulated(program, own, ranks, fabric)
            speed = sum(seconds) / step * (1 if strong else ranks)
            rows.append({
                "net": name, "fabric": fabric.name, "scaling": "strong" if strong else "weak", "ranks": ranks,
                "step_ms": 1e3 * step, "speed": speed, "efficiency": speed / ranks, "hidden": hidden,
            })  # fmt: skip
    return rows


def main() -> None:
    """Prints the tables, and keeps them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bucket", type=int, default=2**20, help="bytes of gradients averaged at once")
    parser.add_argument("--buckets", action="store_true", help="compare bucket sizes")
    parser.add_argument("--batch", type=int, default=128, help="observations, of each rank or of all")
    parser.add_argument("--check", action="store_true", help="compare the model with ranks on this machine")
    parser.add_argument("--rounds", type=int, default=3, help="of a check")
    given = parser.parse_args()
    if given.check:
        from scaling_check import check

        keep("check", check(given.rounds))
        return
    if given.buckets:
        for name in TABLES:
            program, seconds, _ = measured(name, given.batch, given.bucket)
            for bucket in (2**14, 2**16, 2**18, 2**20, 2**22, 2**24, 2**26):
                other = compiled_for(name, given.batch, bucket).program
                assert len(other.calls) == len(program.calls), "the launches are others"
                waits = [1e3 * (simulated(other, seconds, 16, fabric)[0] - sum(seconds)) for fabric in FABRICS]
                print(name, bucket, *(f"{wait:.2f}" for wait in waits), sep="\t", flush=True)
        return
    rows = [
        row for name in TABLES for strong in (False, True) for row in table(name, given.batch, given.bucket, strong)
    ]
    for row in rows:
        print(*(f"{value:.3g}" if isinstance(value, float) else value for value in row.values()), sep="\t")
    keep("simulated", rows)


if __name__ == "__main__":
    main()
