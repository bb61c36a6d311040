"""What a check is told while a wave runs."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.state.lanes import ActiveLanes, Mask
from gncodegen.emulator.state.threads import Threads

Offsets = npt.NDArray[np.int64]
Scope = Literal["block", "cluster", "exit"]


class Observer:
    """Watches a launch; a check overrides what it wants to be told. Nothing that it does changes results."""

    def access(
        self, threads: Threads, offsets: Offsets, nbytes: int, active: ActiveLanes, *, write: bool, strong: bool
    ) -> None:
        """Each active lane touches `nbytes` from its offset in the observed region on.

        `strong`: the access is volatile, relaxed, acquire, release or atomic.
        """

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
