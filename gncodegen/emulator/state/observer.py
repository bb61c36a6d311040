"""What a check is told while a wave runs."""

from __future__ import annotations

from copy import copy
from typing import Literal

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.state.lanes import ActiveLanes, Index, Mask
from gncodegen.emulator.state.threads import Threads

Offsets = npt.NDArray[np.int64]
Scope = Literal["block", "cluster", "exit"]


class Access:
    """One instruction's accesses to a region: each active lane touches `nbytes` from its offset on.

    `strong`: the access is volatile, relaxed, acquire, release or atomic. `time` and `pc` say when and by what.
    `agreed`: lanes that write the same bytes write the same values there.
    """

    __slots__ = ("_span", "active", "agreed", "nbytes", "offsets", "pc", "strong", "time", "write")

    def __init__(
        self, threads: Threads, offsets: Offsets, nbytes: int, active: ActiveLanes, *, write: bool, strong: bool
    ) -> None:
        self.offsets, self.nbytes, self.active, self.write, self.strong = offsets, nbytes, active, write, strong
        self.time, self.pc, self.agreed = threads.time, threads.pc, False
        self._span: tuple[int, int] | None = None

    @property
    def lanes(self) -> Index:
        """The lanes' numbers."""
        return self.active.index

    @property
    def span(self) -> tuple[int, int]:
        """The first byte that a lane touches, and the end of the last."""
        if self._span is None:
            self._span = int(self.offsets.min()), int(self.offsets.max()) + self.nbytes
        return self._span

    def of(self, chosen: Mask) -> Access:
        """The part of the chosen lanes (one flag for each of `lanes`)."""
        if chosen.all():
            return self
        part = copy(self)
        part.offsets, part.active = self.offsets[chosen], ActiveLanes(self.active.size, index=self.lanes[chosen])
        part._span = None
        return part


class Observer:
    """Watches a launch; a check overrides what it wants to be told. Nothing that it does changes results."""

    def access(self, threads: Threads, access: Access) -> None:
        """The lanes of an instruction access the observed region now."""

    def strong_load(self, threads: Threads, active: ActiveLanes, address: Offsets, acquires: bool) -> None:
        """A strong load from each active lane's address is done."""

    def strong_store(
        self, threads: Threads, active: ActiveLanes, address: Offsets, releases: bool, *, joins: bool = False
    ) -> None:
        """A strong store to each active lane's address is about to be done (`joins`: an atomic reads it, too)."""

    def fence(self, threads: Threads, active: ActiveLanes) -> None:
        """The active lanes executed a fence of cluster, device or system scope."""

    def converge(self, threads: Threads, active: ActiveLanes) -> None:
        """The active lanes of each warp wait for each other now."""

    def barrier(self, threads: Threads, passed: Mask | None, scope: Scope) -> None:
        """All blocks (None) or the flagged ones passed a barrier of their block or cluster, or have ended."""
