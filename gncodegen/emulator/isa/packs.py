"""Packs: consecutive instructions of one kind that do not depend on each other, executed as one NumPy operation.

A kernel's innermost loop is hundreds of fused multiply-adds, and a wave of few lanes spends its time between them. (S.
Larsen, S. Amarasinghe: Exploiting superword level parallelism with multimedia instruction sets, PLDI 2000.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    place = module.registers.rows
    found: list[Pack | None] = [None] * len(module.steps)
    pc = 0
    while pc < len(module.steps):
        members = _members(module, pc)
        if len(members) >= _FEWEST:
            found[pc] = _pack(module, members, place)
        pc += max(len(members), 1)
    return found


def _members(module: Module, start: int) -> list[Lanewise]:
    """The instructions from `start` on that can be executed as one."""
    members: list[Lanewise] = []
    written: set[str] = set()
    for pc in range(start, len(module.steps)):
        step = module.steps[pc]
        one = step.execute
        if not isinstance(one, Lanewise) or step.guard >= 0 or (members and pc in module.labelled):
            break
        destination = module.operands[one.destination]
        sources = [module.operands[source] for source in one.sources]
        if not _packable(module, destination) or destination.name in written or written & {s.name for s in sources}:
            break
        if members and not _isomorphic(module, members[0], one):
            break
        members.append(one)
        written.add(destination.name)
    return members


def _packable(module: Module, operand: Operand) -> bool:
    return operand.kind == "register" and module.registers.stored[operand.name].itemsize == operand.dtype.itemsize


def _isomorphic(module: Module, first: Lanewise, other: Lanewise) -> bool:
    if first.function is not other.function or len(first.sources) != len(other.sources):
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


def _pack(module: Module, members: Sequence[Lanewise], place: dict[str, int]) -> Pack:
    columns = [list(column) for column in zip(*(one.sources for one in members), strict=True)]
    return Pack(
        members[0].function,
        [column[0] if len(set(column)) == 1 else _rows(module, column, place) for column in columns],
        _rows(module, [one.destination for one in members], place),
    )


def _rows(module: Module, column: Sequence[int], place: dict[str, int]) -> Rows:
    found = [place[module.operands[operand].name] for operand in column]
    step = found[1] - found[0]
    consecutive = step > 0 and found == list(range(found[0], found[-1] + 1, step))
    return (
        module.operands[column[0]].dtype,
        slice(found[0], found[-1] + 1, step) if consecutive else np.array(found),
        len(found),
    )
