"""Bytes between lanes and memory, with every check."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.emulator.isa.effects import fetch
from gncodegen.emulator.ptx.scalars import UNSIGNED, Array, element
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.observer import Offsets
from gncodegen.emulator.state.regions import Region
from gncodegen.emulator.state.wave import Wave

_EVERY_BIT = {size: kind.type(2 ** (8 * size) - 1) for size, kind in UNSIGNED.items()}
_READY = {size: np.full(size, 0xFF, np.uint8).view(element(size))[0] for size in (1, 2, 4, 8, 16)}


def addresses(values: list[Any], base: int, offset: int, active: ActiveLanes) -> Offsets:
    """Each active lane's address as int64: operand number `base`, plus an offset in bytes, in the bits it has."""
    start = fetch(values, base, active)
    if start.dtype.itemsize == 8:
        wide: Offsets = start.view(np.int64)
        return wide + offset if offset else wide
    return (start.astype(np.int64) + offset) & 0xFFFF_FFFF if offset else start.astype(np.int64)


def read_bytes(
    wave: Wave, space: str, address: Offsets, active: ActiveLanes, nbytes: int, *, strong: bool = False
) -> Array:
    """`nbytes` (1, 2, 4, 8 or 16) from each lane's address, as one element a lane, with every check."""
    kind = element(nbytes)
    shift = nbytes.bit_length() - 1
    result = None
    for region, offsets, lanes, chosen in wave.spaces.resolve(wave, space, address, active, nbytes):
        place = offsets >> shift
        if region.ready is not None:
            ready = region.ready.view(kind).take(place).view(np.uint64 if nbytes > 8 else kind)
            if np.bitwise_and.reduce(ready) != _EVERY_BIT[ready.dtype.itemsize]:
                _uninitialised(wave, region, region.ready, offsets, nbytes, lanes)
        data = region.data.view(kind).take(place)
        region.note(wave, offsets, nbytes, lanes, write=False, strong=strong)
        if lanes is active:
            return data
        result = np.empty(active.count, kind) if result is None else result
        result[chosen] = data
    assert result is not None
    return result


def _uninitialised(
    wave: Wave, region: Region, ready: Array, offsets: Offsets, nbytes: int, active: ActiveLanes
) -> None:
    flags = ready[offsets[:, None] + np.arange(nbytes)] == 0
    lane, byte = (int(found[0]) for found in np.nonzero(flags))
    what = region.describe(int(offsets[lane]) + byte)
    wave.fault(f"{region.name} memory is read before it is written: {what}", active, lane)


def write_bytes(
    wave: Wave, space: str, address: Offsets, active: ActiveLanes, nbytes: int, data: Array, *, strong: bool = False
) -> None:
    """Store one element of `nbytes` at each lane's address, with every check."""
    kind = element(nbytes)
    shift = nbytes.bit_length() - 1
    wave.progress |= not strong
    for region, offsets, lanes, chosen in wave.spaces.resolve(wave, space, address, active, nbytes):
        place = offsets >> shift
        if strong and not wave.progress:
            wave.progress = bool((region.data.view(kind)[place] != data[chosen]).any())
        values = data[chosen]
        region.data.view(kind)[place] = values
        if region.ready is not None:
            region.ready.view(kind)[place] = _READY[nbytes]
        agreed = wave.configuration.agreeing and bool((region.data.view(kind).take(place) == values).all())
        region.note(wave, offsets, nbytes, lanes, write=True, strong=strong, agreed=agreed)
