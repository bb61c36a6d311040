"""What orders the blocks of a cooperative or cluster launch: vector clocks of blocks (PTX ISA 8, memory model).

A release (st.release, atom.release, or a strong store behind a fence) publishes, with its flag, what its block did up
to its last barrier, what its own thread did up to now, and all that the block knew. An acquire (ld.acquire, or a strong
load followed by a fence) makes that known to its thread, and at the block's next barrier to the whole block. Behind a
cluster barrier every block of the cluster knows the others' past.

Two simplifications: where several blocks have read a granule without order between them, a writer must know all
blocks of the grid (or, if the readers share a cluster, of the cluster) up to the last read; and strong writes are not
compared with later weak accesses.
"""

from __future__ import annotations

import numpy as np

from gncodegen.emulator.checks.order import BlockOrder
from gncodegen.emulator.ptx.scalars import Array
from gncodegen.emulator.state.lanes import ActiveLanes, Mask
from gncodegen.emulator.state.memory import DeviceMemory
from gncodegen.emulator.state.observer import Access, Offsets, Scope
from gncodegen.emulator.state.threads import Threads

_UNTIL, _SOLO, _LANE = range(3)  # a row of knowledge: all threads' time, one thread's later time, that thread + 1
_CLUSTER, _GRID = np.int32(-1), np.int32(-2)  # read by several blocks of one cluster, of the grid


def _join(one: Array, two: Array) -> Array:
    """Both rows' knowledge; each is (3, blocks)."""
    later = two[_SOLO] > one[_SOLO]
    return np.stack(
        [
            np.maximum(one[_UNTIL], two[_UNTIL]),
            np.where(later, two[_SOLO], one[_SOLO]),
            np.where(later, two[_LANE], one[_LANE]),
        ]
    )


class VectorClocks(BlockOrder):
    """`BlockOrder` with knowledge between blocks. Tags hold lane + 1 in the launch, and the time of the access.

    Args:
        memory: the device's memory.
        granule: bytes told apart.
        grid: blocks of the launch.
        block: threads of a block.
        cluster: blocks of a cluster.
    """

    def __init__(self, memory: DeviceMemory, granule: int, grid: int, block: int, cluster: int) -> None:
        super().__init__(memory, granule)
        self.write_time, self.read_time = np.zeros_like(self.writer), np.zeros_like(self.reader)
        self._threads, self._cluster = block, cluster
        self._known = np.zeros((grid, 3, grid), np.int64)
        self._barrier = np.zeros(grid, np.int64)
        self._fence = np.zeros((2, grid * block), np.int64)  # a lane's last fence; its block's barrier before that
        self._flags: dict[int, Array] = {}
        self._acquired: dict[int, Array] = {}  # lane → row, until its block's next barrier
        self._seen: dict[int, Array] = {}  # lane → row, until its next fence

    def access(self, threads: Threads, access: Access) -> None:
        """Note an access and compare it with those of blocks whose past its own does not know.

        Raises:
            EmulationFault: an unordered access by another block, and one of the two writes.
        """
        active, write = access.active, access.write
        place, width = self._place(access)
        places = place[:, None] * width + np.arange(width)
        lane = (active.index + threads.first * self._threads)[:, None]
        self._ordered(threads, active, places, lane, self.writer, self.write_time, write, "written")
        if write:
            self._ordered(threads, active, places, lane, self.reader, self.read_time, write, "read")
        if access.strong:
            return
        tags, times = (self.writer, self.write_time) if write else (self.reader, self.read_time)
        if write:
            tags[places] = lane + 1
            self._same_instruction(threads, active, places, lane)
        else:
            self._read(threads, places, lane)
        times[places] = threads.time

    def _read(self, threads: Threads, places: Array, lane: Array) -> None:
        before = self.reader[places]
        other = (before < 0) | ((before > 0) & ((before - 1) // self._threads != lane // self._threads))
        known = self._knows(before, self.read_time[places], lane) & other
        after = np.where(other & ~known, self._level(before, lane), lane + 1).astype(np.int32)
        self.reader[places] = after
        lost = self.reader[places] != after
        if lost.any():
            winner = self.reader[places]
            alien = lost & ((winner < 0) | ((winner - 1) // self._threads != lane // self._threads))
            self.reader[places[alien]] = _GRID if self._cluster == 1 else self._level(winner, lane)[alien]

    def _level(self, before: Array, lane: Array) -> Array:
        """The tag of a granule read by `before`'s reader and by a lane of another block."""
        size = self._threads * self._cluster
        near = (before == _CLUSTER) | ((before > 0) & ((before - 1) // size == lane // size))
        return np.where(near & (self._cluster > 1), _CLUSTER, _GRID)

    def _knows(self, tag: Array, time: Array, lane: Array) -> Array:
        """Whether the lane's block knows what the tag's lane did at a time."""
        block, who = np.broadcast_to(lane // self._threads, tag.shape), np.maximum(tag - 1, 0) // self._threads
        result = self._known[block, _UNTIL, who] >= time
        result |= (self._known[block, _LANE, who] == tag) & (self._known[block, _SOLO, who] >= time)
        for level in (_GRID, _CLUSTER):
            chosen = tag == level
            for one in np.unique(block[chosen]) if chosen.any() else ():
                row = self._known[one, _UNTIL].copy()
                row[one] = np.iinfo(np.int64).max
                near = slice(None) if level == _GRID else self._of_cluster(int(one))
                here = chosen & (block == one)
                result[here] = row[near].min() >= time[here]
        return result

    def _of_cluster(self, block: int) -> slice:
        first = block // self._cluster * self._cluster
        return slice(first, first + self._cluster)

    def _ordered(
        self,
        threads: Threads,
        active: ActiveLanes,
        places: Array,
        lane: Array,
        tags: Array,
        times: Array,
        write: bool,
        did: str,
    ) -> None:
        found = tags[places]
        alien = (found != 0) & ((found < 0) | ((found - 1) // self._threads != lane // self._threads))
        if not alien.any():
            return
        bad = alien & ~self._knows(found, times[places], lane)
        for row in np.flatnonzero(bad.any(axis=1)):
            mine = self._acquired.get(int(lane[row, 0]))
            for column in np.flatnonzero(bad[row]):
                tag, time = int(found[row, column]), int(times[places[row, column]])
                if mine is None or not self._lane_knows(mine, tag, time, int(lane[row, 0])):
                    self._race(threads, active, int(row), int(places[row, column]), tag, write, did)

    def _lane_knows(self, row: Array, tag: int, time: int, lane: int) -> bool:
        if tag < 0:
            until, own = row[_UNTIL].copy(), lane // self._threads
            until[own] = np.iinfo(np.int64).max
            return bool(until[slice(None) if tag == _GRID else self._of_cluster(own)].min() >= time)
        who = (tag - 1) // self._threads
        return bool(row[_UNTIL, who] >= time or (row[_LANE, who] == tag and row[_SOLO, who] >= time))

    def _same_instruction(self, threads: Threads, active: ActiveLanes, places: Array, lane: Array) -> None:
        found = self.writer[places]
        bad = (found - 1) // self._threads != lane // self._threads
        if bad.any():
            row, column = (int(one[0]) for one in np.nonzero(bad))
            self._race(threads, active, row, int(places[row, column]), int(found[row, column]), True, "written")

    def _race(
        self, threads: Threads, active: ActiveLanes, row: int, place: int, tag: int, write: bool, did: str
    ) -> None:
        what = self._memory.describe(place * self.granule)
        who = f"block {(tag - 1) // self._threads}, thread {(tag - 1) % self._threads}" if tag > 0 else "several blocks"
        verb = "written" if write else "read"
        threads.fault(
            f"race between blocks: {what} is {verb} here and was {did} by {who}, with nothing that orders the two",
            active, row,
        )  # fmt: skip

    def _lanes(self, threads: Threads, active: ActiveLanes) -> list[int]:
        return [int(one) for one in active.index + threads.first * self._threads]

    def strong_load(self, threads: Threads, active: ActiveLanes, address: Offsets, acquires: bool) -> None:
        """A strong load: its lane sees what the flag published, at once if it acquires, else at its next fence."""
        if not self._flags:
            return
        target = self._acquired if acquires else self._seen
        for lane, at in zip(self._lanes(threads, active), address.tolist(), strict=True):
            row = self._flags.get(at)
            if row is not None:
                target[lane] = _join(target[lane], row) if lane in target else row

    def strong_store(
        self, threads: Threads, active: ActiveLanes, address: Offsets, releases: bool, *, joins: bool = False
    ) -> None:
        """A strong store: publishes with its flag if it releases or its lane fenced before; else ends the flag's."""
        for lane, at in zip(self._lanes(threads, active), address.tolist(), strict=True):
            block = lane // self._threads
            solo = threads.time if releases else int(self._fence[0, lane])
            if not solo:
                if not joins:
                    self._flags.pop(at, None)
                continue
            row = self._known[block].copy()
            if lane in self._acquired:
                row = _join(row, self._acquired[lane])
            row[_UNTIL, block] = self._barrier[block] if releases else self._fence[1, lane]
            row[_SOLO, block], row[_LANE, block] = solo, lane + 1
            self._flags[at] = _join(self._flags[at], row) if joins and at in self._flags else row

    def fence(self, threads: Threads, active: ActiveLanes) -> None:
        """A fence: earlier strong loads of the lane acquire, later strong stores release."""
        lanes = active.index + threads.first * self._threads
        self._fence[0, lanes] = threads.time
        self._fence[1, lanes] = self._barrier[lanes // self._threads]
        for lane in [one for one in self._seen if active.mask[one - threads.first * self._threads]]:
            row = self._seen.pop(lane)
            self._acquired[lane] = _join(self._acquired[lane], row) if lane in self._acquired else row

    def barrier(self, threads: Threads, passed: Mask | None, scope: Scope) -> None:
        """What one thread acquired its block knows; behind a cluster's barrier each block knows what any knew."""
        if scope == "exit":
            return
        blocks = np.arange(threads.blocks) if passed is None else np.flatnonzero(passed)
        self._barrier[blocks + threads.first] = threads.time
        chosen = {int(one) + threads.first for one in blocks}
        for lane in [one for one in self._acquired if one // self._threads in chosen]:
            block = lane // self._threads
            self._known[block] = _join(self._known[block], self._acquired.pop(lane))
        if scope == "cluster":
            self._join_clusters(threads, chosen)

    def _join_clusters(self, threads: Threads, blocks: set[int]) -> None:
        for first in {one // self._cluster * self._cluster for one in blocks}:
            group = slice(first, first + self._cluster)
            row = self._known[first]
            for other in range(first + 1, first + self._cluster):
                row = _join(row, self._known[other])
            row[_UNTIL, group] = threads.time
            self._known[group] = row
