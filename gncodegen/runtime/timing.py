"""How long plans of one op take here: each is a Program of its own, run on arrays of the planned shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.allocation import lasting
from gncodegen.kernels.program import OUTPUT_KINDS, Program
from gncodegen.kernels.schedule import Plan, Problem
from gncodegen.kernels.single import program
from gncodegen.kernels.store import Source
from gncodegen.runtime.backend import Backend, Key, PersistentBuffers

BUDGET = 0.4
"""Seconds to spend on one op, about."""

FEWEST_ROUNDS, MOST_ROUNDS = 9, 101
"""How often each plan takes its turn."""

Case = tuple[Problem, Sequence[Plan]]
"""An op and the plans to be timed."""


def medians(runs: Sequence[Callable[[], object]], clock: Callable[[], float] = perf_counter) -> list[float]:
    """Median seconds of each run; they take turns, so that a busy moment of the machine strikes all of them.

    Args:
        runs: what is timed; each is run twice before it counts.
        clock: seconds.
    """
    from statistics import median  # noqa: PLC0415  a start that times nothing needs none

    for run in runs:
        run()
    start = clock()
    for run in runs:
        run()
    rounds = min(max(int(BUDGET / max(clock() - start, 1e-9)), FEWEST_ROUNDS), MOST_ROUNDS)
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(rounds):
        for index in range(len(runs)):
            run = (index + turn) % len(runs)  # each of them comes after another one, and first, as often
            start = clock()
            runs[run]()
            times[run].append(clock() - start)
    return [median(each) for each in times]


def seconds(backend: Backend, persistent: PersistentBuffers, cases: Sequence[Case]) -> Iterator[list[float]]:
    """The median seconds of every plan, case by case, after the kernels of all were compiled at once.

    Args:
        backend: of the CPU.
        persistent: what its programs are bound to.
        cases: ops with the plans to be timed.
    """
    programs = [[program(problem, plan) for plan in plans] for problem, plans in cases]
    target = backend.target
    files = [[target.write(each.kernels.values()) for each in case] for case in programs]
    target.compile([source for case in files for sources in case for source in sources])
    for case, sources in zip(programs, files, strict=True):
        yield medians(_runs(backend, persistent, case, sources))


def _runs(
    backend: Backend, persistent: PersistentBuffers, programs: Sequence[Program], files: Sequence[Sequence[Source]]
) -> list[Callable[[], None]]:
    """A call for each of some Programs of one op that runs it and reads its results, all on the same arrays.

    The next op of a network reads them as well: a result written past the caches costs time only then.
    """
    random = np.random.default_rng(0)
    arrays: dict[Key, NDArray[Any]] = {}
    for key, index in programs[0].arguments.items():
        buffer = programs[0].buffers[index]
        arrays[key] = array = lasting(buffer.shape, buffer.dtype)
        if key[0] not in OUTPUT_KINDS and array.dtype.kind == "f":
            random.random(out=array, dtype=array.dtype)  # pyright: ignore[reportCallIssue, reportArgumentType]
            array -= 0.5

    results = [array for (kind, _), array in arrays.items() if kind in OUTPUT_KINDS]

    def call(each: Program, sources: Sequence[Source]) -> Callable[[], None]:
        runner = backend.runner(each, dict(zip(each.kernels, sources, strict=True)), persistent)

        def run() -> None:
            with backend.lock:
                runner.run(arrays)
            for result in results:
                result.max(initial=0)

        return run

    return [call(each, sources) for each, sources in zip(programs, files, strict=True)]
