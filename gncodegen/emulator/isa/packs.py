"""Packs: consecutive instructions of one kind that do not depend on each other, executed as one NumPy operation.

A kernel's innermost loop is hundreds of fused multiply-adds, and a wave of few lanes spends its time between them. (S.
Larsen, S. Amarasinghe: Exploiting superword level parallelism with multimedia instruction sets, PLDI 2000.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gncodegen.emulator.isa.effects import Lanewise
from gncodegen.emulator.ptx.module import Module
from gncodegen.emulator.ptx.operands import Operand
from gncodegen.emulator.state.wave import Wave

_FEWEST = 3
_MOST_ELEMENTS = 1 << 15  # of a register's rows worked on at once: they stay in the L2 cache

Rows = tuple[np.dtype[Any], "slice | np.ndarray[Any, Any]", int]
"""A column of operands: their type, their rows in the register file, and how many."""


class Pack:
    """Instructions [first, first + count) of a kernel.

    Args:
        function: what each of them computes.
        sources: for each of its arguments, the registers by instruction, or the one operand that all read.
        destinations: the registers they write.
    """

    def __init__(self, function: Callable[..., Any], sources: Sequence[Rows | int], destinations: Rows) -> None:
        self.count = destinations[2]
        self._function, self._sources, self._destinations = function, sources, destinations

    def fits(self, wave: Wave) -> bool:
        """Whether the wave has so few lanes that packing pays."""
        return 2 * wave.size <= _MOST_ELEMENTS

    def execute(self, wave: Wave) -> None:
        """Execute all of them for all lanes."""
        values, file = wave.values, wave.registers.file
        given = [values[one] if isinstance(one, int) else file(one[0])[one[1]] for one in self._sources]
        dtype, places, _ = self._destinations
        file(dtype)[places] = self._function(*given)


def packs(module: Module) -> list[Pack | None]:
    """For each instruction the pack that begins there, if one does."""
    found: list[Pack | None] = [None] * len(module.steps)
    for start, run in _runs(module):
        at = 0
        while at + _FEWEST <= len(run):
            count = _independent(module, run[at:])
            if count >= _FEWEST:
                found[start + at] = _pack(module, run[at : at + count])
            at += count
    return found


def _runs(module: Module) -> Iterator[tuple[int, list[Lanewise]]]:
    """Where at least so many instructions of one function follow each other, with no guard and no branch between."""
    run: list[Lanewise] = []
    for pc, step in enumerate(module.steps):
        one = step.execute if step.guard < 0 and isinstance(step.execute, Lanewise) else None
        if run and (one is None or one.function is not run[0].function or pc in module.labelled):
            if len(run) >= _FEWEST:
                yield pc - len(run), run
            run = []
        if one is not None:
            run.append(one)
    if len(run) >= _FEWEST:
        yield len(module.steps) - len(run), run


def _independent(module: Module, run: Sequence[Lanewise]) -> int:
    """How many instructions from the first on have operands of the same kinds and read nothing that another writes."""
    written: set[str] = set()
    for count, one in enumerate(run):
        destination = module.operands[one.destination]
        read = {module.operands[source].name for source in one.sources}
        dependent = destination.name in written or not written.isdisjoint(read)
        if dependent or not _packable(module, destination) or not _isomorphic(module, run[0], one):
            return max(count, 1)
        written.add(destination.name)
    return len(run)


def _packable(module: Module, operand: Operand) -> bool:
    return operand.kind == "register" and module.registers.stored[operand.name].itemsize == operand.dtype.itemsize


def _isomorphic(module: Module, first: Lanewise, other: Lanewise) -> bool:
    if len(first.sources) != len(other.sources):
        return False
    operands = module.operands
    pairs = zip([*first.sources, first.destination], [*other.sources, other.destination], strict=True)
    return all(
        one == two
        or (
            operands[one].dtype == operands[two].dtype
            and _packable(module, operands[one])
            and _packable(module, operands[two])
        )
        for one, two in pairs
    )


def _pack(module: Module, members: Sequence[Lanewise]) -> Pack:
    columns = [list(column) for column in zip(*(one.sources for one in members), strict=True)]
    return Pack(
        members[0].function,
        [column[0] if len(set(column)) == 1 else _rows(module, column) for column in columns],
        _rows(module, [one.destination for one in members]),
    )


def _rows(module: Module, column: Sequence[int]) -> Rows:
    found = [module.registers.rows[module.operands[operand].name] for operand in column]
    step = found[1] - found[0]
    consecutive = step > 0 and found == list(range(found[0], found[-1] + 1, step))
    return (
        module.operands[column[0]].dtype,
        slice(found[0], found[-1] + 1, step) if consecutive else np.array(found),
        len(found),
    )
