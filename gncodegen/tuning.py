"""tune=True: the candidates of every op that has some are timed here, and the fastest is taken and remembered.

All candidates of an op give the same bits (kernels.catalog), so what is taken changes nothing but the time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gncodegen.cache import files
from gncodegen.cache.folder import root
from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Problem
from gncodegen.kernels.templates import template_digest
from gncodegen.passes.lower import Lowering
from gncodegen.runtime.backend import Backend, PersistentBuffers
from gncodegen.runtime.timing import Case, seconds
from gncodegen.specification import Specification, sources_digest

MARGIN = 0.03
"""Share of its time by which a candidate must be faster than the first, so that noise decides nothing."""

Measure = Callable[[Backend, PersistentBuffers, Sequence[Case]], Iterator[list[float]]]
"""Seconds of every candidate, case by case."""

_log = logging.getLogger(__name__)


def tuned(
    specification: Specification, backend: Backend, persistent: PersistentBuffers, measure: Measure | None = None
) -> Specification:
    """The specification with the fastest candidate of every op chosen.

    Args:
        specification: of one function.
        backend: of the CPU.
        persistent: what its programs are bound to.
        measure: times what is not remembered yet; None = `seconds`.
    """
    known: dict[str, int] = {}
    cases: list[Case] = []
    for problem in Lowering(specification).problems():
        plans = catalog.candidates(problem)
        remembered = _recall(problem, backend.target.tag, len(plans)) if len(plans) > 1 else 0
        if remembered is None:
            cases.append((problem, plans))
        else:
            known[problem.digest] = remembered
    measured = (measure or seconds)(backend, persistent, cases)
    for (problem, plans), times in zip(cases, measured, strict=True):
        known[problem.digest] = number = _fastest(times)
        _remember(problem, backend.target.tag, number, times)
        _log.info(
            "%s %s: candidate %d of %d, %.3g s against %.3g s",
            problem.op, problem.operands[0].shape, number, len(plans), times[number], times[0],
        )  # fmt: skip
    choices = tuple(f"{digest}:{number}" for digest, number in known.items() if number)
    return replace(specification, choices=choices)


def _fastest(times: Sequence[float]) -> int:
    """The number of the fastest, or 0 where none is faster than the first by more than noise."""
    number = min(range(len(times)), key=lambda index: times[index])
    return number if times[number] < times[0] * (1 - MARGIN) else 0


def record_path(problem: Problem, tag: str) -> Path:
    """Where a choice is remembered: by CPU and versions, templates, plans, problem and machine with its cores."""
    facts = (problem.digest, template_digest(), sources_digest("kernels"))
    name = hashlib.sha256(" ".join(facts).encode()).hexdigest()[:24]
    return root() / "tuned" / tag / f"{problem.op}_{name}.json"


def _recall(problem: Problem, tag: str, count: int) -> int | None:
    """The number of the remembered candidate; None if there is none, or the record is damaged."""
    content = files.read(record_path(problem, tag))
    try:
        number = json.loads(content or b"")["choice"]
    except (ValueError, KeyError, TypeError):
        return None
    return number if type(number) is int and 0 <= number < count else None


def _remember(problem: Problem, tag: str, number: int, times: Sequence[float]) -> None:
    """Writes the choice, with what a reader of the file may want to know."""
    shapes = [tensor.shape for tensor in (*problem.operands, *problem.results)]
    attributes = dict(problem.attributes)
    record = {"choice": number, "seconds": list(times), "op": problem.op, "shapes": shapes, "attributes": attributes}
    files.keep(record_path(problem, tag), json.dumps(record, indent=1).encode())
