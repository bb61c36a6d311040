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


def pure(function: Compute, sources: Sequence[int], destination: int) -> Effect:
    """An instruction that computes one register from operands, lane by lane."""
    if destination < 0:
        return nothing
    if isinstance(function, np.ufunc):
        return _elementwise(function, sources, destination)

    def execute(wave: Wave, active: ActiveLanes) -> None:
        values = wave.values
        if active.whole:
            values[destination][...] = function(*[values[i] for i in sources])
        else:
            _partial(values, active, function, sources, destination)

    return execute


def _elementwise(function: np.ufunc, sources: Sequence[int], destination: int) -> Effect:
    if len(sources) == 2:
        left, right = sources

        def binary(wave: Wave, active: ActiveLanes) -> None:
            values = wave.values
            if active.whole:
                function(values[left], values[right], out=values[destination], casting="unsafe")
            else:
                _partial(values, active, function, sources, destination)

        return binary

    def execute(wave: Wave, active: ActiveLanes) -> None:
        values = wave.values
        if active.whole:
            function(*[values[i] for i in sources], out=values[destination], casting="unsafe")
        else:
            _partial(values, active, function, sources, destination)

    return execute


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
