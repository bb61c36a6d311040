"""The model of bench/scaling.py beside what ranks on this machine do: `python bench/scaling.py --check`.

A measurement is a job of its own under mpiexec: this file with the name of a part. Jobs take turns, so that a busy
moment of the machine strikes all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from nets import WIDE
from scaling import ETHERNET, SUMMED, Fabric, OneOf, measured, reduction_seconds, simulated

import gncodegen as gnc
from gncodegen.parallel.collective import Collective
from gncodegen.parallel.launching import mpiexec

BATCH = 64
"""Observations of a mini-batch, over all ranks."""

STEPS, FIRST = 14, 3
"""Of a training, and those that are not counted."""

CASES = ((1, 1), (1, 2), (2, 1), (4, 1))
"""Ranks and threads of each."""

SMALL, LARGE = 2**16, 2**22
"""Bytes of the sums that tell of the memory between ranks."""


@dataclass(frozen=True)
class Delayed:
    """Ranks as if they were so many, and joined so: what a sum takes is what the model says, or longer.

    Args:
        inner: the ranks that there are.
        ranks: how many it is to seem.
        fabric: between them.
    """

    inner: Collective
    ranks: int
    fabric: Fabric

    @property
    def rank(self) -> int:
        """Of those that there are."""
        return self.inner.rank

    @property
    def timeout(self) -> float:
        """Of those that there are."""
        return self.inner.timeout

    def allreduce(self, buffer: Any) -> None:
        """Sums over those that there are, and waits."""
        over = time.monotonic() + reduction_seconds(buffer.nbytes, self.ranks, self.fabric)
        self.inner.allreduce(buffer)
        time.sleep(max(0.0, over - time.monotonic()))

    def end(self, error: BaseException) -> None:
        """As those that there are."""
        self.inner.end(error)


def _train(ranks: int) -> float:
    """Seconds of a step."""
    noted: list[float] = []

    def note(state: Any) -> None:
        if state.state == "iteration":
            noted.append(time.perf_counter())

    options = gnc.training_options(
        "sgdm", mini_batch_size=BATCH, max_epochs=STEPS // 2, seed=0, verbose=False, output_fcn=note,
        execution_environment="parallel" if ranks > 1 else "cpu",
    )  # fmt: skip
    gnc.train_network(*WIDE.data(2 * BATCH), WIDE.layers(), options)
    return median(np.diff(noted)[FIRST:]) if noted else 0.0


def _compute(ranks: int) -> float:
    """Seconds of a run on a rank's share without averages, where as many ranks as there are cores do theirs at once."""
    return measured("wide", BATCH // ranks)[2].seconds


def _sums(_: int) -> list[float]:
    """Seconds of a small and of a large sum."""
    from gncodegen.parallel.mpi import MpiCollective, communicator

    ranks, found = MpiCollective(communicator(), 60), []
    for size in (SMALL, LARGE):
        buffer, taken = np.zeros(size, np.uint8), []
        for _ in range(50):
            begin = time.perf_counter()
            ranks.allreduce(buffer)
            taken.append(time.perf_counter() - begin)
        found.append(median(taken))
    return found


PARTS = {"train": _train, "compute": _compute, "sums": _sums}


def _job(part: str, processes: int, threads: int, ranks: int) -> Any:
    """What the first of so many processes finds."""
    command = [mpiexec(), "-n", str(processes), sys.executable, __file__, part, str(ranks)]
    environment = {**os.environ, "GNCODEGEN_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("found "))[6:])


def _hidden(ranks: int, fabric: Fabric) -> dict[str, float]:
    """How much of the averages' time a step on one thread hides, by its trace and by the model."""
    program, seconds, profile = measured("wide", BATCH // ranks, collective=Delayed(OneOf(ranks), ranks, fabric))
    whole = sum(average.seconds for average in profile.averages)
    modelled = simulated(program, seconds, ranks, fabric)[1]
    return {"averages_ms": 1e3 * whole, "hidden": profile.hidden, "modelled": modelled}


def check(rounds: int) -> dict[str, Any]:
    """Measures, prints the table, returns what is to be kept."""
    cores = len(os.sched_getaffinity(0))
    taken: dict[tuple[int, int], list[float]] = {case: [] for case in CASES}
    alone: dict[int, list[float]] = {ranks: [] for ranks, threads in CASES if threads == 1}
    sums: list[list[float]] = []
    for _ in range(rounds):
        for ranks, threads in CASES:
            taken[ranks, threads].append(_job("train", ranks, threads, ranks))
            if threads == 1:
                alone[ranks].append(_job("compute", min(ranks, cores), 1, ranks))
        sums.append(_job("sums", 2, 1, 2))
    small, large = np.median(sums, axis=0)
    slope = max((large - small) / (LARGE - SMALL) - 1 / SUMMED, 1e-12)  # 2 rounds, each with a half of the bytes
    here = Fabric("memory", max(0.0, (small - SMALL * (slope + 1 / SUMMED)) / 2), 0.0, 1 / slope)
    print(f"memory between ranks: {1e6 * here.latency:.0f} µs, {here.bandwidth / 1e9:.1f} GB/s; {cores} cores")
    rows, one = [], median(taken[1, 1])
    for ranks, threads in CASES:
        step = median(taken[ranks, threads])
        row: dict[str, Any] = {"ranks": ranks, "threads": threads, "step_ms": 1e3 * step, "speed": one / step}
        if threads == 1:
            # More ranks than cores: each has its part of a core; what one waits for, another uses.
            program, seconds, _ = measured("wide", BATCH // ranks)
            slower = median(alone[ranks]) / sum(seconds) * max(1.0, ranks / cores)
            model = simulated(program, [each * slower for each in seconds], ranks, here)[0]
            row |= {"model_ms": 1e3 * model, "error": model / step - 1, "oversubscribed": ranks > cores}
        rows.append(row)
        print(*(f"{value:.3g}" if isinstance(value, float) else value for value in row.values()), sep="\t", flush=True)
    hidden = _hidden(4, ETHERNET)
    print("2 × 1 against 1 × 2:", f"{median(taken[1, 2]) / median(taken[2, 1]):.3f}")
    print("4 ranks of simulated 1 Gb/s:", *(f"{name} {value:.3g}" for name, value in hidden.items()))
    return {"net": "wide", "batch": BATCH, "rounds": rounds, "rows": rows, "memory": vars(here), "overlap": hidden}


if __name__ == "__main__":
    answer = PARTS[sys.argv[1]](int(sys.argv[2]))
    if os.environ.get("PMI_RANK", "0") == "0":
        print(f"\nfound {json.dumps(answer)}", flush=True)
