"""Races between the threads of a block within one barrier interval (CUDA programming guide, memory model).

Accesses are only noted; when a block's interval ends, those to bytes that someone wrote are compared. Threads of one
warp are ordered by what synchronises them (bar.warp.sync, shfl.sync and the other .sync instructions). Strong accesses
(volatile, relaxed, acquire, release, atomic) race with weak ones only, and order nothing within their block. Threads
that store the same value to one place by one instruction race, unless the launch says that they may (`agreeing`).

In shared memory the blocks of a cluster are compared with each other; in global memory each block is looked at alone,
and `order` and `clocks` compare the blocks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.ptx.scalars import Array
from gncodegen.emulator.state.lanes import ActiveLanes, Mask
from gncodegen.emulator.state.observer import Access, Observer, Scope
from gncodegen.emulator.state.threads import Threads

_MOST_BYTES = 1 << 28


class BarrierIntervals(Observer):
    """The accesses of the current interval of every block to one region.

    Args:
        nbytes: of the region.
        granule: bytes told apart.
        describe: what lies at an offset of the region, for a fault.
        apart: whether each block is looked at alone.
    """

    def __init__(self, nbytes: int, granule: int, describe: Callable[[int], str], *, apart: bool) -> None:
        self._granule, self._describe, self._apart = granule, describe, apart
        self._accesses: list[Access] = []
        self._syncs: list[tuple[int, ActiveLanes]] = []
        self._owner: npt.NDArray[np.int32] = np.zeros(-(-nbytes // granule // 16) * 16 + 16, np.int32)
        self._bytes, self._most = 0, _MOST_BYTES

    def access(self, threads: Threads, access: Access) -> None:
        """Keep the access until the interval ends."""
        self._accesses.append(access)
        self._bytes += access.offsets.nbytes
        if self._bytes > self._most:
            self._check(threads, self._accesses)
            self._drop_reads()

    def _drop_reads(self) -> None:
        """Under memory pressure forget reads that raced with nothing so far (a later write could have)."""
        self._keep([access for access in self._accesses if access.write])

    def _keep(self, accesses: list[Access]) -> None:
        self._accesses, self._bytes = accesses, sum(access.offsets.nbytes for access in accesses)
        self._most = max(_MOST_BYTES, 2 * self._bytes)

    def converge(self, threads: Threads, active: ActiveLanes) -> None:
        """Note that the active lanes of each warp wait for each other now."""
        if self._accesses:
            self._syncs.append((threads.time, active))

    def barrier(self, threads: Threads, passed: Mask | None, scope: Scope) -> None:
        """End the interval of every block (None) or of those flagged.

        Raises:
            EmulationFault: two of its threads raced.
        """
        ended, kept = self._accesses, list[Access]()
        if passed is not None:
            parts = [(access, passed[threads.block[access.lanes]]) for access in self._accesses]
            kept = [access.of(~flags) for access, flags in parts if not flags.all()]
            ended = [access.of(flags) for access, flags in parts if flags.any()] if self._apart else ended
        self._check(threads, ended)
        self._keep(kept)
        self._syncs = self._syncs if kept else []

    def _granules(self, access: Access) -> Array:
        """The granules each lane touches: (lanes, granules of one access)."""
        width = max(access.nbytes // self._granule, 1)
        return (access.offsets // (self._granule * width))[:, None] * width + np.arange(width)

    def _check(self, threads: Threads, accesses: list[Access]) -> None:
        writes = [access for access in accesses if access.write]
        if not writes:
            return
        near = _near(accesses, writes) if self._apart else accesses  # most global operands are read only
        written = [self._joined(nbytes, some) for nbytes, some in _by_width(writes)]
        for rows, place, tags in written:
            rows[place] = tags
        contested: list[Array] = []
        for nbytes, some in _by_width(near):
            rows, place, tags = self._joined(nbytes, some)
            found = rows.take(place, axis=0)
            clash = (found != 0) & (found != tags)
            if clash.any():
                contested.append((place[:, None] * rows.shape[1] + np.arange(rows.shape[1]))[clash])
        for rows, place, _ in written:
            rows[place] = 0
        if contested:
            self._compare(threads, near, np.unique(np.concatenate(contested)))

    def _joined(self, nbytes: int, accesses: list[Access]) -> tuple[Array, Array, Array]:
        """Accesses of one width: the granules' owners in rows as wide, each lane's row, and its tag in a column."""
        width = max(nbytes // self._granule, 1)
        place = np.concatenate([access.offsets for access in accesses]) // (self._granule * width)
        tags = np.concatenate([access.lanes for access in accesses]).astype(np.int32) + np.int32(1)
        return self._owner.reshape(-1, width), place, tags[:, None]

    def _compare(self, threads: Threads, accesses: list[Access], contested: Array) -> None:
        """Look at every access to granules that two lanes touch and one writes."""
        columns: list[Array] = []
        for number, access in enumerate(accesses):
            place = self._granules(access)
            row, column = np.nonzero(np.isin(place, contested))
            if access.agreed:  # of lanes that store the same value at once, one counts
                first = np.unique(place[row, column], return_index=True)[1]
                row, column = row[first], column[first]
            lanes = access.lanes[row]
            same = np.ones_like(lanes)
            flags = (same * access.write, same * access.strong, same * number)
            columns.append(np.stack([place[row, column], lanes, threads.warp[lanes], same * access.time, *flags]))
        where, lane, warp, time, write, strong, number = np.concatenate(columns, axis=1)
        epoch = self._epochs(threads, warp, time)
        order = np.lexsort((epoch, warp, where))
        where, lane, warp, write, strong, number, epoch = (
            column[order] for column in (where, lane, warp, write, strong, number, epoch)
        )
        within = (where, warp, epoch)
        among = (where, threads.block[lane]) if self._apart else (where,)
        for keys, who in ((within, lane), (among, warp)):
            start = np.flatnonzero(np.any([np.diff(key, prepend=-1) != 0 for key in keys], axis=0))
            bad = _racing(start, who, write, strong)
            if bad.size:
                first, end = bad[0]
                one, other = _pair(slice(int(first), int(end)), who, write)
                places = [(accesses[int(number[i])], int(lane[i])) for i in (one, other)]
                self._report(threads, int(where[one]), sorted(places, key=lambda place: place[0].time))

    def _epochs(self, threads: Threads, warp: Array, time: Array) -> Array:
        """How often an access's warp had synchronised before it."""
        if not self._syncs:
            return np.zeros_like(time)
        keys = np.sort(
            np.concatenate([np.unique(threads.warp[active.index]) * (1 << 40) + at for at, active in self._syncs])
        )
        return np.searchsorted(keys, warp * (1 << 40) + time)

    def _report(self, threads: Threads, where: int, places: list[tuple[Access, int]]) -> None:
        (early, lane_early), (late, lane_late) = places
        what = self._describe(where * self._granule)
        did = "written" if early.write else "read"
        line = threads.module.source_line(early.pc)
        threads.fault_at(
            f"race: {what} is {'written' if late.write else 'read'} by this thread and {did} by thread"
            f" {int(threads.thread[lane_early])} (line {line},"
            f" `{threads.module.steps[early.pc].instruction.text}`) with no barrier between",
            lane_late,
            late.pc,
        )


def _by_width(accesses: list[Access]) -> list[tuple[int, list[Access]]]:
    """The accesses of each width in bytes."""
    result: dict[int, list[Access]] = {}
    for access in accesses:
        result.setdefault(access.nbytes, []).append(access)
    return list(result.items())


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of bytes in ascending order, those that meet made one."""
    result: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if result and low <= result[-1][1]:
            result[-1] = result[-1][0], max(high, result[-1][1])
        else:
            result.append((low, high))
    return result


def _near(accesses: list[Access], writes: list[Access]) -> list[Access]:
    """The accesses to bytes between the first and the last that some write touches."""
    spans = _merged([access.span for access in writes])

    def meets(low: int, high: int) -> bool:
        last = bisect_left(spans, high, key=lambda span: span[0]) - 1
        return last >= 0 and spans[last][1] > low

    return [access for access in accesses if access.write or meets(*access.span)]


def _pair(group: slice, who: Array, write: Array) -> tuple[int, int]:
    """The first write of a group and the first access of another `who`."""
    first = int(np.flatnonzero(write[group])[0]) + group.start
    return first, int(np.flatnonzero(who[group] != who[first])[0]) + group.start


def _racing(start: Array, who: Array, write: Array, strong: Array) -> Array:
    """The groups (first, end) in which two different `who` touch, one writes, and not all are strong."""
    if not start.size:
        return np.zeros((0, 2), np.int64)
    differ = np.minimum.reduceat(who, start) != np.maximum.reduceat(who, start)
    written = np.maximum.reduceat(write, start) > 0
    weak = np.minimum.reduceat(strong, start) == 0
    ends = np.append(start[1:], who.size)
    return np.stack([start, ends], axis=1)[differ & written & weak]
