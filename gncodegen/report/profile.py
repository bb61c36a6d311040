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

from gncodegen.errors import TargetError
from gncodegen.lowering import Lowered
from gncodegen.process.signals import Uninterrupted
from gncodegen.process.waiting import Waiting
from gncodegen.report.roofline import Roofline, measured
from gncodegen.runtime.backend import Backend, Key, PersistentBuffers, Runner
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
    """

    function: str
    batch_size: int
    rounds: int
    seconds: float
    watched: float
    calls: tuple[Cost, ...]
    roofline: Roofline | None

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
                cost.name,
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
        parts = sum(call.seconds for call in self.calls)
        return (
            f"{self.function} of {self.batch_size} observations: {1e6 * self.seconds:,.1f} µs, "
            f"{1e6 * self.watched:,.1f} µs watched, {1e6 * parts:,.1f} µs of it in its calls (medians of {self.rounds})"
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
        """A run as Chrome's trace viewer and Perfetto read it: a bar for each call, and one for what it computes."""
        events: list[dict[str, Any]] = []
        begin = 0.0
        for call in self.calls:
            common = {"ph": "X", "pid": 1, "ts": 1e6 * begin, "dur": 1e6 * call.seconds}
            numbers = {"bytes": call.bytes, "flops": call.flops, "GB/s": call.bandwidth / 1e9, "of peak": call.reached}
            events.append(common | {"name": call.name, "tid": 1, "cat": "kernel", "args": numbers})
            events.append(common | {"name": " + ".join(call.layers) or "no layer", "tid": 2, "cat": "layer"})
            begin += call.seconds
        names = [{"ph": "M", "pid": 1, "tid": i, "name": "thread_name", "args": {"name": name}}
                 for i, name in ((1, "kernels"), (2, "layers"))]  # fmt: skip
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
        while len(whole) < FEWEST or (len(whole) < MOST and perf_counter() - start < BUDGET):
            whole.append(run(lowered.runner))
            noted.append(run(watched))
    roofline = measured(backend, cores(), measure) if isinstance(backend, HostBackend) else None
    times = np.median(watched.seconds[1:], axis=0)
    calls: list[Cost] = []
    for call, seconds in list(zip(program.calls, times, strict=True))[program.hoisted :]:
        least = roofline.seconds(call.bytes, call.flops) if roofline else None
        calls.append(Cost(call.kernel, call.layers, 1, float(seconds), call.bytes, call.flops, least))
    return Profile(
        program.function, program.batch_size, len(whole), median(whole), median(noted), tuple(calls), roofline
    )
