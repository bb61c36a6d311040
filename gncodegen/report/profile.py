"""Where the time of a compiled network goes: per call, kernel and layer, against what the machine can."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from statistics import median
from textwrap import fill
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import TargetError
from gncodegen.kernels.program import Program
from gncodegen.lowering import Lowered
from gncodegen.parallel.collective import ALONE, gathered
from gncodegen.process.signals import Uninterrupted
from gncodegen.process.waiting import Waiting
from gncodegen.report.roofline import Roofline, measured
from gncodegen.runtime.backend import Backend, Key, PersistentBuffers, Runner, TimedRunner
from gncodegen.runtime.host_backend import HostBackend
from gncodegen.saving import write_file
from gncodegen.tables import Table
from gncodegen.targets.cpu.threads import cores

BUDGET = 1.0
"""Seconds to spend on runs, about."""

FEWEST, MOST = 5, 200
"""Runs that are timed."""


@dataclass(frozen=True)
class Cost:
    """What some calls take.

    Args:
        name: of the kernel, or of the layers.
        layers: that they compute.
        calls: how many in a run.
        seconds: of all of them in a run.
        bytes: read and written by design.
        flops: floating-point operations.
        least: seconds that the machine's roofline allows for them; None where nobody measured it.
    """

    name: str
    layers: tuple[str, ...]
    calls: int
    seconds: float
    bytes: int
    flops: int
    least: float | None

    @property
    def bandwidth(self) -> float:
        """Bytes per second."""
        return self.bytes / self.seconds if self.seconds else 0.0

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.flops / self.seconds if self.seconds else 0.0

    @property
    def reached(self) -> float | None:
        """The share of what the machine can; None where that is not known."""
        if self.least is None:
            return None
        return self.least / self.seconds if self.seconds else 0.0

    @property
    def reached_text(self) -> str:
        """That in percent, or "unknown"."""
        return "unknown" if self.reached is None else f"{100 * self.reached:.0f} %"


@dataclass(frozen=True)
class Average:
    """The average of a bucket of gradients over ranks, as far as one of them sees it.

    Args:
        name: which of a run it is.
        layers: whose gradients.
        bytes: of all of them.
        begin: seconds from the begin of a run.
        seconds: that it takes.
    """

    name: str
    layers: tuple[str, ...]
    bytes: int
    begin: float
    seconds: float


@dataclass(frozen=True, repr=False)
class Profile:
    """The times of a run; `str()` of it is a table by kernel.

    Args:
        function: what was run.
        batch_size: observations of a run.
        rounds: runs that were timed; times are medians.
        seconds: of a whole run, which nothing watched.
        calls: what each call takes, in order.
        watched: seconds of a whole run in which each call noted when it ended.
        roofline: of the machine; None of a GPU, which is not measured.
        begins: seconds from the begin of a run to that of each call.
        averages: over ranks, in order; none of a GPU, which does them in a stream of its own.
        edited: the kernels that a user edited.
    """

    function: str
    batch_size: int
    rounds: int
    seconds: float
    watched: float
    calls: tuple[Cost, ...]
    roofline: Roofline | None
    begins: tuple[float, ...] = ()
    averages: tuple[Average, ...] = ()
    edited: tuple[str, ...] = ()

    @property
    def hidden(self) -> float:
        """The share of the averages' time in which calls go on; 1 where there are no averages."""
        whole = sum(average.seconds for average in self.averages)
        shared = sum(
            max(0.0, min(begin + call.seconds, each.begin + each.seconds) - max(begin, each.begin))
            for each in self.averages
            for begin, call in zip(self.begins, self.calls, strict=True)
        )
        return shared / whole if whole else 1.0

    @property
    def kernels(self) -> tuple[Cost, ...]:
        """By kernel, the most expensive first."""
        return _grouped((call.name, call) for call in self.calls)

    @property
    def layers(self) -> tuple[Cost, ...]:
        """By the layers that calls compute together, the most expensive first."""
        return _grouped((" + ".join(call.layers) or "no layer", call) for call in self.calls)

    @property
    def table(self) -> Table:
        """One row per kernel."""
        return self._table("Kernel", self.kernels)

    @property
    def layer_table(self) -> Table:
        """One row per layer, or layers that are computed together."""
        return self._table("Layers", self.layers)

    def _table(self, title: str, costs: tuple[Cost, ...]) -> Table:
        total = sum(cost.seconds for cost in costs) or 1.0
        header = (title, "Calls", "µs", "Share", "GB/s", "GFLOP/s", "Of peak")
        rows = [
            (
                f"{cost.name} (edited)" if cost.name in self.edited else cost.name,
                str(cost.calls),
                f"{1e6 * cost.seconds:,.1f}",
                f"{100 * cost.seconds / total:.1f} %",
                f"{cost.bandwidth / 1e9:.1f}",
                f"{cost.rate / 1e9:.1f}",
                cost.reached_text,
            )
            for cost in costs
        ]
        return Table(header, tuple(rows), frozenset(range(1, len(header))))

    @property
    def summary(self) -> str:
        """The whole run, and how its parts add up, in a line."""
        parts, averages = sum(call.seconds for call in self.calls), ""
        if self.averages:
            spent = sum(average.seconds for average in self.averages)
            averages = f"; averages over ranks take {1e6 * spent:,.1f} µs, {100 * self.hidden:.0f} % of it beside calls"
        return (
            f"{self.function} of {self.batch_size} observations: {1e6 * self.seconds:,.1f} µs, "
            f"{1e6 * self.watched:,.1f} µs watched, {1e6 * parts:,.1f} µs of it in its calls (medians of {self.rounds})"
            f"{averages}"
        )

    def __str__(self) -> str:
        return f"{self.table}\n\n{self.layer_table}\n\n{fill(self.summary, 80)}"

    def __repr__(self) -> str:
        return f"Profile({self.summary})"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.summary)}</p>{self.table.html}"

    def to_dict(self) -> dict[str, Any]:
        """All of it, as json.dumps takes it."""
        kernels = [
            asdict(cost) | {"bandwidth": cost.bandwidth, "rate": cost.rate, "reached": cost.reached}
            for cost in self.kernels
        ]
        return asdict(self) | {"kernels": kernels}

    def trace(self) -> dict[str, Any]:
        """A run as Chrome's trace viewer and Perfetto read it.

        A bar for each call, one for what it computes, and one for each average over ranks, on a track of its own.
        """
        events: list[dict[str, Any]] = []
        for begin, call in zip(self.begins, self.calls, strict=True):
            common = {"ph": "X", "pid": 1, "ts": 1e6 * begin, "dur": 1e6 * call.seconds}
            numbers = {"bytes": call.bytes, "flops": call.flops, "GB/s": call.bandwidth / 1e9, "of peak": call.reached}
            events.append(common | {"name": call.name, "tid": 1, "cat": "kernel", "args": numbers})
            events.append(common | {"name": " + ".join(call.layers) or "no layer", "tid": 2, "cat": "layer"})
        for each in self.averages:
            numbers = {"bytes": each.bytes, "layers": list(each.layers)}
            events.append({"ph": "X", "pid": 1, "tid": 3, "cat": "average", "name": each.name, "args": numbers,
                           "ts": 1e6 * each.begin, "dur": 1e6 * each.seconds})  # fmt: skip
        tracks = {1: "kernels", 2: "layers"} | ({3: "averages over ranks"} if self.averages else {})
        names = [{"ph": "M", "pid": 1, "tid": i, "name": "thread_name", "args": {"name": name}}
                 for i, name in tracks.items()]  # fmt: skip
        return {"traceEvents": [*names, *events], "displayTimeUnit": "ns", "otherData": {"run": self.summary}}

    def write_trace(self, path: str | Path) -> None:
        """Writes `trace` as JSON.

        Raises:
            SaveError: it cannot be written.
        """
        write_file(path, json.dumps(self.trace()).encode())


def _grouped(named: Iterable[tuple[str, Cost]]) -> tuple[Cost, ...]:
    """Costs of equal names added, the most expensive first."""
    found: dict[str, Cost] = {}
    for name, cost in named:
        known = found.get(name, Cost(name, (), 0, 0.0, 0, 0, 0.0))
        found[name] = Cost(
            name,
            tuple(dict.fromkeys((*known.layers, *cost.layers))),
            known.calls + cost.calls,
            known.seconds + cost.seconds,
            known.bytes + cost.bytes,
            known.flops + cost.flops,
            None if cost.least is None else (known.least or 0.0) + cost.least,
        )
    return tuple(sorted(found.values(), key=lambda cost: -cost.seconds))


def timed(
    lowered: Lowered, backend: Backend, persistent: PersistentBuffers, arrays: Mapping[Key, Any], measure: bool = False
) -> Profile:
    """Times a function, in turn watched and not; see `Compiled.profile`.

    Args:
        lowered: the function.
        backend: where it runs.
        persistent: what its Program is bound to; a training step changes it.
        arrays: inputs and targets, C-contiguous.
        measure: whether the machine is measured again.
    """
    program = lowered.program
    if not backend.has_clock:
        target = backend.target.machine.target
        raise TargetError(
            f"profile: target {target!r} runs on no machine whose time counts; allowed: 'cpu', or 'cuda' where there "
            "is a GPU; compile for it"
        )

    def run(runner: Runner) -> float:
        begin = perf_counter()
        runner.run(arrays)
        backend.synchronize()
        return perf_counter() - begin

    with backend.lock, Uninterrupted(), Waiting("timing"):
        watched = backend.timed_runner(program, lowered.sources, persistent)
        whole: list[float] = []
        noted: list[float] = []
        for runner in (lowered.runner, watched):  # these compute the constants, too, which later runs find
            run(runner)
        start = perf_counter()
        ranks = persistent.averaging.collective if program.reductions else ALONE  # who must do as many runs
        while gathered([len(whole) < FEWEST or (len(whole) < MOST and perf_counter() - start < BUDGET)], ranks)[0, 0]:
            whole.append(run(lowered.runner))
            noted.append(run(watched))
    roofline = measured(backend, cores(), measure) if isinstance(backend, HostBackend) else None
    times, waits = (np.median(each[1:], axis=0) for each in (watched.seconds, watched.waits))
    calls: list[Cost] = []
    for call, seconds in list(zip(program.calls, times, strict=True))[program.hoisted :]:
        least = roofline.seconds(call.bytes, call.flops) if roofline else None
        calls.append(Cost(call.kernel, call.layers, 1, float(seconds), call.bytes, call.flops, least))
    begins = np.cumsum(times + waits) - times
    begins -= begins[program.hoisted] if calls else 0.0
    return Profile(
        program.function, program.batch_size, len(whole), median(whole), median(noted), tuple(calls), roofline,
        tuple(begins[program.hoisted :].tolist()),
        _averages(program, watched, begins + times), tuple(lowered.overrides),
    )  # fmt: skip


def _averages(program: Program, watched: TimedRunner, ends: NDArray[np.float64]) -> tuple[Average, ...]:
    """The averages over ranks of a run whose calls end then, in seconds from its begin."""
    found: list[Average] = []
    reductions = [reduction for stop in program.stops for reduction in stop.begin]
    medians = np.median(watched.averages[1:], axis=0)  # none of a device
    for number, (reduction, (begin, end)) in enumerate(zip(reductions, medians, strict=False), 1):
        buffers = {program.root(index) for index in reduction.buffers}
        makers = [
            call for call in program.calls if buffers & {program.root(call.arguments[slot]) for slot in call.writes}
        ]
        found.append(
            Average(
                f"all_reduce_{number}",
                tuple(dict.fromkeys(layer for call in makers for layer in call.layers)),
                sum(program.buffers[index].bytes for index in buffers),
                float(ends[reduction.begin - 1] + begin),
                float(end - begin),
            )
        )
    return tuple(found)
