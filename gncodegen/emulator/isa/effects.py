"""The shapes that an instruction's work takes: operands fetched, computed with, and put back, for the active lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gncodegen.emulator.ptx.operands import nothing
from gncodegen.emulator.ptx.scalars import Array
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.wave import Wave

Compute = Callable[..., Any]
Effect = Callable[[Wave, ActiveLanes], None]


def fetch(values: list[Any], operand: int, active: ActiveLanes) -> Array:
    """An operand's values on the active lanes, one entry each; not to be written to."""
    value = values[operand]
    if value.ndim == 0:
        return np.full(active.count, value)
    return value if active.all else value[active.index]


def put(values: list[Any], operand: int, active: ActiveLanes, result: Any) -> None:
    """Write one entry for each active lane to a register."""
    if operand < 0:
        return
    if active.all:
        values[operand][...] = result
    else:
        values[operand][active.index] = result


class Lanewise:
    """An instruction that computes one register from operands, lane by lane.

    Args:
        function: of arrays with one entry a lane, or of rows of them.
        sources: operands by number.
        destination: a register's number.
    """

    __slots__ = ("_ufunc", "destination", "function", "sources")

    def __init__(self, function: Compute, sources: Sequence[int], destination: int) -> None:
        self.function, self.sources, self.destination = function, tuple(sources), destination
        self._ufunc = isinstance(function, np.ufunc)

    def __call__(self, wave: Wave, active: ActiveLanes) -> None:
        """Compute the register for the active lanes."""
        values, function = wave.values, self.function
        if not active.whole:
            _partial(values, active, function, self.sources, self.destination)
            return
        given = [values[i] for i in self.sources]
        if self._ufunc:
            function(*given, out=values[self.destination], casting="unsafe")
        else:
            values[self.destination][...] = function(*given)


def pure(function: Compute, sources: Sequence[int], destination: int) -> Effect:
    """An instruction that computes one register (-1: none) from operands, lane by lane."""
    return nothing if destination < 0 else Lanewise(function, sources, destination)


def _partial(
    values: list[Any], active: ActiveLanes, function: Compute, sources: Sequence[int], destination: int
) -> None:
    if active.dense:
        result = function(*[values[i] for i in sources])
        np.copyto(values[destination], result, where=active.mask, casting="unsafe")
    else:
        index = active.index
        taken = [value[index] if value.ndim else value for value in (values[i] for i in sources)]
        values[destination][index] = function(*taken)


def several(function: Compute, sources: Sequence[int], destinations: Sequence[int]) -> Effect:
    """An instruction that computes several registers; `function` returns one array for each."""

    def execute(wave: Wave, active: ActiveLanes) -> None:
        values = wave.values
        index = active.index
        taken = [value[index] if value.ndim else value for value in (values[i] for i in sources)]
        for destination, result in zip(destinations, function(*taken), strict=True):
            if destination >= 0:
                values[destination][index] = result

    return execute


def together(effects: Sequence[Effect]) -> Effect:
    """An instruction that does several things, one after the other."""
    if len(effects) == 1:
        return effects[0]

    def execute(wave: Wave, active: ActiveLanes) -> None:
        for effect in effects:
            effect(wave, active)

    return execute
